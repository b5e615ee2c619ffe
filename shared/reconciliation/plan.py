"""The next order that brings one symbol to its target: pure, in ``Decimal``.

At most one order per plan. A reversal plans its reduce-only close alone; once that close has
filled, the symbol is flat and the next plan opens the other side. Changes that are too small to
be worth a trade, or that the venue would refuse, wait; only a close of the whole position is
exempt, because the venue exempts it as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Literal, TypeAlias

from shared.exchange.precision import OrderFilters

Leg: TypeAlias = Literal["open", "close"]
Side: TypeAlias = Literal["buy", "sell"]

MIN_NOTIONAL_MARGIN = Decimal("1.12")
"""Leaves the venue's minimum in place at the largest slippage that can be configured, 10 %."""


class Move(StrEnum):
    """What a plan does to a position."""

    STAY = "stay"
    OPEN = "open"
    INCREASE = "increase"
    REDUCE = "reduce"
    CLOSE = "close"
    REVERSE = "reverse"


@dataclass(frozen=True, slots=True)
class PlanFilters:
    """The venue's rules for the market and the smallest change worth a trade, in USD."""

    order: OrderFilters
    minimum_trade_usd: Decimal

    @property
    def smallest_usd(self) -> Decimal:
        """Smallest notional of an order that is not a full close.

        The venue's minimum counts at the order's limit price, which may lie below the mid.
        """
        return max(self.minimum_trade_usd, self.order.min_notional_usd * MIN_NOTIONAL_MARGIN)


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """A market order; ``size`` > 0 in coins, on the lot. A close is always reduce-only."""

    leg: Leg
    side: Side
    size: Decimal

    @property
    def reduce_only(self) -> bool:
        return self.leg == "close"


@dataclass(frozen=True, slots=True)
class Plan:
    """The way from ``actual`` to ``target_size`` (signed, coins) and its first step.

    ``gap_usd`` is the notional of the difference; ``orders`` has at most one entry, and none
    where ``reason`` says why nothing is done.
    """

    move: Move
    actual: Decimal
    target_size: Decimal
    gap_usd: Decimal
    orders: tuple[PlannedOrder, ...]
    reason: str = ""


def plan(actual: Decimal, target_usd: Decimal, price: Decimal, filters: PlanFilters) -> Plan:
    """Plan from a signed size in coins to a signed notional in USD at ``price`` (> 0, finite).

    A target below the venue's minimum notional cannot be held and counts as flat. Sizes are
    rounded toward zero, so that the position never exceeds its target by rounding.
    """
    if not (actual.is_finite() and target_usd.is_finite() and price.is_finite() and price > 0):
        raise ValueError(_refusal(actual, target_usd, price))
    target = target_size(target_usd, price, filters.order)
    gap_usd = abs(target - actual) * price
    move = _move(actual, target)
    if move is Move.STAY:
        return Plan(move, actual, target, gap_usd, (), "the position is at its target")
    if move is Move.CLOSE or move is Move.REVERSE:
        order = PlannedOrder("close", _side(-actual), abs(actual))
        return Plan(move, actual, target, gap_usd, (order,))
    return _change(move, actual, target, gap_usd, price, filters)


def _refusal(actual: Decimal, target_usd: Decimal, price: Decimal) -> str:
    for name, value in (("actual", actual), ("target_usd", target_usd), ("price", price)):
        if not value.is_finite():
            return f"{name} is {value}; a finite number is needed to plan"
    return f"price is {price}; a number greater than 0 is needed to plan"


def target_size(target_usd: Decimal, price: Decimal, filters: OrderFilters) -> Decimal:
    """Signed size in coins for a notional, on the lot, never above it; 0 below the minimum."""
    if abs(target_usd) < filters.min_notional_usd:
        return Decimal(0)
    return _toward_zero(target_usd / price, filters.lot)


def _move(actual: Decimal, target: Decimal) -> Move:
    if target == actual:
        return Move.STAY
    if actual == 0:
        return Move.OPEN
    if target == 0:
        return Move.CLOSE
    if (actual > 0) != (target > 0):
        return Move.REVERSE
    return Move.INCREASE if abs(target) > abs(actual) else Move.REDUCE


def _change(
    move: Move,
    actual: Decimal,
    target: Decimal,
    gap_usd: Decimal,
    price: Decimal,
    filters: PlanFilters,
) -> Plan:
    delta = _toward_zero(target - actual, filters.order.lot)
    change_usd, smallest_usd = abs(delta) * price, filters.smallest_usd
    if change_usd < smallest_usd:
        reason = (
            f"the change of {change_usd:.2f} USD is below the minimum of {smallest_usd:.2f} USD"
        )
        return Plan(move, actual, target, gap_usd, (), reason)
    leg: Leg = "close" if move is Move.REDUCE else "open"
    return Plan(move, actual, target, gap_usd, (PlannedOrder(leg, _side(delta), abs(delta)),))


def _side(delta: Decimal) -> Side:
    return "buy" if delta > 0 else "sell"


def _toward_zero(size: Decimal, lot: Decimal) -> Decimal:
    return (size / lot).to_integral_value(rounding=ROUND_DOWN) * lot
