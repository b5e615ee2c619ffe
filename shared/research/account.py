"""What the account would have done: the runs' sums to targets, targets to orders, orders to equity.

Targets and plans are the pure functions that reconciliation calls. An order decided at one tick is
filled at the next at that tick's price, moved against it by the slippage, and pays the fee; an
order whose next sample is unknown expires, as an IOC does, and is planned anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from shared.exchange.precision import OrderFilters
from shared.observation import Known, Observation
from shared.providence.aggregate import Sums
from shared.providence.market import TickBlock
from shared.providence.run_state import copied
from shared.reconciliation.demand import DemandRules, demand_of
from shared.reconciliation.exposure import room_usd
from shared.reconciliation.plan import PlanFilters, PlannedOrder, plan
from shared.reconciliation.target import Demand, Target, TargetRules, targets
from shared.research import quiet
from shared.research.markets import MarketSpec
from shared.research.quiet import (
    HOLDING_DTYPE,
    ORDER_DTYPE,
    TOTALS_DTYPE,
    Terms,
    target_shares,
    wait,
    walk,
)
from shared.research.tables import FloatArray

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
class Books:
    """What an account has and waits for: exact sizes for the planner, floats for the walk."""

    totals: NDArray[np.void]
    holdings: NDArray[np.void]
    queue: NDArray[np.int64]
    size: list[Decimal]
    pending: dict[int, PlannedOrder]

    def copy(self) -> Books:
        """Of its own, as of now."""
        return Books(
            copied(self.totals),
            copied(self.holdings),
            self.queue.copy(),
            [*self.size],
            {**self.pending},
        )


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
        self._terms = Terms(
            float(rules.fee_rate),
            float(rules.slippage_rate),
            min(float(f.smallest_usd) for f in self._filters),
            float(rules.target.max_total_exposure),
            quiet.ERROR,
        )
        if start is None:
            flat = len(markets)
            start = Holdings(rules.start_balance_usd, (Decimal(0),) * flat, (0.0,) * flat)
        self._books = self._opened(start)

    def _opened(self, start: Holdings) -> Books:
        totals = np.zeros(1, dtype=TOTALS_DTYPE)
        totals["cash"] = start.cash_usd
        holdings = np.zeros(len(self._filters), dtype=HOLDING_DTYPE)
        holdings["coins"] = [float(size) for size in start.size]
        holdings["mark"], holdings["index"] = start.mark, math.nan
        holdings["lot"] = [float(f.order.lot) for f in self._filters]
        holdings["min_notional"] = [float(f.order.min_notional_usd) for f in self._filters]
        return Books(totals, holdings, np.zeros(len(holdings), np.int64), [*start.size], {})

    @property
    def cash(self) -> float:
        """USD, without what is held in coins."""
        return float(self._books.totals["cash"][0])

    @cash.setter
    def cash(self, usd: float) -> None:
        self._books.totals["cash"] = usd

    @property
    def fees(self) -> float:
        """USD paid so far."""
        return float(self._books.totals["fees"][0])

    @property
    def funding(self) -> float:
        """USD received so far."""
        return float(self._books.totals["funding"][0])

    @property
    def slippage(self) -> float:
        """USD paid so far."""
        return float(self._books.totals["slippage"][0])

    @property
    def expired(self) -> int:
        """Orders whose next sample was unknown."""
        return int(self._books.totals["expired"][0])

    def keep(self) -> Books:
        """A copy as of now, for :meth:`take_back`."""
        return self._books.copy()

    def take_back(self, kept: Books) -> None:
        """Be as ``kept`` was; it is used up."""
        self._books = kept

    def follow(self, block: TickBlock, due: NDArray[np.bool_], sums: Sums) -> AccountBlock:
        """Go through the block's ticks; ``sums`` [D, S] are of the D ticks that are due."""
        books, terms = self._books, self._terms
        (ticks, symbols), looks = block.price.shape, len(sums)
        equity, gross, net = np.empty(ticks), np.empty(ticks), np.empty(ticks)
        position = np.empty((ticks, symbols))
        orders: Orders = np.empty((looks + 1) * symbols, dtype=ORDER_DTYPE)
        shares = target_shares(sums, self.rules.target, self.rules.demand)
        t = look = written = 0
        while t < ticks:
            t, look, written, asks = walk(
                t,
                look,
                written,
                block.tick_ms,
                block.price,
                block.ok,
                block.funding_index,
                due,
                shares,
                terms,
                books.totals,
                books.holdings,
                books.queue,
                equity,
                gross,
                net,
                position,
                orders,
            )
            if books.pending:
                self._settle()
            if asks:
                self._plan(block, t - 1, sums[look - 1], float(equity[t - 1]))
        return AccountBlock(block.tick_ms, equity, position, gross, net, orders[:written])

    def _settle(self) -> None:
        """Take over what was filled or has expired since the last plan."""
        books = self._books
        for s, order in list(books.pending.items()):
            one = books.holdings[s]
            if one["wait"]:
                continue
            del books.pending[s]
            if one["filled"]:
                books.size[s] += _signed(order)

    def _wait(self, s: int, order: PlannedOrder, mid: float) -> None:
        """Let an order wait for its fill."""
        books, signed = self._books, _signed(order)
        wait(
            s,
            self.rules.latency_ticks,
            float(signed),
            float(books.size[s] + signed),
            mid,
            order.reduce_only,
            books.totals,
            books.holdings,
            books.queue,
        )
        books.pending[s] = order

    def _plan(self, block: TickBlock, t: int, sums: Sums, equity: float) -> None:
        """Orders for the next sample: closes first, then what the total cap has room for."""
        rules, names = self.rules, sums.dtype.names or ()
        tick_ms, price, ok = int(block.tick_ms[t]), block.price[t].tolist(), block.ok[t].tolist()
        balance = Known(Decimal(repr(equity)), tick_ms)
        wanted = targets(
            balance,
            {
                symbol: self._demand(dict(zip(names, row, strict=True)), tick_ms)
                for symbol, row in zip(self._symbols, sums.tolist(), strict=True)
            },
            rules.target,
        )
        opens: list[tuple[Decimal, int, PlannedOrder]] = []
        under_way = {**self._books.pending}
        for s, symbol in enumerate(self._symbols):
            if not ok[s] or s in under_way:
                continue
            planned = self._order(s, wanted[symbol], price[s])
            if planned is None:
                continue
            if planned.reduce_only:
                self._wait(s, planned, price[s])
            else:
                opens.append((planned.size * Decimal(repr(price[s])), s, planned))
        room = self._room(balance.value, price, under_way) if opens else Decimal(0)
        for notional, s, order in sorted(opens, key=lambda x: x[0], reverse=True):
            if notional <= room:
                room -= notional
                self._wait(s, order, price[s])

    def _room(
        self, equity: Decimal, price: list[float], under_way: Mapping[int, PlannedOrder]
    ) -> Decimal:
        """What the total cap has room for: closes of this plan count, opens under way as well."""
        books = self._books
        marks = [Decimal(repr(mark)) for mark in books.holdings["mark"].tolist()]
        held = [abs(size) * mark for size, mark in zip(books.size, marks, strict=True)]
        for s, order in under_way.items():
            if not order.reduce_only:
                held[s] += order.size * marks[s]
        for s, order in books.pending.items():
            if s not in under_way:
                held[s] -= order.size * Decimal(repr(price[s]))
        cap = self.rules.target.max_total_exposure
        return room_usd(max(equity, Decimal(0)), cap, held, Decimal(0))

    def _demand(self, row: Mapping[str, float], tick_ms: int) -> Observation[Demand]:
        return Known(demand_of(row, self.rules.demand), tick_ms)

    def _order(self, s: int, target: Target, price: float) -> PlannedOrder | None:
        notional = target.notional
        if not isinstance(notional, Known):
            return None
        planned = plan(self._books.size[s], notional.value, Decimal(repr(price)), self._filters[s])
        return planned.orders[0] if planned.orders else None


def _signed(order: PlannedOrder) -> Decimal:
    return order.size if order.side == "buy" else -order.size
