"""The ledger identity holds exactly, whatever an account does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paper_exchange.ledger import (
    Account,
    Position,
    apply_funding,
    apply_trade,
    direction_of,
    identity_gap,
)

PRICE = st.integers(1, 10**11).map(lambda units: Decimal(units).scaleb(-6))
SIZE = st.integers(1, 10**9).map(lambda lots: Decimal(lots).scaleb(-3))
TRADE = st.tuples(st.just("trade"), st.booleans(), SIZE, PRICE)
FUNDING = st.tuples(st.just("funding"), st.integers(-(10**9), 10**9))


@given(
    steps=st.lists(st.one_of(TRADE, FUNDING), max_size=40),
    is_cross=st.booleans(),
    leverage=st.integers(1, 40),
    mark=PRICE,
)
@settings(max_examples=150, deadline=None)
def test_account_value_is_explained_exactly(
    steps: list[Any], is_cross: bool, leverage: int, mark: Decimal
) -> None:
    account = Account("0x" + "00" * 20)
    account.add_cash("", Decimal(1000))
    account.deposits = Decimal(1000)
    position = account.positions["BTC"] = Position("BTC", leverage=leverage, is_cross=is_cross)
    for entry in steps:
        if entry[0] == "trade":
            change = entry[2] if entry[1] else -entry[2]
            apply_trade(account, "", position, change, entry[3], Decimal("0.123456"))
        elif position.size:
            apply_funding(account, "", position, Decimal(entry[1]).scaleb(-6))
        assert identity_gap(account, {"BTC": mark}) == 0
        if position.size == 0:
            assert position.cost == 0


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 400),
        st.sampled_from(["Ioc", "Gtc"]),
        st.booleans(),
        st.floats(-0.02, 0.02),
    ),
    max_size=15,
)


@given(actions=ACTIONS, is_cross=st.booleans())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_identity_survives_orders_moves_funding_and_liquidation(
    make_desk: Any, actions: list[Any], is_cross: bool
) -> None:
    desk = make_desk()
    desk.act({"type": "updateLeverage", "asset": 1, "isCross": is_cross, "leverage": 25})
    price = 2_803.5
    for side, size, tif, reduce_only, change in actions:
        limit = round(price * (1.03 if side == "buy" else 0.97))
        desk.order("ETH", side, str(size), str(limit), tif=tif, reduce_only=reduce_only)
        price *= 1 + change
        desk.move(1_200_000, ETH=price)
        assert desk.gap() == 0


def test_direction_names_what_a_trade_did() -> None:
    one, two = Decimal(1), Decimal(2)
    assert direction_of(Decimal(0), one) == "Open Long"
    assert direction_of(Decimal(0), -one) == "Open Short"
    assert direction_of(two, -one) == "Close Long"
    assert direction_of(-two, two) == "Close Short"
    assert direction_of(one, -two) == "Long > Short"
    assert direction_of(-one, two) == "Short > Long"
