"""The account that the replayed runs would have had: planned as live, filled as in a backtest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from shared.market_data.tick_inputs import TickWindow
from shared.providence.aggregate import Sums
from shared.providence.market import TickBlock
from shared.research.account import Account, AccountRules, Holdings, Orders
from shared.research.tables import FloatArray
from shared.research.twin.paths import Cash, Path, Trade, marks, row_at_or_after, walk
from shared.research.twin.recorded import Recorded


@dataclass(frozen=True, slots=True)
class Window:
    """The stored ticks of the account's window: [T] times, [T, S] marks and funding index."""

    tick_ms: NDArray[np.int64]
    mark: FloatArray
    index: FloatArray

    @classmethod
    def of(cls, recorded: Recorded) -> Window:
        """From the recorded rows."""
        rows = [row for row in recorded.rows if row.tick_ms >= recorded.from_ms]
        window = TickWindow.from_rows(
            recorded.interval_ms, rows[0].tick_ms, rows[-1].tick_ms, rows, recorded.product_ids
        )
        stored = np.array([version != "" for version in window.config_version])
        price = np.where(window.ok, window.mid, np.nan)[stored]
        index = marks(window.funding_index[stored])
        return cls(window.tick_ms[stored], marks(price), np.nan_to_num(index))


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of the window on which the account is followed."""

    block: TickBlock
    due: NDArray[np.bool_]
    sums: Sums


def follow(recorded: Recorded, window: Window, rules: AccountRules, steps: Iterable[Step]) -> Path:
    """The path of the account through ``steps``, which are the whole window in order."""
    account = Account(rules, recorded.markets, _start(recorded, window))
    transfers = list(recorded.account.transfers)
    orders: list[Orders] = []
    for step in steps:
        while transfers and transfers[0].time_ms <= step.block.tick_ms[0]:
            account.cash += transfers.pop(0).usd
        orders.append(account.follow(step.block, step.due, step.sums).orders)
    trades = [_trade(order, window) for part in orders for order in part]
    size = walk(window.mark, recorded.account.start_size, trades, []).size
    return walk(window.mark, recorded.account.start_size, trades, _funding(size, window.index))


def _start(recorded: Recorded, window: Window) -> Holdings:
    size = tuple(Decimal(repr(coins)) for coins in recorded.account.start_size)
    mark = tuple(np.nan_to_num(window.mark[0]).tolist())
    held = sum(float(coins) * price for coins, price in zip(size, mark, strict=True))
    return Holdings(recorded.account.start_usd - held, size, mark)


def _trade(order: np.void, window: Window) -> Trade:
    row = row_at_or_after(window.tick_ms, int(order["tick"]))
    return Trade(
        row,
        row,
        int(order["column"]),
        float(order["size"]),
        float(order["price"]),
        float(order["fee"]),
    )


def _funding(size: FloatArray, index: FloatArray) -> list[Cash]:
    """What was held over a tick receives the index's change to the next."""
    usd = size[:-1] * np.diff(index, axis=0)
    return [
        Cash(int(row) + 1, int(column), float(usd[row, column]))
        for row, column in zip(*np.nonzero(usd), strict=True)
    ]
