"""What the account would have done: the runs' sums to targets, targets to orders, orders to equity.

Targets and plans are the pure functions that reconciliation calls. An order decided at one tick is
filled at the next at that tick's price, moved against it by the slippage, and pays the fee; an
order whose next sample is unknown expires, as an IOC does, and is planned anew.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.exchange.precision import OrderFilters
from shared.observation import Known, Observation
from shared.providence.aggregate import Sums
from shared.providence.market import TickBlock
from shared.reconciliation.demand import DemandRules, demand_of
from shared.reconciliation.exposure import room_usd
from shared.reconciliation.plan import PlanFilters, PlannedOrder, plan
from shared.reconciliation.target import Demand, Target, TargetRules, targets
from shared.research.markets import MarketSpec
from shared.research.quiet import QuietLooks
from shared.research.tables import FloatArray

ORDER_DTYPE: Final = np.dtype(
    [
        ("tick", "<i8"),  # ms, of the fill
        ("column", "<i4"),
        ("size", "<f8"),  # signed, coins
        ("price", "<f8"),  # USD, slippage included
        ("fee", "<f8"),  # USD
        ("mid", "<f8"),  # USD at the tick of the fill
        ("decided_mid", "<f8"),  # USD at the tick of the decision
        ("reduce_only", "u1"),
    ]
)
Orders = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class AccountRules:
    """How an account follows the population. Rates are plain ratios."""

    start_balance_usd: float
    fee_rate: float
    slippage_rate: float
    target: TargetRules
    demand: DemandRules
    minimum_trade_usd: Decimal
    latency_ticks: int = 1
    """Ticks from a decision to its fill, 1 or more; meanwhile the symbol is not planned."""


@dataclass(frozen=True, slots=True)
class AccountBlock:
    """The account at T consecutive ticks, after the fills of each."""

    tick_ms: NDArray[np.int64]
    equity: FloatArray
    """[T] USD, marked at the newest known prices."""
    position: FloatArray
    """[T, S] coins."""
    gross_usd: FloatArray
    """[T] Σ |notional|."""
    net_usd: FloatArray
    """[T] Σ notional."""
    orders: Orders


@dataclass(frozen=True, slots=True)
class Holdings:
    """Cash in USD, and per column the coins held and their price."""

    cash_usd: float
    size: tuple[Decimal, ...]
    mark: tuple[float, ...]


@dataclass(slots=True)
class _Pending:
    order: PlannedOrder
    mid: float
    ticks: int
    """Ticks until it is filled."""


class Account:
    """One account over all symbols; it starts flat, or with ``start``."""

    def __init__(
        self, rules: AccountRules, markets: Sequence[MarketSpec], start: Holdings | None = None
    ) -> None:
        self.rules = rules
        self._symbols = [market.symbol for market in markets]
        self._filters = [
            PlanFilters(OrderFilters(market.sz_decimals), rules.minimum_trade_usd)
            for market in markets
        ]
        self._quiet = QuietLooks(
            rules.target,
            rules.demand,
            min(float(f.smallest_usd) for f in self._filters),
            [f.order for f in self._filters],
        )
        self.cash = rules.start_balance_usd
        self.fees = self.funding = self.slippage = 0.0
        self.expired = 0
        self._size = [Decimal(0)] * len(markets)
        self._mark = [0.0] * len(markets)
        if start is not None:
            self.cash, self._size, self._mark = start.cash_usd, [*start.size], [*start.mark]
        self._coins = [float(size) for size in self._size]
        self._index = [math.nan] * len(markets)
        self._pending: dict[int, _Pending] = {}

    def keep(self) -> Account:
        """A copy as of now, for :meth:`take_back`."""
        kept = object.__new__(Account)
        kept.__dict__.update(self.__dict__)
        kept._size, kept._coins = [*self._size], [*self._coins]
        kept._mark, kept._index = [*self._mark], [*self._index]
        kept._pending = {s: copy.copy(pending) for s, pending in self._pending.items()}
        return kept

    def take_back(self, kept: Account) -> None:
        """Be as ``kept`` was; it is used up."""
        self.__dict__.update(kept.__dict__)

    def follow(self, block: TickBlock, due: NDArray[np.bool_], sums: Sums) -> AccountBlock:
        """Go through the block's ticks; ``sums`` [D, S] are of the D ticks that are due."""
        symbols = range(len(self._symbols))
        equity, gross, net = [], [], []
        position: list[list[float]] = []
        orders: list[tuple[int | float, ...]] = []
        names = sums.dtype.names or ()
        rows, shares = iter(sums.tolist()), iter(self._quiet.shares(sums))
        for tick_ms, is_due, price, ok, index in zip(
            block.tick_ms.tolist(),
            due.tolist(),
            block.price.tolist(),
            block.ok.tolist(),
            block.funding_index.tolist(),
            strict=True,
        ):
            if index != self._index:
                self._accrue(index)
            if self._pending:
                orders += self._fill(tick_ms, price, ok)
            worth, total = 0.0, 0.0
            for s in symbols:
                if ok[s]:
                    self._mark[s] = price[s]
                value = self._coins[s] * self._mark[s]
                worth += value
                total += abs(value)
            now = self.cash + worth
            equity.append(now)
            gross.append(total)
            net.append(worth)
            position.append([*self._coins])
            if not is_due:
                continue
            row, share = next(rows), next(shares)
            if self._quiet.may_trade(now, share, self._coins, price):
                wanted = [dict(zip(names, values, strict=True)) for values in row]
                self._plan(tick_ms, price, ok, wanted, now)
        return AccountBlock(
            block.tick_ms,
            np.array(equity),
            np.array(position).reshape(len(equity), len(symbols)),
            np.array(gross),
            np.array(net),
            np.array(orders, dtype=ORDER_DTYPE),
        )

    def _accrue(self, index: list[float]) -> None:
        """Funding since the last tick; an index that is not known is that of the last tick."""
        for s, now in enumerate(index):
            if now != now:
                continue
            if self._coins[s] != 0.0 and self._index[s] == self._index[s]:
                received = self._coins[s] * (now - self._index[s])
                self.cash += received
                self.funding += received
            self._index[s] = now

    def _fill(
        self, tick_ms: int, price: list[float], ok: list[bool]
    ) -> list[tuple[int | float, ...]]:
        filled: list[tuple[int | float, ...]] = []
        for s, pending in list(self._pending.items()):
            pending.ticks -= 1
            if pending.ticks > 0:
                continue
            del self._pending[s]
            if not ok[s]:
                self.expired += 1
                continue
            order, mid = pending.order, price[s]
            signed = order.size if order.side == "buy" else -order.size
            coins = float(signed)
            paid = mid * (
                1.0 + (self.rules.slippage_rate if coins > 0.0 else -self.rules.slippage_rate)
            )
            fee = abs(coins) * paid * self.rules.fee_rate
            self.cash -= coins * paid + fee
            self.fees += fee
            self.slippage += abs(coins) * abs(paid - mid)
            self._size[s] += signed
            self._coins[s] = float(self._size[s])
            filled.append((tick_ms, s, coins, paid, fee, mid, pending.mid, order.reduce_only))
        return filled

    def _plan(
        self,
        tick_ms: int,
        price: list[float],
        ok: list[bool],
        sums: Sequence[Mapping[str, float]],
        equity: float,
    ) -> None:
        """Orders for the next sample: closes first, then what the total cap has room for."""
        rules = self.rules
        balance = Known(Decimal(repr(equity)), tick_ms)
        wanted = targets(
            balance,
            {
                symbol: self._demand(row, tick_ms)
                for symbol, row in zip(self._symbols, sums, strict=True)
            },
            rules.target,
        )
        opens: list[tuple[Decimal, int, PlannedOrder]] = []
        under_way = {s: pending.order for s, pending in self._pending.items()}
        for s, symbol in enumerate(self._symbols):
            if not ok[s] or s in under_way:
                continue
            planned = self._order(s, wanted[symbol], price[s])
            if planned is None:
                continue
            if planned.reduce_only:
                self._pending[s] = _Pending(planned, price[s], rules.latency_ticks)
            else:
                opens.append((planned.size * Decimal(repr(price[s])), s, planned))
        room = self._room(balance.value, price, under_way) if opens else Decimal(0)
        for notional, s, order in sorted(opens, key=lambda x: x[0], reverse=True):
            if notional <= room:
                room -= notional
                self._pending[s] = _Pending(order, price[s], rules.latency_ticks)

    def _room(
        self, equity: Decimal, price: list[float], under_way: Mapping[int, PlannedOrder]
    ) -> Decimal:
        """What the total cap has room for: closes of this plan count, opens under way as well."""
        held = [
            abs(size) * Decimal(repr(mark))
            for size, mark in zip(self._size, self._mark, strict=True)
        ]
        for s, order in under_way.items():
            if not order.reduce_only:
                held[s] += order.size * Decimal(repr(self._mark[s]))
        for s, pending in self._pending.items():
            if s not in under_way:
                held[s] -= pending.order.size * Decimal(repr(price[s]))
        cap = self.rules.target.max_total_exposure
        return room_usd(max(equity, Decimal(0)), cap, held, Decimal(0))

    def _demand(self, row: Mapping[str, float], tick_ms: int) -> Observation[Demand]:
        return Known(demand_of(row, self.rules.demand), tick_ms)

    def _order(self, s: int, target: Target, price: float) -> PlannedOrder | None:
        notional = target.notional
        if not isinstance(notional, Known):
            return None
        planned = plan(self._size[s], notional.value, Decimal(repr(price)), self._filters[s])
        return planned.orders[0] if planned.orders else None
