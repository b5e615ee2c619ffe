"""The planner: nine transitions, the minimums, rounding, and convergence as a property."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.exchange.precision import OrderFilters
from shared.reconciliation.plan import Move, Plan, PlanFilters, PlannedOrder, plan

PRICE = Decimal(100)
FILTERS = PlanFilters(OrderFilters(sz_decimals=2), minimum_trade_usd=Decimal(50))


def planned(actual: str, target_usd: str, price: Decimal = PRICE) -> Plan:
    return plan(Decimal(actual), Decimal(target_usd), price, FILTERS)


@pytest.mark.parametrize(
    ("actual", "target_usd", "move", "order"),
    [
        ("0", "0", Move.STAY, None),
        ("0", "500", Move.OPEN, PlannedOrder("open", "buy", Decimal(5))),
        ("0", "-500", Move.OPEN, PlannedOrder("open", "sell", Decimal(5))),
        ("5", "0", Move.CLOSE, PlannedOrder("close", "sell", Decimal(5))),
        ("-5", "0", Move.CLOSE, PlannedOrder("close", "buy", Decimal(5))),
        ("5", "800", Move.INCREASE, PlannedOrder("open", "buy", Decimal(3))),
        ("5", "300", Move.REDUCE, PlannedOrder("close", "sell", Decimal(2))),
        ("-5", "-800", Move.INCREASE, PlannedOrder("open", "sell", Decimal(3))),
        ("-5", "-300", Move.REDUCE, PlannedOrder("close", "buy", Decimal(2))),
        ("5", "-300", Move.REVERSE, PlannedOrder("close", "sell", Decimal(5))),
        ("-5", "300", Move.REVERSE, PlannedOrder("close", "buy", Decimal(5))),
    ],
)
def test_transition(actual: str, target_usd: str, move: Move, order: PlannedOrder | None) -> None:
    found = planned(actual, target_usd)
    assert found.move is move
    assert found.orders == (() if order is None else (order,))


def test_a_reversal_never_opens_before_it_is_flat() -> None:
    found = planned("5", "-300")
    assert [o.reduce_only for o in found.orders] == [True]
    assert found.target_size == Decimal(-3)
    assert found.gap_usd == Decimal(800)


def test_a_small_change_waits_and_says_so() -> None:
    found = planned("5", "549")
    assert found.orders == ()
    assert "below the minimum of 50.00 USD" in found.reason


def test_a_change_at_the_minimum_is_made() -> None:
    assert planned("5", "550").orders == (PlannedOrder("open", "buy", Decimal("0.5")),)


def test_a_small_position_is_closed_all_the_same() -> None:
    assert planned("0.05", "0").orders == (PlannedOrder("close", "sell", Decimal("0.05")),)


def test_a_target_below_the_venues_minimum_counts_as_flat() -> None:
    assert planned("0", "9.99").move is Move.STAY
    assert planned("5", "9.99").move is Move.CLOSE


def test_rounding_never_exceeds_the_target() -> None:
    assert planned("0", "100.99").target_size == Decimal("1.00")
    assert planned("0", "-100.99").target_size == Decimal("-1.00")


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity"])
def test_no_plan_without_a_price(price: str) -> None:
    with pytest.raises(ValueError, match="price"):
        plan(Decimal(1), Decimal(1), Decimal(price), FILTERS)


def test_no_plan_from_a_position_that_is_not_a_number() -> None:
    with pytest.raises(ValueError, match="actual"):
        plan(Decimal("NaN"), Decimal(1), PRICE, FILTERS)


LOTS = st.integers(0, 5)
PRICES = st.decimals("0.0001", "200000", places=4)
USD = st.decimals(-1_000_000, 1_000_000, places=6)


@given(LOTS, PRICES, USD, st.integers(-1_000_000, 1_000_000), st.decimals(10, 500, places=2))
def test_an_order_is_valid_goes_toward_the_target_and_never_crosses_zero(
    sz_decimals: int, price: Decimal, target_usd: Decimal, lots: int, minimum: Decimal
) -> None:
    filters = PlanFilters(OrderFilters(sz_decimals=sz_decimals), minimum)
    actual = lots * filters.order.lot
    found = plan(actual, target_usd, price, filters)
    assert len(found.orders) <= 1
    assert abs(found.target_size) * price <= abs(target_usd)
    if not found.orders:
        return
    order = found.orders[0]
    filters.order.check_size(order.size)
    signed = order.size if order.side == "buy" else -order.size
    after = actual + signed
    filters.order.check_notional(
        price, order.size, closes_whole_position=order.reduce_only and after == 0
    )
    if order.reduce_only:
        assert abs(after) < abs(actual)
        assert after == 0 or (after > 0) == (actual > 0)
    else:
        assert actual == 0 or (after > 0) == (actual > 0)
        assert abs(after) * price <= abs(target_usd)


@given(LOTS, PRICES, USD, st.integers(-1_000_000, 1_000_000))
def test_plans_that_fill_reach_the_target_within_two_orders(
    sz_decimals: int, price: Decimal, target_usd: Decimal, lots: int
) -> None:
    filters = PlanFilters(OrderFilters(sz_decimals=sz_decimals), Decimal(50))
    position = lots * filters.order.lot
    sent = 0
    while (found := plan(position, target_usd, price, filters)).orders:
        order = found.orders[0]
        position += order.size if order.side == "buy" else -order.size
        sent += 1
        assert sent <= 2
    assert found.gap_usd < filters.smallest_usd or found.gap_usd == 0


@given(LOTS, PRICES, USD, st.integers(1, 1000), st.integers(1, 100))
def test_partial_fills_only_ever_come_closer(
    sz_decimals: int, price: Decimal, target_usd: Decimal, lots: int, percent: int
) -> None:
    filters = PlanFilters(OrderFilters(sz_decimals=sz_decimals), Decimal(50))
    actual = lots * filters.order.lot
    found = plan(actual, target_usd, price, filters)
    if not found.orders:
        return
    order = found.orders[0]
    filled = (
        order.size * percent / 100 / filters.order.lot
    ).to_integral_value() * filters.order.lot
    after = actual + (filled if order.side == "buy" else -filled)
    assert abs(found.target_size - after) <= abs(found.target_size - actual)
