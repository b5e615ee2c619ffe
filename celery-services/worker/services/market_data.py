"""Keep candles and funding current, without asking the venue twice for the same.

Each symbol and time frame is fetched from where the last fetch ended. Whatever is missing
between stored bars is asked for again when the fetch state was lost or new bars do not
connect. No database connection is held while the venue is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import redis
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from shared import time_budget
from shared.config import Settings
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.errors import VenueError
from shared.exchange.payloads import Asset, FundingRate
from shared.market_data.candle import TIMEFRAME_MS, Candle
from shared.market_data.volatility import HOUR_MS
from shared.ports import Clock
from shared.storage import redis_keys
from shared.storage.candles import CandleStore
from shared.storage.funding import FundingPoint, FundingStore
from shared.storage.products import ProductStore

log = structlog.get_logger(__name__)

BARS_PER_REQUEST = 1_000
GAPS_PER_RUN = 5
CLOSE_MARGIN_MS = 2_000
"""A bar counts as complete this long after its end, so that late trades are in it."""
FUNDING_DELAY_MS = 60_000
"""Funding is asked for this long after the hour, when the venue has published it."""


class MarketSource(Protocol):
    """Where candles, funding and listings come from."""

    def markets(self) -> Mapping[str, Asset]: ...

    def candles(
        self, symbol: str, timeframe: str, since_ms: int, until_ms: int
    ) -> Sequence[Candle]: ...

    def funding_history(
        self, symbol: str, start_ms: int, end_ms: int | None = None
    ) -> Sequence[FundingRate]: ...


@dataclass
class FetchReport:
    """What one run stored, and what the venue would not give."""

    bars: int = 0
    refilled: int = 0
    gaps: int = 0
    funding_points: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: FetchReport) -> None:
        """Take in the report of a part."""
        self.bars += other.bars
        self.refilled += other.refilled
        self.gaps += other.gaps
        self.funding_points += other.funding_points
        self.failures += other.failures


class MarketDataFetcher:
    """One run of the fetch over all symbols and time frames."""

    def __init__(
        self,
        settings: Settings,
        venue: MarketSource,
        engine: Engine,
        client: redis.Redis,
        clock: Clock,
    ) -> None:
        self._settings = settings.market_data
        self._symbols = settings.reconciliation_engine.symbols
        self._venue = venue
        self._engine = engine
        self._client = client
        self._clock = clock

    def run(self) -> FetchReport:
        """Fetch everything that is due; a symbol that fails never holds up another.

        What the time of the task does not suffice for is left to the next run.
        Raises ``VenueError`` only if the listings themselves cannot be read.
        """
        self._sync_products(self._venue.markets().values())
        jobs: list[Callable[[], FetchReport]] = [
            lambda s=symbol, t=timeframe: self._fetch_candles(s, t)  # type: ignore[misc]
            for symbol in self._symbols
            for timeframe in self._settings.timeframes
        ]
        report = self._run_all(jobs)
        # Funding needs the candles of its hour.
        report.add(
            self._run_all(
                [
                    lambda s=symbol: self._fetch_funding(s)  # type: ignore[misc]
                    for symbol in self._symbols
                ]
            )
        )
        return report

    def _run_all(self, jobs: Sequence[Callable[[], FetchReport]]) -> FetchReport:
        total = FetchReport()
        with ThreadPoolExecutor(self._settings.concurrency_limit) as pool:
            for report in pool.map(time_budget.shared(_guarded), jobs):
                total.add(report)
        return total

    def _sync_products(self, assets: Iterable[Asset]) -> None:
        def work() -> None:
            with UnitOfWork(self._engine) as uow:
                ProductStore(uow.conn).sync(assets)
                uow.commit()

        retry_deadlocks(work)

    # -- candles -------------------------------------------------------------------------

    def _fetch_candles(self, symbol: str, timeframe: str) -> FetchReport:
        step = TIMEFRAME_MS[timeframe]
        newest_complete = (self._clock.now_ms() - CLOSE_MARGIN_MS) // step * step - step
        key = redis_keys.last_fetch(symbol, timeframe)
        state = self._client.get(key)
        report = FetchReport()
        with UnitOfWork(self._engine) as uow:
            store = CandleStore(uow.conn, self._settings.memory_candles)
            report.refilled = store.refill_memory(symbol, timeframe)
            stored = store.newest_open(symbol, timeframe)
            uow.commit()
        # The database is the truth; Redis only tells whether the past was checked already.
        wanted_from = newest_complete - (self._settings.memory_candles - 1) * step
        since = wanted_from if stored is None else stored + step
        connected = True
        while since <= newest_complete:
            until = min(newest_complete, since + (BARS_PER_REQUEST - 1) * step)
            bars = self._fetch_bars(symbol, timeframe, since, until)
            report.bars += len(bars)
            connected = connected and len(bars) == (until - since) // step + 1
            since = until + step
        if state is None or not connected:
            self._fill_gaps(symbol, timeframe, wanted_from, newest_complete, report)
        self._client.set(key, newest_complete, ex=redis_keys.LAST_FETCH_TTL_SECS)
        return report

    def _fetch_bars(self, symbol: str, timeframe: str, since: int, until: int) -> list[Candle]:
        """Fetch and store the bars that open in [since, until], both on the grid."""
        step = TIMEFRAME_MS[timeframe]
        fetched = self._venue.candles(symbol, timeframe, since, until)
        bars = [b for b in fetched if since <= b.open_ms <= until and b.open_ms % step == 0]

        def work() -> None:
            with UnitOfWork(self._engine) as uow:
                store = CandleStore(uow.conn, self._settings.memory_candles)
                store.save(symbol, timeframe, bars)
                uow.commit()

        retry_deadlocks(work)
        return bars

    def _fill_gaps(
        self, symbol: str, timeframe: str, from_ms: int, to_ms: int, report: FetchReport
    ) -> None:
        """Ask once more for what is missing between the oldest and the newest stored bar."""
        with UnitOfWork(self._engine) as uow:
            store = CandleStore(uow.conn)
            oldest = store.oldest_open(symbol, timeframe, from_ms)
            gaps = [] if oldest is None else store.gaps(symbol, timeframe, oldest, to_ms)
        for first, last in gaps[:GAPS_PER_RUN]:
            report.bars += len(self._fetch_bars(symbol, timeframe, first, last))
        if not gaps or oldest is None:
            return
        with UnitOfWork(self._engine) as uow:
            left = CandleStore(uow.conn).gaps(symbol, timeframe, oldest, to_ms)
        report.gaps += len(left)
        if left:
            log.warning("candle_gaps", symbol=symbol, timeframe=timeframe, gaps=left[:GAPS_PER_RUN])

    # -- funding -------------------------------------------------------------------------

    def _fetch_funding(self, symbol: str) -> FetchReport:
        now_ms = self._clock.now_ms()
        with UnitOfWork(self._engine) as uow:
            last = FundingStore(uow.conn).latest(now_ms).get(symbol)
        if last is not None and now_ms < last.time_ms + HOUR_MS + FUNDING_DELAY_MS:
            self._show_funding(last)
            return FetchReport()
        start_ms = now_ms - 2 * HOUR_MS if last is None else last.time_ms + 1
        rates = sorted(self._venue.funding_history(symbol, start_ms), key=lambda rate: rate.time_ms)
        points = self._index(symbol, rates, last)
        if points:
            self._append_funding(points)
            self._show_funding(points[-1])
        elif last is not None:
            self._show_funding(last)
        return FetchReport(funding_points=len(points))

    def _index(
        self, symbol: str, rates: Sequence[FundingRate], last: FundingPoint | None
    ) -> list[FundingPoint]:
        """Points that continue the index after ``last``, up to the first unknown price.

        Without ``last`` the newest rate begins the index at zero: what was paid before anyone
        held anything does not count.
        """
        points: list[FundingPoint] = []
        if last is None:
            rates = rates[-1:]
        for rate in rates:
            price = self._price_at(symbol, rate.time_ms)
            if price is None:
                log.warning("funding_price_unknown", symbol=symbol, time_ms=rate.time_ms)
                break
            before = points[-1] if points else last
            paid = float(rate.rate) * price
            index = 0.0 if before is None else before.index_usd - paid
            points.append(FundingPoint(symbol, rate.time_ms, float(rate.rate), price, index))
        return points

    def _price_at(self, symbol: str, time_ms: int) -> float | None:
        """The price at which the bar that holds ``time_ms`` opened, finest time frame first."""
        with UnitOfWork(self._engine) as uow:
            store = CandleStore(uow.conn)
            for timeframe in sorted(self._settings.timeframes, key=TIMEFRAME_MS.__getitem__):
                step = TIMEFRAME_MS[timeframe]
                open_ms = time_ms // step * step
                for first in (open_ms, open_ms - step):
                    bars = store.bars(symbol, timeframe, first, first)
                    if bars:
                        return bars[0].open if first == open_ms else bars[0].close
        return None

    def _append_funding(self, points: Sequence[FundingPoint]) -> None:
        try:
            with UnitOfWork(self._engine) as uow:
                FundingStore(uow.conn).append(points)
                uow.commit()
        except IntegrityError:
            log.info("funding_stored_by_another", symbol=points[0].symbol)

    def _show_funding(self, point: FundingPoint) -> None:
        key = redis_keys.funding(point.symbol)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hset(
            key,
            mapping={
                "rate": repr(point.rate),
                "index": repr(point.index_usd),
                "as_of_ms": point.time_ms,
            },
        )
        pipeline.expire(key, redis_keys.FUNDING_TTL_SECS)
        pipeline.execute()


def _guarded(job: Callable[[], FetchReport]) -> FetchReport:
    """A job whose venue failure is part of the report."""
    try:
        return job()
    except VenueError as error:
        return FetchReport(failures=[str(error)])
