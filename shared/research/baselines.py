"""Two strategies that everybody knows, at the same costs and with the same delay.

Each symbol has its own share of the balance and is either flat or long with all of it. A signal
of one tick is executed at the next tick's price, moved against it by the slippage; a signal whose
next sample is unknown lapses. Indicators are computed over known samples and start afresh after
an unknown one, as entropy windows do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.providence._jit import jit
from shared.providence.step import FILL_DTYPE, Fills
from shared.research.account import AccountBlock
from shared.research.errors import ResearchError
from shared.research.observers import Observer
from shared.research.quiet import ORDER_DTYPE
from shared.research.tables import FloatArray
from shared.research.tick_series import Series

FLAT: Final = 0
LONG: Final = 1
KEEP: Final = -1


@dataclass(frozen=True, slots=True)
class SmaCross:
    """Long while the mean of the last ``fast`` samples is above that of the last ``slow``."""

    fast: int = 20
    slow: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.fast < self.slow <= 100_000:
            raise ResearchError(
                f"fast is {self.fast}, slow {self.slow}; allowed is 1 <= fast < slow <= 100,000"
            )

    def wanted(self, price: FloatArray) -> NDArray[np.int8]:
        """[T] position wanted after each sample; ``price`` is NaN where unknown."""
        wanted = np.empty(len(price), dtype=np.int8)
        _sma_cross(np.ascontiguousarray(price), self.fast, self.slow, wanted)
        return wanted


@dataclass(frozen=True, slots=True)
class Rsi:
    """Buys when Wilder's RSI is below ``low``, sells when it is above ``high``."""

    window: int = 14
    low: float = 30.0
    high: float = 70.0

    def __post_init__(self) -> None:
        if not (2 <= self.window <= 100_000 and 0.0 < self.low < self.high < 100.0):
            raise ResearchError(
                f"window is {self.window}, low {self.low:g}, high {self.high:g}; allowed is "
                "2 <= window <= 100,000 and 0 < low < high < 100"
            )

    def wanted(self, price: FloatArray) -> NDArray[np.int8]:
        """[T] position wanted after each sample; ``price`` is NaN where unknown."""
        wanted = np.empty(len(price), dtype=np.int8)
        _rsi(np.ascontiguousarray(price), self.window, self.low, self.high, wanted)
        return wanted


Baseline = SmaCross | Rsi


@dataclass(frozen=True, slots=True)
class Costs:
    """Plain ratios per side."""

    fee_rate: float
    slippage_rate: float


@dataclass(frozen=True, slots=True)
class LongFlat:
    """One symbol traded all in or not at all: equity [T], coins held [T], and its trades."""

    equity: FloatArray
    coins: FloatArray
    ticks: NDArray[np.int64]
    """Places of the fills in the series."""
    size: FloatArray
    price: FloatArray
    fee: FloatArray


def trade(
    price: FloatArray,
    wanted: NDArray[np.int8],
    costs: Costs,
    start_usd: float,
    funding_index: FloatArray | None = None,
) -> LongFlat:
    """Follow ``wanted`` with all of ``start_usd``, one sample late.

    ``price`` [T] is NaN where unknown; equity is marked at the newest known price.
    """
    index = np.zeros(len(price)) if funding_index is None else funding_index
    equity, coins = np.empty(len(price)), np.empty(len(price))
    rows = np.empty((len(price), 4))
    count = _trade(
        np.ascontiguousarray(price),
        np.ascontiguousarray(index),
        wanted,
        costs.fee_rate,
        costs.slippage_rate,
        start_usd,
        equity,
        coins,
        rows,
    )
    rows = rows[:count]
    return LongFlat(equity, coins, rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2], rows[:, 3])


def run_baseline(
    strategy: Baseline,
    series: Series,
    costs: Costs,
    balance_usd: float,
    observers: Sequence[Observer] = (),
) -> None:
    """The strategy on every symbol with an equal share of the balance; observers see the sum."""
    blocks = [series.samples(number) for number in range(series.blocks)]
    ticks = np.concatenate([block.tick_ms for block in blocks])
    price = np.concatenate([block.price for block in blocks])
    index = np.concatenate([block.funding_index for block in blocks])
    share = balance_usd / len(series.symbols)
    parts = [
        trade(price[:, s], strategy.wanted(price[:, s]), costs, share, index[:, s])
        for s in range(len(series.symbols))
    ]
    notional = np.stack([part.coins for part in parts], axis=1) * _marks(price)
    account = AccountBlock(
        ticks,
        np.sum([part.equity for part in parts], axis=0),
        np.stack([part.coins for part in parts], axis=1),
        np.abs(notional).sum(axis=1),
        notional.sum(axis=1),
        _orders(parts, ticks, price),
    )
    fills = _fills(parts, ticks, index)
    for observer in observers:
        observer.fills(fills)
        observer.account(account)
        observer.close()


