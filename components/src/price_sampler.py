"""Commits one immutable row of `tick_inputs` at every tick, whether or not anyone trades.

Rows are written in time order, each only once: two samplers at work make one series. A tick
that nobody sampled is filled from `prices:updated` by the time its quotes arrived; where that
tells nothing, the row says `missing`. A row is never changed and none is added before the
newest, so what a reader took for a gap stays one.

Run: `python -m price_sampler`
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import redis
import structlog
from numpy.typing import NDArray
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from shared import instruments, service
from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.database import UnitOfWork, make_engine, make_redis, retry_deadlocks
from shared.exchange.errors import VenueError
from shared.exchange_manager import ExchangeManager
from shared.market_data.history import read_paper_history
from shared.market_data.quotes import Quote
from shared.market_data.sampling import Context, replay_quotes, sample
from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_inputs import (
    TickInputStore,
    TickRow,
    TickSource,
    empty_samples,
    unpack,
)
from shared.ports import Clock
from shared.storage.funding import FundingStore
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.storage.volatility import VolatilityStore

log = structlog.get_logger(__name__)

MAX_FILLED_GAP_MS = 24 * 3_600_000
"""A longer pause is left without rows: readers see the same gap, and nobody waits for it."""
ROWS_PER_COMMIT = 500
LATE_MS = 250
"""Later than this after a tick, the newest quotes are no longer those of the tick."""
_CONTEXT_LIFE_MS = 30_000
_SETTLE_MS = 20
"""Waited after a tick, so that quotes already on their way to Redis count."""


History = Callable[[int, int], Mapping[int, Mapping[str, float]]]
"""(interval_ms, count) -> prices of the last ``count`` ticks, where a venue serves them."""


class PriceSampler:
    """Writes the series of one interval.

    ``history`` is the paper exchange's own past, for ticks of which nothing else is known.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        prices: PriceStore,
        volatilities: VolatilityStore,
        clock: Clock,
        history: History | None = None,
    ) -> None:
        self._settings = settings
        self._interval_ms = settings.interval_ms
        self._max_age_ms = round(settings.price_sampler.max_price_age_secs * 1000)
        self._symbols = settings.reconciliation_engine.symbols
        self._config = TickConfig.of(settings)
        self._engine = engine
        self._prices = prices
        self._volatilities = volatilities
        self._clock = clock
        self._history = history
        self._context = Context({}, {})
        self._context_read_ms = 0
        self._products: Mapping[str, int] = {}
        self._listed: frozenset[str] = frozenset()
        self._version = ""

    def newest_tick(self) -> int | None:
        """Time of the newest row."""
        with UnitOfWork(self._engine) as uow:
            return TickInputStore(uow.conn).latest_tick(self._interval_ms)

    def catch_up(self) -> int:
        """Write every row up to the tick that has just passed; returns how many were ours."""
        now_ms = self._clock.now_ms()
        current = now_ms - now_ms % self._interval_ms
        newest = self.newest_tick()
        if newest is not None and newest >= current:
            return 0
        self._refresh_context(now_ms)
        quotes = self._prices.latest(self._products)
        missed = self._missed(newest, current)
        if now_ms - current > LATE_MS:
            return self._backfill([*missed, current])
        written = self._backfill(missed)
        return written + self._commit([self._row(current, "live", self._sample(current, quotes))])

    def all_fresh(self) -> bool:
        """Whether every symbol has a price that could be sampled now."""
        now_ms = self._clock.now_ms()
        quotes = self._prices.latest(self._symbols)
        return len(quotes) == len(self._symbols) and all(
            abs(now_ms - quote.received_ms) <= self._max_age_ms for quote in quotes.values()
        )

    def start_from_history(self, count: int) -> int:
        """Begin an empty series with the last ``count`` ticks of the venue's own past.

        Returns how many rows were written; raises ``VenueError`` if the venue has no past.
        """
        self._refresh_context(self._clock.now_ms())
        past = self._past(count)
        rows = self._commit([self._history_row(tick, past[tick]) for tick in sorted(past)])
        log.info("series_started_from_history", rows=rows)
        return rows

    def _past(self, count: int) -> Mapping[int, Mapping[str, float]]:
        return self._history(self._interval_ms, count) if self._history else {}

    def _history_row(self, tick_ms: int, prices: Mapping[str, float]) -> TickRow:
        samples = empty_samples(self._products.values())
        places = {int(p): row for row, p in enumerate(samples["product_id"])}
        for symbol, product_id in self._products.items():
            row = places[product_id]
            samples["funding_index"][row] = self._context.funding_index.get(symbol, 0.0)
            if symbol in prices:
                samples["ok"][row] = 1
                samples["mid"][row] = samples["mark"][row] = prices[symbol]
        return self._row(tick_ms, "history", samples)

    def _missed(self, newest: int | None, current: int) -> list[int]:
        if newest is None:
            return []
        first = newest + self._interval_ms
        if current - first > MAX_FILLED_GAP_MS:
            log.error("tick_gap_not_filled", from_ms=first, to_ms=current - self._interval_ms)
            return []
        return list(range(first, current, self._interval_ms))

    def _backfill(self, ticks: list[int]) -> int:
        """Rows for ticks that nobody sampled in time."""
        if not ticks:
            return 0
        quotes = self._prices.between(ticks[0] - self._max_age_ms, ticks[-1])
        known = replay_quotes(quotes, ticks)
        rows = {}
        for tick_ms in ticks:
            samples = self._sample(tick_ms, known[tick_ms])
            if samples["ok"].any():
                rows[tick_ms] = self._row(tick_ms, "backfill", samples)
        if len(rows) < len(ticks):
            past = self._past((ticks[-1] - ticks[0]) // self._interval_ms + 1)
            for tick_ms in ticks:
                if tick_ms in rows:
                    continue
                if tick_ms in past:
                    rows[tick_ms] = self._history_row(tick_ms, past[tick_ms])
                else:
                    rows[tick_ms] = self._row(tick_ms, "missing", None)
        log.warning("ticks_filled_late", from_ms=ticks[0], to_ms=ticks[-1], ticks=len(ticks))
        return self._commit([rows[tick_ms] for tick_ms in ticks])

    def _sample(self, tick_ms: int, quotes: Mapping[str, Quote]) -> NDArray[np.void]:
        # A delisted symbol may still have a price; it is none that anyone can trade at.
        listed = {symbol: quote for symbol, quote in quotes.items() if symbol in self._listed}
        return sample(tick_ms, self._products, listed, self._context, self._max_age_ms)

    def _row(self, tick_ms: int, source: TickSource, samples: NDArray[np.void] | None) -> TickRow:
        return TickRow(
            interval_ms=self._interval_ms,
            tick_ms=tick_ms,
            config_version="",
            source=source,
            samples=unpack(b"") if samples is None else samples,
            created_ms=self._clock.now_ms(),
        )

    def _commit(self, rows: Iterable[TickRow]) -> int:
        """Write rows in order, some hundreds per transaction; returns how many were ours."""
        pending = list(rows)
        written = 0
        for start in range(0, len(pending), ROWS_PER_COMMIT):
            part = pending[start : start + ROWS_PER_COMMIT]
            sources = retry_deadlocks(lambda part=part: self._commit_part(part))  # type: ignore[misc]
            for source in sources:
                instruments.record_sample(source)
            written += len(sources)
        return written

    def _commit_part(self, rows: list[TickRow]) -> list[TickSource]:
        with UnitOfWork(self._engine) as uow:
            store = TickInputStore(uow.conn)
            if not self._version:
                version = store.save_config(self._config.to_json(), self._clock.now_ms())
            else:
                version = self._version
            ours = [row.source for row in rows if store.insert(row.with_version(version))]
            uow.commit()
        self._version = version
        return ours

    def _refresh_context(self, now_ms: int) -> None:
        """Products, funding indexes and volatilities; they change slowly."""
        if self._products and now_ms - self._context_read_ms < _CONTEXT_LIFE_MS:
            return
        with UnitOfWork(self._engine) as uow:
            known = ProductStore(uow.conn).all()
            points = FundingStore(uow.conn).latest(now_ms)
        self._products = {symbol: known[symbol].id for symbol in self._symbols if symbol in known}
        self._listed = frozenset(s for s in self._products if known[s].active)
        self._leave_out({s for s in self._products if not known[s].active})
        self._context = Context(
            funding_index={symbol: point.index_usd for symbol, point in points.items()},
            volatility=self._volatilities.per_sqrt_hour(self._products),
        )
        self._context_read_ms = now_ms

    def _leave_out(self, delisted: Collection[str]) -> None:
        """Delisted symbols leave the configuration of ticks: their runs end, as none can trade."""
        configured = TickConfig.of(self._settings)
        left = tuple(s for s in configured.symbols if s not in delisted)
        config = replace(configured, symbols=left)
        if config != self._config:
            self._config, self._version = config, ""


def sync_products(engine: Engine, manager: ExchangeManager) -> None:
    """Bring the product tables in line with what the venue lists."""
    assets = manager.markets().values()

    def work() -> None:
        with UnitOfWork(engine) as uow:
            ProductStore(uow.conn).sync(assets)
            uow.commit()

    retry_deadlocks(work)


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    clock = SystemClock()
    client = make_redis(settings, secrets)
    engine = make_engine(settings, secrets)
    wallet = secrets.exchanges.hyperliquid.walletAddress
    manager = ExchangeManager.get(settings, wallet, client)
    history = partial(read_paper_history, manager) if settings.price_sampler.warm_history else None
    sampler = PriceSampler(
        settings, engine, PriceStore(client), VolatilityStore(client), clock, history
    )
    service.wait_for("redis", client.ping, (redis.RedisError,), stop)
    service.wait_for("database", sampler.newest_tick, (DBAPIError,), stop)
    service.wait_for(
        "venue", lambda: sync_products(engine, manager), (VenueError, DBAPIError), stop
    )
    if history is not None and sampler.newest_tick() is None:
        while not stop.is_set() and not sampler.all_fresh():
            stop.wait(0.1)
        # Entropy windows, and as much again for the thresholds' quantiles.
        count = 2 * settings.providence.longest_window
        service.wait_for(
            "paper history",
            lambda: sampler.start_from_history(count),
            (VenueError, DBAPIError, redis.RedisError),
            stop,
        )
    _sample_until_stopped(settings.interval_ms, sampler, clock, stop)
    manager.close()


def _sample_until_stopped(
    interval_ms: int, sampler: PriceSampler, clock: Clock, stop: threading.Event
) -> None:
    failing = False
    while not stop.is_set():
        try:
            sampler.catch_up()
        except (DBAPIError, redis.RedisError, VenueError) as error:
            # The next round fills what this one could not write.
            if not failing:
                log.warning("sample_not_written", reason=str(error))
            failing = True
        else:
            if failing:
                log.info("samples_written_again")
            failing = False
        wait_ms = interval_ms - clock.now_ms() % interval_ms + _SETTLE_MS
        stop.wait(wait_ms / 1000)


def main() -> int:
    """Exit code of the process."""
    return service.run("price_sampler", body)


if __name__ == "__main__":
    sys.exit(main())
