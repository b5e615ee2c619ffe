"""Scenarios on the pure core: orders, matching, margin, triggers, funding, liquidation."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from paper_exchange.engine import invent_past_funding
from paper_exchange.placement import ActionError

CLOID = "0x" + "0" * 31 + "1"


def status_of(desk: Any, status: dict[str, Any]) -> str:
    ids = status.get("resting") or status.get("filled")
    assert ids is not None
    order = desk.venue.orders[ids["oid"]]
    return str(order.status)


def sl(px: str) -> dict[str, Any]:
    return {"isMarket": True, "triggerPx": px, "tpsl": "sl"}


def tp(px: str) -> dict[str, Any]:
    return {"isMarket": True, "triggerPx": px, "tpsl": "tp"}


def test_limit_order_away_from_the_market_rests(desk: Any) -> None:
    status = desk.order("BTC", "buy", "0.01", "80000", cloid=CLOID)
    assert set(status["resting"]) == {"oid", "cloid"}
    (order,) = desk.venue.open_of(desk.account().address)
    assert (order.size, order.limit_px, order.status) == (Decimal("0.01"), 80000, "open")


def test_marketable_ioc_fills_at_the_best_ask(desk: Any) -> None:
    ask = desk.best("BTC", is_ask=True)
    status = desk.order("BTC", "buy", "0.01", "88000", tif="Ioc")
    assert status["filled"]["totalSz"] == "0.01"
    assert Decimal(status["filled"]["avgPx"]) == ask
    assert desk.account().size_of("BTC") == Decimal("0.01")
    assert desk.gap() == 0


def test_ioc_beyond_the_depth_within_its_limit_fills_in_part(desk: Any) -> None:
    ask = desk.best("BTC", is_ask=True)
    available = next(desk.venue.markets["BTC"].levels(is_ask=True)).size
    deposit_size = Decimal(available).scaleb(-5) + 1
    status = desk.order("BTC", "buy", str(deposit_size), str(ask), tif="Ioc")
    assert Decimal(status["filled"]["totalSz"]) == Decimal(available).scaleb(-5)
    order = desk.venue.orders[status["filled"]["oid"]]
    assert (order.status, order.size) == ("canceled", 1)


def test_depth_taken_in_a_step_is_gone_until_the_next(desk: Any) -> None:
    ask = str(desk.best("BTC", is_ask=True))
    lots = next(desk.venue.markets["BTC"].levels(is_ask=True)).size
    desk.order("BTC", "buy", str(Decimal(lots).scaleb(-5)), ask, tif="Ioc")
    again = desk.order("BTC", "buy", "0.01", ask, tif="Ioc")
    assert "could not immediately match" in again["error"]
    desk.move()
    assert "filled" in desk.order("BTC", "buy", "0.01", ask, tif="Ioc")


def test_resting_order_fills_as_maker_when_the_market_moves_through(desk: Any) -> None:
    status = desk.order("ETH", "buy", "0.5", "2790")
    desk.move(ETH=2780.0)
    assert status_of(desk, status) == "filled"
    (fill,) = desk.venue.fills[desk.account().address]
    assert (fill.px, fill.crossed, fill.fee) == (2790, False, Decimal("0.20925"))
    assert desk.gap() == 0


def test_two_users_trade_at_the_resting_price(desk: Any, other: Any) -> None:
    bid = desk.best("ETH", is_ask=False)
    inside = bid + Decimal("0.1")
    if inside >= desk.best("ETH", is_ask=True):
        inside = bid
    desk.order("ETH", "buy", "0.5", str(inside))
    status = desk.order("ETH", "sell", "0.5", str(bid - 1), other, tif="Ioc")
    assert Decimal(status["filled"]["avgPx"]) == inside
    assert desk.account().size_of("ETH") == Decimal("0.5")
    assert desk.account(other).size_of("ETH") == Decimal("-0.5")


def test_own_resting_order_is_cancelled_instead_of_traded_with(desk: Any) -> None:
    bid = desk.best("ETH", is_ask=False)
    resting = desk.order("ETH", "buy", "0.5", str(bid))
    desk.order("ETH", "sell", "0.1", str(bid - 1), tif="Ioc")
    assert status_of(desk, resting) == "selfTradeCanceled"


def test_alo_that_would_cross_names_the_bbo(desk: Any) -> None:
    bid, ask = desk.best("BTC", is_ask=False), desk.best("BTC", is_ask=True)
    status = desk.order("BTC", "buy", "0.01", "88000", tif="Alo")
    assert status["error"] == (
        f"Post only order would have immediately matched, bbo was {bid:.0f}@{ask:.0f}. asset=0"
    )


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (("BTC", "buy", "0.01", "80000.5"), "Price must be divisible by tick size. asset=0"),
        (("BTC", "buy", "0.01", "800.55"), "Order has invalid price. asset=0"),
        (("BTC", "buy", "0", "80000"), "Order has zero size. asset=0"),
        (("BTC", "buy", "0.000001", "80000"), "Order has invalid size. asset=0"),
        (("BTC", "buy", "0.0001", "80000"), "Order must have minimum value of $10. asset=0"),
        (("BTC", "buy", "100", "80000"), "Insufficient margin to place order. asset=0"),
        (
            ("ETH", "buy", "1", "9000"),
            "Order price cannot be more than 80% away from the reference price asset=1",
        ),
    ],
)
def test_refused_orders_speak_the_venues_words(desk: Any, order: Any, text: str) -> None:
    assert desk.order(*order) == {"error": text}
    assert desk.venue.open_of(desk.account().address) == []


def test_reduce_only_without_a_position_is_refused(desk: Any) -> None:
    status = desk.order("BTC", "sell", "0.01", "80000", tif="Ioc", reduce_only=True)
    assert status == {"error": "Reduce only order would increase position. asset=0"}


def test_reduce_only_never_flips_the_position(desk: Any) -> None:
    desk.order("BTC", "buy", "0.01", "88000", tif="Ioc")
    status = desk.order("BTC", "sell", "0.05", "80000", tif="Ioc", reduce_only=True)
    assert status["filled"]["totalSz"] == "0.01"
    assert desk.account().size_of("BTC") == 0
    assert desk.gap() == 0


def test_tiny_full_close_is_exempt_from_the_minimum_unless_switched(make_desk: Any) -> None:
    for choice, key in (("exempt", "filled"), ("enforced", "error")):
        desk = make_desk(min_notional_closes=choice)
        desk.order("BTC", "buy", "0.00013", "88000", tif="Ioc")
        desk.order("BTC", "sell", "0.00012", "88000")
        desk.move(BTC=70_000.0)
        status = desk.order("BTC", "sell", "0.00013", "60000", tif="Ioc", reduce_only=True)
        assert key in status


def test_resting_reduce_only_dies_with_the_position(desk: Any) -> None:
    desk.order("BTC", "buy", "0.01", "88000", tif="Ioc")
    resting = desk.order("BTC", "sell", "0.01", "90000", reduce_only=True)
    desk.order("BTC", "sell", "0.01", "80000", tif="Ioc", reduce_only=True)
    assert status_of(desk, resting) == "reduceOnlyCanceled"


def test_flip_realises_the_old_side_and_opens_the_new(desk: Any) -> None:
    desk.order("BTC", "buy", "0.01", "88000", tif="Ioc")
    desk.move(BTC=84_000.0)
    desk.order("BTC", "sell", "0.03", "80000", tif="Ioc")
    fill = desk.venue.fills[desk.account().address][-1]
    assert fill.direction == "Long > Short"
    assert desk.account().size_of("BTC") == Decimal("-0.02")
    assert desk.account().realised > 0
    assert desk.gap() == 0


def test_cancel_by_oid_and_by_cloid(desk: Any) -> None:
    first = desk.order("BTC", "buy", "0.01", "80000")["resting"]["oid"]
    desk.order("BTC", "buy", "0.01", "80000", cloid=CLOID)
    by_oid = desk.act({"type": "cancel", "cancels": [{"a": 0, "o": first}, {"a": 0, "o": first}]})
    assert by_oid["data"]["statuses"] == [
        "success",
        {"error": "Order was never placed, already canceled, or filled. asset=0"},
    ]
    by_cloid = {"type": "cancelByCloid", "cancels": [{"asset": 0, "cloid": CLOID}]}
    assert desk.act(by_cloid)["data"]["statuses"] == ["success"]
    assert desk.venue.open_of(desk.account().address) == []


def test_modify_gives_a_new_oid_and_keeps_the_cloid(desk: Any) -> None:
    old = desk.order("BTC", "buy", "0.01", "80000", cloid=CLOID)["resting"]["oid"]
    wire = desk.wire("BTC", "buy", "0.02", "79000", cloid=CLOID)
    assert desk.act({"type": "modify", "oid": CLOID, "order": wire}) == {"type": "default"}
    (order,) = desk.venue.open_of(desk.account().address)
    assert order.oid != old
    assert (order.cloid, order.size) == (CLOID, Decimal("0.02"))
    assert desk.venue.orders[old].status == "canceled"


def test_invalid_modify_keeps_the_old_order(desk: Any) -> None:
    oid = desk.order("BTC", "buy", "0.01", "80000")["resting"]["oid"]
    wire = desk.wire("BTC", "buy", "0.02", "79000.5")
    reply = desk.act({"type": "batchModify", "modifies": [{"oid": oid, "order": wire}]})
    assert "tick size" in reply["data"]["statuses"][0]["error"]
    assert desk.venue.orders[oid].status == "open"


def test_duplicate_cloid_is_a_switch(make_desk: Any) -> None:
    for choice, key in (("accept", "resting"), ("reject", "error")):
        desk = make_desk(duplicate_cloid=choice)
        desk.order("BTC", "buy", "0.01", "80000", cloid=CLOID)
        assert key in desk.order("BTC", "buy", "0.01", "80000", cloid=CLOID)


def test_partly_filled_gtc_reply_is_a_switch(make_desk: Any) -> None:
    for choice in ("resting", "filled"):
        desk = make_desk(partial_gtc=choice)
        ask = desk.best("BTC", is_ask=True)
        lots = next(desk.venue.markets["BTC"].levels(is_ask=True)).size
        size = str(Decimal(lots).scaleb(-5) + Decimal("0.1"))
        assert choice in desk.order("BTC", "buy", size, str(ask))


def test_leverage_rules(desk: Any) -> None:
    def leverage(value: int, is_cross: bool = True, asset: int = 0) -> dict[str, Any]:
        return {"type": "updateLeverage", "asset": asset, "isCross": is_cross, "leverage": value}

    assert desk.act(leverage(5)) == {"type": "default"}
    with pytest.raises(ActionError, match="Invalid leverage value"):
        desk.act(leverage(41))
    with pytest.raises(ActionError, match="Cross margin is not allowed"):
        desk.act(leverage(5, asset=110000))
    desk.order("BTC", "buy", "0.01", "88000", tif="Ioc")
    with pytest.raises(ActionError, match="Cannot switch leverage type with open position"):
        desk.act(leverage(5, is_cross=False))
    desk.order("BTC", "buy", "1.5", "88000", tif="Ioc")
    with pytest.raises(ActionError, match="sufficient margin available to decrease leverage"):
        desk.act(leverage(1))


def test_isolated_margin_moves_and_stays_within_the_identity(desk: Any) -> None:
    desk.act({"type": "updateLeverage", "asset": 0, "isCross": False, "leverage": 10})
    desk.order("BTC", "buy", "0.1", "88000", tif="Ioc")
    position = desk.account().positions["BTC"]
    before = position.isolated_usd
    desk.act({"type": "updateIsolatedMargin", "asset": 0, "isBuy": True, "ntli": 5_000_000})
    assert position.isolated_usd == before + 5
    with pytest.raises(ActionError, match="sufficient margin for reduction"):
        desk.act({"type": "updateIsolatedMargin", "asset": 0, "isBuy": True, "ntli": -(10**9)})
    desk.move(BTC=85_000.0)
    desk.order("BTC", "sell", "0.04", "80000", tif="Ioc")
    desk.order("BTC", "sell", "0.06", "80000", tif="Ioc")
    assert position.isolated_usd == 0
    assert desk.gap() == 0


def test_stop_fires_on_the_mark_and_closes(desk: Any) -> None:
    desk.order("BTC", "buy", "0.01", "88000", tif="Ioc")
    stop = desk.order("BTC", "sell", "0.01", "79000", reduce_only=True, trigger=sl("82000"))
    oid = stop["resting"]["oid"]
    assert not desk.venue.orders[oid].rests
    for _ in range(400):
        desk.move(3_000, BTC=81_900.0)
    assert desk.venue.orders[oid].status == "filled"
    assert desk.account().size_of("BTC") == 0
    statuses = [
        u["status"] for _, u in desk.venue.changes.order_updates if u["order"]["oid"] == oid
    ]
    assert statuses == ["open", "triggered", "filled"]


def test_children_wait_for_the_parent_and_cancel_each_other(desk: Any) -> None:
    wires = [
        desk.wire("BTC", "buy", "0.01", "83000"),
        desk.wire("BTC", "sell", "0.01", "90000", reduce_only=True, trigger=tp("86000")),
        desk.wire("BTC", "sell", "0.01", "79000", reduce_only=True, trigger=sl("82000")),
    ]
    parent, take_profit, stop = desk.orders(wires, grouping="normalTpsl")
    assert (take_profit, stop) == ("waitingForFill", "waitingForFill")
    children = desk.venue.orders[parent["resting"]["oid"]].children
    desk.move(BTC=82_900.0)
    assert [desk.venue.orders[oid].status for oid in children] == ["open", "open"]
    for _ in range(400):
        desk.move(3_000, BTC=87_000.0)
    statuses = [desk.venue.orders[oid].status for oid in children]
    assert statuses == ["filled", "siblingFilledCanceled"]


def test_children_die_with_their_parent(desk: Any) -> None:
    wires = [
        desk.wire("BTC", "buy", "0.01", "80000"),
        desk.wire("BTC", "sell", "0.01", "75000", reduce_only=True, trigger=sl("78000")),
    ]
    oid = desk.orders(wires, grouping="normalTpsl")[0]["resting"]["oid"]
    desk.act({"type": "cancel", "cancels": [{"a": 0, "o": oid}]})
    assert desk.venue.open_of(desk.account().address) == []


def test_children_die_when_the_venue_cancels_their_parent(desk: Any) -> None:
    bid = desk.best("BTC", is_ask=False)
    wires = [
        desk.wire("BTC", "buy", "0.01", str(bid)),
        desk.wire("BTC", "sell", "0.01", "75000", reduce_only=True, trigger=sl("78000")),
    ]
    parent = desk.orders(wires, grouping="normalTpsl")[0]
    desk.order("BTC", "sell", "0.01", "80000", tif="Ioc")
    assert status_of(desk, parent) == "selfTradeCanceled"
    assert desk.venue.open_of(desk.account().address) == []


def test_position_tpsl_takes_the_size_of_the_position(desk: Any) -> None:
    desk.order("BTC", "buy", "0.01", "88000", tif="Ioc")
    wire = desk.wire("BTC", "sell", "0", "79000", reduce_only=True, trigger=sl("82000"))
    assert desk.orders([wire], grouping="positionTpsl") == ["waitingForTrigger"]
    desk.order("BTC", "buy", "0.02", "88000", tif="Ioc")
    for _ in range(400):
        desk.move(3_000, BTC=81_900.0)
    assert desk.account().size_of("BTC") == 0


def test_funding_is_paid_on_the_hour_by_longs(desk: Any) -> None:
    desk.order("BTC", "buy", "1", "88000", tif="Ioc")
    desk.move(1_000)
    desk.move(3_600_000)
    (entry,) = desk.venue.fundings[desk.account().address]
    rate = Decimal(entry["delta"]["fundingRate"])
    oracle = desk.venue.markets["BTC"].oracle
    expected = -(oracle * rate).quantize(Decimal("0.000001"), rounding="ROUND_DOWN")
    assert Decimal(entry["delta"]["usdc"]) == expected == desk.account().funding
    assert desk.gap() == 0


def test_past_funding_is_hourly_and_varies(desk: Any) -> None:
    invent_past_funding(desk.venue, desk.now_ms)
    entries = list(desk.venue.funding_rates["BTC"])
    assert len(entries) == 480
    gaps = {b["time"] - a["time"] for a, b in pairwise(entries)}
    assert gaps == {3_600_000}
    assert entries[-1]["time"] <= desk.now_ms
    assert len({entry["fundingRate"] for entry in entries}) > 1


def test_cross_account_is_liquidated_in_the_book(desk: Any) -> None:
    desk.act({"type": "updateLeverage", "asset": 0, "isCross": True, "leverage": 40})
    for _ in range(10):
        desk.order("BTC", "buy", "4", "88000", tif="Ioc")
        desk.move()
    held = desk.account().size_of("BTC")
    price = 83_757.0
    while desk.account().size_of("BTC") == held:
        price *= 0.999
        desk.move(3_000, BTC=price)
    fill = desk.venue.fills[desk.account().address][-1]
    assert fill.liquidation is not None
    assert fill.liquidation["liquidatedUser"] == desk.account().address
    assert desk.gap() == 0
    assert any("liquidation" in event for _, event in desk.venue.changes.user_events)


def test_crash_goes_to_the_backstop_and_leaves_zero(desk: Any) -> None:
    desk.act({"type": "updateLeverage", "asset": 0, "isCross": True, "leverage": 40})
    for _ in range(10):
        desk.order("BTC", "buy", "4", "88000", tif="Ioc")
        desk.move()
    resting = desk.order("BTC", "sell", "1", "100000")
    for _ in range(100):
        desk.move(3_000, BTC=60_000.0)
    assert desk.account().size_of("BTC") == 0
    assert abs(desk.account().dex_cash("")) < Decimal("0.000001")
    assert status_of(desk, resting) == "liquidatedCanceled"


def test_the_backstop_prices_a_small_position_near_its_mark_too(desk: Any) -> None:
    """The loss beyond the account is shared by notional; a fifth of an ETH could not bear it."""
    desk.act({"type": "updateLeverage", "asset": 0, "isCross": True, "leverage": 40})
    for _ in range(10):
        desk.order("BTC", "buy", "4", "88000", tif="Ioc")
        desk.move()
    desk.order("ETH", "buy", "0.2", "5000", tif="Ioc")
    for _ in range(100):
        desk.move(3_000, BTC=60_000.0)
    fills = [f for f in desk.venue.fills[desk.account().address] if f.liquidation is not None]
    assert {f.coin for f in fills} == {"BTC", "ETH"}
    for fill in fills:
        mark = Decimal(fill.liquidation["markPx"])
        assert abs(fill.px / mark - 1) < Decimal("0.5")
    assert abs(desk.account().dex_cash("")) < Decimal("0.000001")


def test_scheduled_cancel_needs_volume_then_cancels_everything(make_desk: Any) -> None:
    desk = make_desk()
    action = {"type": "scheduleCancel", "time": desk.now_ms + 10_000}
    with pytest.raises(ActionError, match=r"Required: \$1000000. Traded: \$0.00."):
        desk.act(action)
    desk = make_desk(schedule_cancel_volume=Decimal(0))
    desk.order("BTC", "buy", "0.01", "80000")
    desk.act(action)
    desk.move(9_000)
    assert len(desk.venue.open_of(desk.account().address)) == 1
    desk.move(1_000)
    assert desk.venue.open_of(desk.account().address) == []


def test_margin_reserved_by_open_orders_counts(desk: Any) -> None:
    assert "resting" in desk.order("BTC", "buy", "15", "80000")
    assert "resting" in desk.order("BTC", "sell", "15", "90000")
    assert "Insufficient margin" in desk.order("BTC", "buy", "15", "80000")["error"]


def test_unapproved_builder_fee_is_refused(desk: Any) -> None:
    wire = desk.wire("BTC", "buy", "0.01", "80000")
    action = {"type": "order", "orders": [wire], "grouping": "na"}
    with pytest.raises(ActionError, match="Builder fee has not been approved"):
        desk.act(action | {"builder": {"b": "0x" + "55" * 20, "f": 10}})
    desk.act(action | {"builder": {"b": "0x" + "55" * 20, "f": 0}})
