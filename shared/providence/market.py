"""Samples to :class:`TickMarket`: each entropy cell once per symbol and tick, shared by all runs.

Every tick of the interval is pushed, a missing sample as not ok. The result of a tick depends only
on the samples of the longest window that ends at it, never on how the state came about: a worker
that has run for a month and one that warmed up a second ago get the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.providence.entropy import SlidingEntropy
from shared.providence.kernel import FloatArray
from shared.providence.step import Grid, TickMarket


class TickBlock(NamedTuple):
    """The :class:`TickMarket` of T consecutive ticks, stacked: each array has T in front."""

    tick_ms: NDArray[np.int64]
    price: FloatArray
    """[T, S]."""
    ok: NDArray[np.bool_]
    """[T, S]."""
    funding_index: FloatArray
    """[T, S]."""
    volatility: FloatArray
    """[T, S]."""
    entropy: FloatArray
    """[T, C, S]."""
    past: FloatArray
    """[T, M, S]."""

    def at(self, t: int) -> TickMarket:
        """The market of one tick, as views."""
        return TickMarket(
            int(self.tick_ms[t]),
            self.price[t],
            self.ok[t],
            self.funding_index[t],
            self.volatility[t],
            self.entropy[t],
            self.past[t],
        )

    def cut(self, first: int, end: int) -> TickBlock:
        """Ticks [first, end), as views."""
        return TickBlock(
            self.tick_ms[first:end],
            self.price[first:end],
            self.ok[first:end],
            self.funding_index[first:end],
            self.volatility[first:end],
            self.entropy[first:end],
            self.past[first:end],
        )


class Samples(NamedTuple):
    """T consecutive ticks of S symbols."""

    tick_ms: NDArray[np.int64]
    """[T] rising by one interval."""
    price: FloatArray
    """[T, S] mid, USD."""
    ok: NDArray[np.bool_]
    """[T, S] fresh and tradable."""
    funding_index: FloatArray
    """[T, S]."""
    volatility: FloatArray
    """[T, S] per square root of an hour."""


def warm_up_samples(grid: Grid) -> int:
    """Samples before a tick that its :class:`TickMarket` can depend on."""
    windows = max((window for _, _, window in grid.cells), default=1)
    return max(windows - 1, max(grid.lookbacks, default=0))


class MarketSeries:
    """Incremental entropy and look-backs of S symbols.

    Parameters
    ----------
    grid: row order of the results.
    columns: number S of symbols.
    interval_ms: distance of two ticks; a push that is not one interval after the last starts
        afresh, so that no window spans a tick that was left out.
    """

    def __init__(self, grid: Grid, columns: int, interval_ms: int) -> None:
        if interval_ms < 1:
            raise ValueError(f"interval_ms is {interval_ms}; allowed is 1 or more")
        self.grid, self.columns, self.interval_ms = grid, columns, interval_ms
        self.last_tick_ms: int | None = None
        self._reset()

    def _reset(self) -> None:
        self._cells = [SlidingEntropy(*cell, self.columns) for cell in self.grid.cells]
        rows = max(self.grid.lookbacks, default=0)
        self._tail = np.full((rows, self.columns), np.nan)

    def push(
        self,
        tick_ms: int,
        price: ArrayLike,
        ok: ArrayLike,
        funding_index: ArrayLike,
        volatility: ArrayLike,
    ) -> TickMarket:
        """Take one sample (arrays of S) and return the market of its tick.

        Raises
        ------
        ValueError
            If the tick is not after the last one, or shapes do not fit.
        """
        samples = Samples(
            np.array([tick_ms], dtype=np.int64),
            np.asarray(price, dtype=np.float64).reshape(1, -1),
            np.asarray(ok, dtype=np.bool_).reshape(1, -1),
            np.asarray(funding_index, dtype=np.float64).reshape(1, -1),
            np.asarray(volatility, dtype=np.float64).reshape(1, -1),
        )
        return next(self.push_many(samples))

    def push_many(self, samples: Samples) -> Iterator[TickMarket]:
        """Take T samples and yield the market of each tick; the same bits as T single pushes.

        Memory is T x S x (C + M) float64: push long histories in pieces.
        """
        block = self.push_block(samples)
        return (block.at(t) for t in range(len(block.tick_ms)))

    def push_block(self, samples: Samples) -> TickBlock:
        """Take T samples and return the markets of their ticks, stacked."""
        ticks = np.asarray(samples.tick_ms, dtype=np.int64)
        self._follow(ticks)
        good = samples.ok & np.isfinite(samples.price) & (samples.price > 0.0)
        shape = (len(ticks), self.columns)
        if good.shape != shape:
            raise ValueError(f"samples have shape {good.shape}; allowed is {shape}")
        entropy = np.empty((len(ticks), len(self.grid.cells), self.columns))
        for row, cell in enumerate(self._cells):
            entropy[:, row, :] = cell.push_many(samples.price, good)
        past = self._look_back(np.where(good, samples.price, np.nan))
        return TickBlock(
            ticks,
            samples.price,
            good,
            samples.funding_index,
            samples.volatility,
            entropy,
            past,
        )

    def _follow(self, ticks: NDArray[np.int64]) -> None:
        if len(ticks) == 0:
            return
        if (np.diff(ticks) != self.interval_ms).any():
            raise ValueError(f"ticks are not {self.interval_ms} ms apart; push gaps as not ok")
        first = int(ticks[0])
        if self.last_tick_ms is not None:
            if first <= self.last_tick_ms:
                raise ValueError(f"tick {first} is not after the last one, {self.last_tick_ms}")
            if first != self.last_tick_ms + self.interval_ms:
                self._reset()
        self.last_tick_ms = int(ticks[-1])

    def _look_back(self, price: FloatArray) -> FloatArray:
        """[T, M, S]: price of ``lookbacks[m]`` ticks ago."""
        joined = np.concatenate([self._tail, price])
        rows = len(self._tail)
        past = np.empty((len(price), len(self.grid.lookbacks), self.columns))
        for m, lookback in enumerate(self.grid.lookbacks):
            past[:, m, :] = joined[rows - lookback : rows - lookback + len(price)]
        self._tail = joined[len(joined) - rows :]
        return past
