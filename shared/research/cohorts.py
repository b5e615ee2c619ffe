"""Results of all runs that have ended or are left at the end, by what they have in common.

Sums only: millions of runs take no more memory than a hundred.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.providence.codes import Interpretation, Reason, Status
from shared.providence.ledger import log_growth
from shared.providence.market import TickBlock
from shared.providence.rules import Cell
from shared.providence.run_state import Records, join
from shared.research.observers import Observer
from shared.research.tables import FloatArray

ENTROPY_BINS = 25
RUNS_AT_A_TIME = 10_000


@dataclass(slots=True)
class Cohort:
    """Runs that have something in common: their log-growths, closed trades and wins."""

    runs: int = 0
    growth: float = 0.0
    squares: float = 0.0
    trades: int = 0
    wins: int = 0

    @property
    def mean(self) -> float:
        """Mean log-growth per run, NaN without any."""
        return self.growth / self.runs if self.runs else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean, as if runs were independent (they are not quite)."""
        if self.runs < 2:
            return math.nan
        variance = max(self.squares - self.growth * self.growth / self.runs, 0.0)
        return math.sqrt(variance / (self.runs - 1) / self.runs)


class Cohorts(Observer):
    """Cohorts of traded runs by interpretation, symbol, order and window, and end."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._symbols = symbols
        self._waiting: list[Records] = []
        self._count = 0
        self.total = Cohort()
        self.by_interpretation: dict[Hashable, Cohort] = {}
        self.by_symbol: dict[Hashable, Cohort] = {}
        self.by_end: dict[Hashable, Cohort] = {}
        self.by_order_and_window: dict[Hashable, Cohort] = {}
        self.by_window_and_lookback: dict[Hashable, Cohort] = {}

    def ended(self, runs: Records) -> None:
        self._waiting.append(runs)
        self._count += len(runs)
        if self._count >= RUNS_AT_A_TIME:
            self.close()

    def close(self) -> None:
        runs = join(self._waiting)
        self._waiting.clear()
        self._count = 0
        traded = runs[runs["fill_seq"] > 0]
        if not len(traded):
            return
        growth = log_growth(traded)
        _add(self.total, traded, growth, np.ones(len(traded), dtype=np.bool_))
        names = [item.name.lower() for item in Interpretation]
        ends = [reason.name.lower() for reason in Reason]
        end = np.where(traded["status"] == Status.ACTIVE, -1, traded["exit_reason"].astype(int))
        _split(self.by_interpretation, traded, growth, traded["interpretation"], names.__getitem__)
        _split(self.by_symbol, traded, growth, traded["product_id"], lambda p: self._symbols[p - 1])
        _split(self.by_end, traded, growth, end, lambda e: "still alive" if e < 0 else ends[e])
        order_window = traded["order"].astype(np.int64) * 1_000_000 + traded["window"]
        _split(
            self.by_order_and_window, traded, growth, order_window, lambda k: divmod(k, 1_000_000)
        )
        window_lookback = traded["window"].astype(np.int64) * 1_000_000 + traded["lookback"]
        _split(
            self.by_window_and_lookback,
            traded,
            growth,
            window_lookback,
            lambda k: divmod(k, 1_000_000),
        )


class EntropyReturns(Observer):
    """Next returns by entropy of one cell, all symbols together: is there anything to see?

    ``trend`` is the next return in the direction of the last ``lookback`` samples' move.
    """

    def __init__(self, cell: Cell, cell_row: int, lookback: int, lookback_row: int) -> None:
        self.cell, self.lookback = cell, lookback
        self._rows = cell_row, lookback_row
        self.count = np.zeros(ENTROPY_BINS)
        self.drift = np.zeros(ENTROPY_BINS)
        self.trend = np.zeros(ENTROPY_BINS)
        self.trend_squares = np.zeros(ENTROPY_BINS)
        self.size = np.zeros(ENTROPY_BINS)
        self._last: tuple[FloatArray, FloatArray, FloatArray] | None = None

    @property
    def edges(self) -> FloatArray:
        """Bounds of the bins of entropy, 0 to 1."""
        return np.linspace(0.0, 1.0, ENTROPY_BINS + 1)

    def market(self, block: TickBlock) -> None:
        price = np.where(block.ok, block.price, np.nan)
        entropy, past = block.entropy[:, self._rows[0]], block.past[:, self._rows[1]]
        if self._last is not None:
            entropy = np.concatenate([self._last[0][None], entropy])
            price = np.concatenate([self._last[1][None], price])
            past = np.concatenate([self._last[2][None], past])
        self._last = entropy[-1].copy(), price[-1].copy(), past[-1].copy()
        step = np.log(price[1:] / price[:-1])
        direction = np.sign(price[:-1] - past[:-1])
        known = np.isfinite(step) & np.isfinite(entropy[:-1]) & np.isfinite(direction)
        bins = np.minimum((entropy[:-1][known] * ENTROPY_BINS).astype(np.int64), ENTROPY_BINS - 1)
        step, direction = step[known], direction[known]
        trend = step * direction
        self.count += np.bincount(bins, minlength=ENTROPY_BINS)
        self.drift += np.bincount(bins, step, minlength=ENTROPY_BINS)
        self.trend += np.bincount(bins, trend, minlength=ENTROPY_BINS)
        self.trend_squares += np.bincount(bins, trend * trend, minlength=ENTROPY_BINS)
        self.size += np.bincount(bins, np.abs(step), minlength=ENTROPY_BINS)


def _split(
    table: dict[Hashable, Cohort],
    runs: Records,
    growth: FloatArray,
    keys: NDArray[Any],
    name: Callable[[int], Hashable],
) -> None:
    for key in np.unique(keys).tolist():
        _add(table.setdefault(name(key), Cohort()), runs, growth, keys == key)


def _add(cohort: Cohort, runs: Records, growth: FloatArray, own: NDArray[np.bool_]) -> None:
    cohort.runs += int(own.sum())
    cohort.growth += float(growth[own].sum())
    cohort.squares += float((growth[own] ** 2).sum())
    cohort.trades += int(runs["trades"][own].sum())
    cohort.wins += int(runs["wins"][own].sum())
