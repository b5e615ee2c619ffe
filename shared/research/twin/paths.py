"""An account as what it held and paid: the same arithmetic for the one lived and for its twin.

Everything is measured on the recorded ticks, at the newest mid known at each. A trade between two
ticks counts from the mid of the tick before it: what its price differs from that is its price
cost, what the position earns from then on is its path. So, exactly,

    equity(t) = start + path(t) - price(t) - fee(t) + funding(t) + transfers(t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.research.tables import FloatArray


class Trade(NamedTuple):
    """``size`` signed, coins; ``row`` the tick at which it is first held."""

    row: int
    mid_row: int
    """Tick whose mid it counts from."""
    column: int
    size: float
    price: float
    fee_usd: float


class Cash(NamedTuple):
    """USD received for a column, first counted at tick ``row``."""

    row: int
    column: int
    usd: float


@dataclass(frozen=True, slots=True)
class Path:
    """Cumulative USD at T ticks for S columns, each [T, S]; ``size`` [T, S] in coins.

    ``price`` and ``fee`` are what was lost, ``funding`` what was received.
    """

    size: FloatArray
    path: FloatArray
    price: FloatArray
    fee: FloatArray
    funding: FloatArray

    @property
    def total(self) -> FloatArray:
        """[T, S] what the columns have made of the account."""
        made: FloatArray = self.path - self.price - self.fee + self.funding
        return made


def marks(price: FloatArray) -> FloatArray:
    """Newest known price at each tick; before the first known one, that one. NaN if none is."""
    filled = price.copy()
    for column in filled.T:
        known = np.flatnonzero(np.isfinite(column))
        if not len(known):
            continue
        places = np.maximum(np.searchsorted(known, np.arange(len(column)), side="right") - 1, 0)
        column[:] = column[known[places]]
    return filled


def walk(
    mark: FloatArray, start_size: Sequence[float], trades: Sequence[Trade], funding: Sequence[Cash]
) -> Path:
    """The path of an account over ``mark`` [T, S] that held ``start_size`` [S] at the first tick.

    A column without any mark has no path: it cannot have been traded by what ran here.
    """
    shape = mark.shape
    size, spent, price, fee, cash = (np.zeros(shape) for _ in range(5))
    for trade in trades:
        mid = mark[trade.mid_row, trade.column]
        size[trade.row, trade.column] += trade.size
        spent[trade.row, trade.column] += trade.size * mid
        price[trade.row, trade.column] += trade.size * (trade.price - mid)
        fee[trade.row, trade.column] += trade.fee_usd
    for received in funding:
        cash[received.row, received.column] += received.usd
    held = np.asarray(start_size, dtype=np.float64) + np.cumsum(size, axis=0)
    worth = np.where(np.isfinite(mark), held * mark, 0.0)
    first = np.where(np.isfinite(mark[0]), np.asarray(start_size) * mark[0], 0.0)
    path = worth - first - np.cumsum(np.nan_to_num(spent), axis=0)
    return Path(
        held,
        path,
        np.cumsum(np.nan_to_num(price), axis=0),
        np.cumsum(fee, axis=0),
        np.cumsum(cash, axis=0),
    )


def row_at_or_after(tick_ms: NDArray[np.int64], time_ms: int) -> int:
    """First tick at or after a time; the last one for what came later."""
    return min(int(np.searchsorted(tick_ms, time_ms, side="left")), len(tick_ms) - 1)


def row_at_or_before(tick_ms: NDArray[np.int64], time_ms: int) -> int:
    """Last tick at or before a time; the first one for what came earlier."""
    return max(int(np.searchsorted(tick_ms, time_ms, side="right")) - 1, 0)
