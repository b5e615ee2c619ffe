"""Is what we see still the market? Audits of prices, samples and the venue's clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

import structlog
from sqlalchemy import Engine

from shared import instruments
from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.errors import VenueError
from shared.exchange_manager import VenueHealth
from shared.market_data.quotes import Quote
from shared.market_data.tick_inputs import TickInputStore
from shared.ports import Clock
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore

log = structlog.get_logger(__name__)

AUDITED_TICKS_MS = 600_000
MAX_DIVERGENCE = Decimal("0.01")
"""Largest |stream / polled − 1| between two prices a few seconds apart."""
MAX_CLOCK_OFFSET_MS = 2_000


class PolledPrices(Protocol):
    """A second way to the prices, beside the stream."""

    def mids(self, dex: str = "") -> Mapping[str, Decimal]: ...

    def health(self) -> VenueHealth: ...


@dataclass
class FeedAudit:
    """What an audit found; every list empty and ``polled`` true: all is well.

    ``stale`` symbols with their age in ms (None: no price at all), ``diverging`` symbols with
    streamed and polled price, ``gaps`` ticks without a usable row, ``delisted`` symbols that the
    venue lists no longer.
    """

    stale: dict[str, int | None] = field(default_factory=dict)
    diverging: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    gaps: list[int] = field(default_factory=list)
    delisted: list[str] = field(default_factory=list)
    clock_offset_ms: int | None = None
    polled: bool = False


def audit(
    settings: Settings,
    venue: PolledPrices,
    engine: Engine,
    prices: PriceStore,
    clock: Clock,
    since_ms: int = 0,
) -> FeedAudit:
    """Check freshness, sample series, second source and clock; logs and publishes what it finds.

    A sampler cannot be behind for longer than the platform has run; it runs since ``since_ms``.
    """
    symbols = settings.reconciliation_engine.symbols
    report = FeedAudit()
    quotes = prices.latest(symbols)
    _check_freshness(settings, quotes, clock.now_ms(), report)
    _check_listings(symbols, engine, report)
    _check_series(settings.interval_ms, engine, clock.now_ms(), since_ms, report)
    try:
        _cross_check(settings, venue, prices, clock, report)
    except VenueError as error:
        log.warning("feed_not_cross_checked", reason=str(error))
    return report


def _check_freshness(
    settings: Settings, quotes: Mapping[str, Quote], now_ms: int, report: FeedAudit
) -> None:
    max_age_ms = settings.price_sampler.max_price_age_secs * 1000
    for symbol in settings.reconciliation_engine.symbols:
        quote = quotes.get(symbol)
        age_ms = None if quote is None else now_ms - quote.received_ms
        if age_ms is None or age_ms > max_age_ms:
            report.stale[symbol] = age_ms
            log.error("price_stale", symbol=symbol, age_ms=age_ms)


def _check_listings(symbols: Iterable[str], engine: Engine, report: FeedAudit) -> None:
    """Name what the venue has delisted: nothing of it is sampled as fresh, planned or opened."""
    with UnitOfWork(engine) as uow:
        known = ProductStore(uow.conn).all()
    report.delisted = [s for s in symbols if s in known and not known[s].active]
    for symbol in report.delisted:
        instruments.record_rejected_price(symbol, "delisted")
        log.error("symbol_delisted", symbol=symbol)


def _check_series(
    interval_ms: int, engine: Engine, now_ms: int, since_ms: int, report: FeedAudit
) -> None:
    """Look for ticks without a row between the newest row and ten minutes before now."""
    with UnitOfWork(engine) as uow:
        store = TickInputStore(uow.conn)
        newest = store.latest_tick(interval_ms)
        oldest = store.oldest_tick(interval_ms)
        if newest is None or oldest is None:
            log.error("no_samples")
            return
        window_start = (now_ms - AUDITED_TICKS_MS) // interval_ms * interval_ms
        first = max(oldest, window_start)
        report.gaps = store.gaps(interval_ms, first, newest) if first <= newest else []
    if report.gaps:
        log.warning("sample_gaps", ticks=len(report.gaps), first=report.gaps[0])
    if newest - now_ms > 3 * interval_ms:
        # The sampler waits until the clock is past its newest row; nothing is traded until then.
        log.error("clock_set_back", newest_tick=newest, ahead_ms=newest - now_ms)
    if now_ms - max(newest, since_ms) > 3 * interval_ms:
        log.error("sampler_behind", newest_tick=newest, behind_ms=now_ms - newest)


def _cross_check(
    settings: Settings, venue: PolledPrices, prices: PriceStore, clock: Clock, report: FeedAudit
) -> None:
    """Compare the stream with a poll made now; a symbol frozen in the stream shows here."""
    symbols = settings.reconciliation_engine.symbols
    report.clock_offset_ms = venue.health().clock_offset_ms
    if abs(report.clock_offset_ms) > MAX_CLOCK_OFFSET_MS:
        log.error("clock_differs_from_venue", offset_ms=report.clock_offset_ms)
    polled: dict[str, Decimal] = {}
    for dex in sorted({symbol.rpartition(":")[0] for symbol in symbols}):
        polled.update(venue.mids(dex))
    report.polled = True
    max_age_ms = settings.price_sampler.max_price_age_secs * 1000
    now_ms = clock.now_ms()
    for symbol, quote in prices.latest(symbols).items():
        other = polled.get(symbol)
        fresh = now_ms - quote.received_ms <= max_age_ms
        if other is None or other <= 0 or not fresh:
            continue
        if abs(quote.mid / other - 1) > MAX_DIVERGENCE:
            report.diverging[symbol] = (quote.mid, other)
            instruments.record_rejected_price(symbol, "diverges")
            log.error("price_diverges", symbol=symbol, stream=str(quote.mid), polled=str(other))
