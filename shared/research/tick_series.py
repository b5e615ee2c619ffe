"""Recorded prices laid out on ticks: what the sampler would have known at each of them.

A tick sees the newest price known at or before it, if that is not too old. Every number of a tick
depends on the past alone, and a block can be computed without the ones before: nothing but the
files' points is kept in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.market_data.volatility import HOUR_MS
from shared.providence.ledger import next_funding_index
from shared.providence.market import Samples
from shared.research.errors import ResearchError
from shared.research.funding_files import FundingRates
from shared.research.price_files import PricePoints
from shared.research.tables import FloatArray
from shared.research.times import utc

BLOCK_TICKS: Final = 4_096
"""Blocks start at fixed ticks, so that rounding does not depend on who asks for what."""
MIN_RETURNS: Final = 60
"""Fewer known samples than this in the window estimate no volatility."""


class Series(Protocol):
    """Ticks of several symbols, one column each, in blocks."""

    symbols: tuple[str, ...]
    interval_ms: int
    first_ms: int
    last_ms: int

    def __len__(self) -> int: ...

    @property
    def blocks(self) -> int:
        """Number of blocks."""

    def samples(self, block: int) -> Samples:
        """Ticks of one block, 0 to ``blocks - 1``."""


@dataclass(frozen=True, slots=True)
class _Column:
    points: PricePoints
    max_age_ms: int
    """A price that is older at a tick makes it unknown."""
    paid_ms: NDArray[np.int64]
    paid_index: FloatArray
    """Funding index after each payment."""


class TickSeries:
    """Ticks of several symbols, one column each, in the order of ``symbols``.

    Parameters
    ----------
    prices: one series per symbol.
    interval_ms: distance of two ticks; ticks are its multiples.
    funding: rates by symbol; a symbol without them has an index of 0.
    max_tick_age_ms: oldest trade or quote that a tick still takes for its price.
    volatility_ms: span of the trailing volatility.
    from_ms, to_ms: first and last time wanted, both included; default: what the files hold.

    Raises
    ------
    ResearchError
        If candles are longer than the interval or do not divide it, or no tick is left.
    """

    def __init__(
        self,
        prices: Sequence[PricePoints],
        interval_ms: int,
        *,
        funding: Mapping[str, FundingRates] | None = None,
        max_tick_age_ms: int = 3_000,
        volatility_ms: int = 500 * 60_000,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> None:
        if interval_ms < 1:
            raise ResearchError(f"the interval is {interval_ms} ms; allowed is 1 or more")
        self.interval_ms = interval_ms
        self.symbols = tuple(points.symbol for points in prices)
        if len(set(self.symbols)) != len(prices) or not prices:
            raise ResearchError(f"symbols are {', '.join(self.symbols) or 'missing'}; each once")
        for points in prices:
            _check_spacing(points, interval_ms)
        self._columns = [
            _column(points, (funding or {}).get(points.symbol), max_tick_age_ms)
            for points in prices
        ]
        first = min(int(points.known_ms[0]) for points in prices)
        last = max(int(points.known_ms[-1]) for points in prices)
        first = max(first, from_ms) if from_ms is not None else first
        last = min(last, to_ms) if to_ms is not None else last
        self.first_ms = -(-first // interval_ms) * interval_ms
        self.last_ms = last // interval_ms * interval_ms
        if self.last_ms < self.first_ms:
            raise ResearchError(
                f"no tick of {interval_ms / 1000:g} s lies between {utc(first)} and {utc(last)}; "
                f"the files hold {', '.join(map(_held, prices))}"
            )
        self._reach = max(1, volatility_ms // interval_ms)

    def __len__(self) -> int:
        return (self.last_ms - self.first_ms) // self.interval_ms + 1

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-len(self) // BLOCK_TICKS)

    def samples(self, block: int) -> Samples:
        """Ticks of one block, 0 to ``blocks - 1``."""
        first = self.first_ms + block * BLOCK_TICKS * self.interval_ms
        count = min(BLOCK_TICKS, len(self) - block * BLOCK_TICKS)
        if not 0 <= block < self.blocks:
            raise IndexError(f"block {block} of {self.blocks}")
        ticks = first + np.arange(count, dtype=np.int64) * self.interval_ms
        # the tail before the block is for volatility; it may lie before the first tick wanted
        before = ticks[0] - np.arange(self._reach, 0, -1, dtype=np.int64) * self.interval_ms
        extended = np.concatenate([before, ticks])
        shape = (count, len(self._columns))
        price, index, volatility = (np.empty(shape) for _ in range(3))
        for s, column in enumerate(self._columns):
            known = _prices_at(column, extended)
            price[:, s] = known[self._reach :]
            index[:, s] = _index_at(column, ticks)
            volatility[:, s] = _volatility(known, self._reach, self.interval_ms)
        return Samples(ticks, price, np.isfinite(price), index, volatility)


def _check_spacing(points: PricePoints, interval_ms: int) -> None:
    spacing = points.spacing_ms
    if spacing is not None and interval_ms % spacing:
        raise ResearchError(
            f"{points.path}: candles are {spacing / 1000:g} s long; the interval is "
            f"{interval_ms / 1000:g} s, allowed are multiples of the candle"
        )


def _column(points: PricePoints, rates: FundingRates | None, max_tick_age_ms: int) -> _Column:
    max_age = max_tick_age_ms if points.spacing_ms is None else points.spacing_ms - 1
    if rates is None:
        return _Column(points, max_age, np.zeros(0, dtype=np.int64), np.zeros(0))
    # the newest price before a payment values it, however old; before the first price none is due
    at = np.searchsorted(points.known_ms, rates.time_ms, side="right") - 1
    paid, index = [], []
    total = 0.0
    for time_ms, rate, row in zip(rates.time_ms, rates.rate, at, strict=True):
        if row < 0 or time_ms > points.known_ms[-1]:
            continue
        total = next_funding_index(total, float(rate), float(points.price[row]))
        paid.append(int(time_ms))
        index.append(total)
    return _Column(points, max_age, np.array(paid, dtype=np.int64), np.array(index))


def _prices_at(column: _Column, ticks: NDArray[np.int64]) -> FloatArray:
    """Price known at each tick, NaN where there is none or it is too old."""
    known_ms, price = column.points.known_ms, column.points.price
    row = np.searchsorted(known_ms, ticks, side="right") - 1
    at = np.maximum(row, 0)
    fresh = (row >= 0) & (ticks - known_ms[at] <= column.max_age_ms)
    return np.where(fresh, price[at], np.nan)


def _index_at(column: _Column, ticks: NDArray[np.int64]) -> FloatArray:
    row = np.searchsorted(column.paid_ms, ticks, side="right") - 1
    if not len(column.paid_ms):
        return np.zeros(len(ticks))
    return np.where(row >= 0, column.paid_index[np.maximum(row, 0)], 0.0)


def _volatility(price: FloatArray, reach: int, interval_ms: int) -> FloatArray:
    """Realised volatility per √hour over the ``reach`` intervals up to each tick after the tail.

    As ``shared.market_data.volatility.realised`` over the same window: √(Σ r² / Σ Δt) of
    neighbouring known prices.
    """
    known = np.isfinite(price)
    places = np.arange(len(price))
    last = np.maximum.accumulate(np.where(known, places, -1))
    first = np.minimum.accumulate(np.where(known, places, len(price))[::-1])[::-1]
    log_price = np.log(np.where(known, price, 1.0))
    before = np.concatenate([[-1], last[:-1]])
    paired = known & (before >= 0)
    returns = np.where(paired, log_price - log_price[np.maximum(before, 0)], 0.0)
    squares = np.cumsum(returns * returns)
    count = np.cumsum(known)
    ends = places[reach:]
    start, end = first[ends - reach], last[ends]
    enough = (end > start) & (start < len(price))
    start, end = np.where(enough, start, 0), np.where(enough, end, 1)
    enough &= count[end] - count[start] >= MIN_RETURNS
    hours = (end - start) * interval_ms / HOUR_MS
    variance = (squares[end] - squares[start]) / hours
    # differences of running sums leave noise where the price has not moved at all
    moved = enough & (variance > 1e-14)
    return np.sqrt(np.where(moved, variance, np.nan))


def _held(points: PricePoints) -> str:
    return f"{points.symbol} {utc(int(points.known_ms[0]))} to {utc(int(points.known_ms[-1]))}"
