"""Candles and funding from the venue into the archive, a few days at a time.

The archive itself remembers how far a fetch has come: a day that is complete is not asked for
again, so a fetch that was killed goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from shared.exchange.payloads import FundingRate
from shared.market_data.archive import DAY_MS, FUNDING, Archive, day_of, start_of
from shared.market_data.candle import TIMEFRAME_MS, Candle
from shared.research.data.days import HOUR_MS, by_day, merge, spacing_of

BARS_PER_REQUEST: Final = 4_000
FUNDING_HOURS_PER_REQUEST: Final = 480
CLOSE_MARGIN_MS: Final = 2_000
"""A bar counts as complete this long after its end."""
FUNDING_DELAY_MS: Final = 60_000

Progress = Callable[[str], None]
"""Told after each day what was asked for, such as ``candles_1m BTC 2025-05-04``."""


class Venue(Protocol):
    """Where candles and funding come from; ``shared.exchange_manager.ExchangeManager``."""

    def candles(
        self, symbol: str, timeframe: str, since_ms: int, until_ms: int
    ) -> Sequence[Candle]: ...

    def funding_history(
        self, symbol: str, start_ms: int, end_ms: int | None = None
    ) -> Sequence[FundingRate]: ...


@dataclass(frozen=True, slots=True)
class Span:
    """What is to be fetched: a dataset of a symbol, from the first to the last time."""

    dataset: str
    symbol: str
    from_ms: int
    to_ms: int

    def days(self) -> int:
        """UTC days it touches."""
        return (day_of(self.to_ms) - day_of(self.from_ms)).days + 1


def complete_until(dataset: str, now_ms: int) -> int:
    """Latest time of a row that will not change any more."""
    if dataset == FUNDING:
        return now_ms - FUNDING_DELAY_MS
    spacing = TIMEFRAME_MS[dataset.removeprefix("candles_")]
    return (now_ms - CLOSE_MARGIN_MS) // spacing * spacing - spacing


def fetch(
    venue: Venue, archive: Archive, span: Span, progress: Progress, *, replace: bool = False
) -> int:
    """Fetch what the archive lacks of a span; returns the number of days written.

    Raises
    ------
    VenueError
        If the venue does not answer; what was fetched before is kept.
    ResearchError
        If the archive has something else at the same time, unless ``replace``.
    """
    written = 0
    for first_ms, last_ms in _requests(archive, span, replace):
        table = _ask(venue, span, first_ms, last_ms)
        for day, rows in by_day(span.dataset, table):
            written += merge(archive, span.dataset, span.symbol, day, rows, replace=replace)
        for number in range((day_of(last_ms) - day_of(first_ms)).days + 1):
            progress(f"{span.dataset} {span.symbol} {day_of(first_ms) + timedelta(days=number)}")
    return written


def _requests(archive: Archive, span: Span, replace: bool) -> Iterator[tuple[int, int]]:
    """First and last time of each request: runs of days that are not complete."""
    spacing = spacing_of(span.dataset) or HOUR_MS
    per_day = DAY_MS // spacing
    most = FUNDING_HOURS_PER_REQUEST if span.dataset == FUNDING else BARS_PER_REQUEST
    at_once = max(1, most // per_day)
    first_day = day_of(span.from_ms)
    days = [first_day + timedelta(days=number) for number in range(span.days())]
    wanted = [
        day
        for day in days
        if replace or archive.rows_of_day(span.dataset, span.symbol, day) < per_day
    ]
    for group in _neighbours(wanted, at_once):
        first_ms = max(start_of(group[0]), span.from_ms)
        yield first_ms, min(start_of(group[-1]) + DAY_MS - 1, span.to_ms)


def _neighbours(days: list[date], at_once: int) -> Iterator[list[date]]:
    group: list[date] = []
    for day in days:
        if group and (len(group) == at_once or (day - group[-1]).days > 1):
            yield group
            group = []
        group.append(day)
    if group:
        yield group


def _ask(venue: Venue, span: Span, first_ms: int, last_ms: int) -> Any:
    if span.dataset == FUNDING:
        rates = venue.funding_history(span.symbol, first_ms, last_ms)
        rates = [r for r in rates if first_ms <= r.time_ms <= last_ms]
        unknown = np.full(len(rates), np.nan)
        return pa.table(
            {
                "symbol": pa.array([span.symbol] * len(rates), pa.string()),
                "time_ms": np.array([r.time_ms for r in rates], dtype=np.int64),
                "rate": np.array([float(r.rate) for r in rates]),
                "oracle_price": unknown,
                "index_usd": unknown,
            }
        )
    timeframe = span.dataset.removeprefix("candles_")
    bars = venue.candles(span.symbol, timeframe, first_ms, last_ms)
    bars = [bar for bar in bars if first_ms <= bar.open_ms <= last_ms]
    return pa.table(
        {
            "symbol": pa.array([span.symbol] * len(bars), pa.string()),
            "open_ms": np.array([bar.open_ms for bar in bars], dtype=np.int64),
            **{
                name: np.array([getattr(bar, name) for bar in bars], dtype=np.float64)
                for name in ("open", "high", "low", "close", "volume")
            },
        }
    )