def _marks(price: FloatArray) -> FloatArray:
    """Newest known price at each tick, 0 before the first."""
    rows = np.maximum.accumulate(
        np.where(np.isfinite(price), np.arange(len(price))[:, None], -1), axis=0
    )
    marks = np.take_along_axis(price, np.maximum(rows, 0), axis=0)
    return np.where(rows >= 0, marks, 0.0)


def _orders(parts: list[LongFlat], ticks: NDArray[np.int64], price: FloatArray) -> Any:
    found = []
    for s, part in enumerate(parts):
        orders = np.zeros(len(part.ticks), dtype=ORDER_DTYPE)
        orders["tick"], orders["column"] = ticks[part.ticks], s
        orders["size"], orders["price"], orders["fee"] = part.size, part.price, part.fee
        orders["mid"] = price[part.ticks, s]
        orders["decided_mid"] = price[part.ticks - 1, s]
        orders["reduce_only"] = part.size < 0.0
        found.append(orders)
    joined = np.concatenate(found)
    return joined[np.lexsort((joined["column"], joined["tick"]))]


def _fills(parts: list[LongFlat], ticks: NDArray[np.int64], index: FloatArray) -> Fills:
    """The trades as a journal: symbol s is run s + 1."""
    found = []
    for s, part in enumerate(parts):
        fills = np.zeros(len(part.ticks), dtype=FILL_DTYPE)
        fills["run_id"] = fills["product_id"] = s + 1
        fills["fill_seq"] = np.arange(1, len(fills) + 1)
        fills["tick"] = ticks[part.ticks]
        fills["size"], fills["price"], fills["fee"] = part.size, part.price, part.fee
        fills["funding_index"] = index[part.ticks, s]
        found.append(fills)
    joined = np.concatenate(found)
    return joined[np.lexsort((joined["run_id"], joined["tick"]))]


@jit
def _sma_cross(price: FloatArray, fast: int, slow: int, wanted: NDArray[np.int8]) -> None:
    """Means are summed anew at every multiple of the window, so that rounding cannot pile up."""
    age = 0
    fast_sum, slow_sum = 0.0, 0.0
    for t in range(price.size):
        wanted[t] = KEEP
        if price[t] != price[t]:
            age, fast_sum, slow_sum = 0, 0.0, 0.0
            continue
        age += 1
        fast_sum += price[t]
        slow_sum += price[t]
        if age > fast:
            fast_sum -= price[t - fast]
        if age > slow:
            slow_sum -= price[t - slow]
        if age % slow == 0:
            slow_sum, fast_sum = 0.0, 0.0
            for k in range(t - slow + 1, t + 1):
                slow_sum += price[k]
            for k in range(t - fast + 1, t + 1):
                fast_sum += price[k]
        if age >= slow:
            wanted[t] = LONG if fast_sum / fast > slow_sum / slow else FLAT


@jit
def _rsi(price: FloatArray, window: int, low: float, high: float, wanted: NDArray[np.int8]) -> None:
    age = 0
    gain, loss, last = 0.0, 0.0, 0.0
    for t in range(price.size):
        wanted[t] = KEEP
        if price[t] != price[t]:
            age = 0
            continue
        age += 1
        change = price[t] - last
        last = price[t]
        if age == 1:
            gain, loss = 0.0, 0.0
            continue
        up = max(0.0, change)
        down = -change if change < 0.0 else 0.0
        if age <= window + 1:
            gain += up / window
            loss += down / window
        else:
            gain += (up - gain) / window
            loss += (down - loss) / window
        if age > window:
            total = gain + loss
            rsi = 50.0 if total == 0.0 else 100.0 * gain / total
            if rsi < low:
                wanted[t] = LONG
            elif rsi > high:
                wanted[t] = FLAT


@jit
def _trade(
    price: FloatArray,
    index: FloatArray,
    wanted: NDArray[np.int8],
    fee_rate: float,
    slippage_rate: float,
    start_usd: float,
    equity: FloatArray,
    coins: FloatArray,
    rows: FloatArray,
) -> int:
    cash, held, mark = start_usd, 0.0, 0.0
    count = 0
    for t in range(price.size):
        if held != 0.0 and t > 0:
            cash += held * (index[t] - index[t - 1])
        if price[t] == price[t]:
            mark = price[t]
            order = wanted[t - 1] if t > 0 else KEEP
            if order == LONG and held == 0.0 and cash > 0.0:
                paid = mark * (1.0 + slippage_rate)
                held = cash / (paid * (1.0 + fee_rate))
                fee = held * paid * fee_rate
                cash = 0.0
                rows[count, 0], rows[count, 1] = t, held
                rows[count, 2], rows[count, 3] = paid, fee
                count += 1
            elif order == FLAT and held > 0.0:
                paid = mark * (1.0 - slippage_rate)
                fee = held * paid * fee_rate
                cash += held * paid - fee
                rows[count, 0], rows[count, 1] = t, -held
                rows[count, 2], rows[count, 3] = paid, fee
                count += 1
                held = 0.0
        coins[t] = held
        equity[t] = cash + held * mark
    return count
