"""A demo is good only if it traded, reached its target, and nothing is in doubt or broken."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from demo.readings import OrderCounts, PositionReading, Snapshot, position_reading
from demo.summary import Summary, is_reconciled, shortcomings, summarise

SYMBOLS = ("BTC", "ETH")
GOOD = Summary(
    ticks=88,
    runs_active=500,
    iterations=43_500,
    orders_sent=12,
    orders_filled=12,
    orders_unknown=0,
    reconciled=True,
    max_gap_usd=31.7,
    equity=100_012.4,
    errors=0,
)


def look(symbol: str, left_usd: float | None) -> PositionReading:
    known = left_usd is not None
    return PositionReading(symbol, 1, "hold", "", 0.0, 0.0, left_usd, left_usd, "3/3", known)


def detail(**changes: Any) -> dict[str, Any]:
    """A look at a symbol that is long 1 and should be long 3, at 100 USD."""
    known = {"status": "Known", "as_of_ms": 1}
    return {
        "reason": "a trade",
        "target": {"notional_usd": {**known, "value": "300.0000"}},
        "quorum": {
            "position": {**known, "value": "1"},
            "backers": ["local", "observer_1"],
            "votes": [{}, {}, {}],
        },
        "price_usd": {**known, "value": "100"},
        "plan": {
            "move": "increase",
            "actual": "1",
            "target_size": "3",
            "gap_usd": "200.0000",
            "orders": [{"leg": "open", "side": "buy", "size": "2", "reduce_only": False}],
        },
        "reply": None,
        **changes,
    }


def reply(filled: str) -> dict[str, Any]:
    return {"outcome": "accepted", "status": 200, "body": {"filled_size": filled}}


def test_a_good_demo_has_no_shortcomings() -> None:
    assert shortcomings(GOOD, must_trade=True) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"orders_filled": 0}, "no order was filled"),
        ({"reconciled": False}, "largest gap 31.70 USD"),
        ({"reconciled": False, "max_gap_usd": None}, "largest gap unknown"),
        ({"orders_unknown": 1}, "1 order(s) are in doubt"),
        ({"errors": 2}, "logged 2 error(s)"),
    ],
)
def test_each_shortcoming_is_named(changes: dict[str, Any], expected: str) -> None:
    (fault,) = shortcomings(replace(GOOD, **changes), must_trade=True)
    assert expected in fault


def test_a_demo_that_was_ended_by_hand_need_not_have_traded() -> None:
    early = replace(GOOD, orders_filled=0, reconciled=False)
    assert shortcomings(early, must_trade=False) == []
    assert shortcomings(replace(early, orders_unknown=1, errors=1), must_trade=False) != []


def test_the_last_line_has_exactly_the_documented_keys() -> None:
    assert list(json.loads(GOOD.to_json())) == [
        "ticks",
        "runs_active",
        "iterations",
        "orders_sent",
        "orders_filled",
        "orders_unknown",
        "reconciled",
        "max_gap_usd",
        "equity",
        "errors",
    ]
    assert "\n" not in GOOD.to_json()


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([look("BTC", 0.0), look("ETH", 49.99)], True),
        ([look("BTC", 0.0), look("ETH", 50.0)], False),
        ([look("BTC", 0.0), look("ETH", None)], True),
        ([look("BTC", None), look("ETH", None)], False),
        ([look("BTC", 0.0)], False),
        ([], False),
    ],
    ids=["all near", "one far", "one unknown", "none known", "one never looked at", "no look"],
)
def test_reconciled_means_every_known_symbol_is_near(
    looks: list[PositionReading], expected: bool
) -> None:
    assert is_reconciled(looks, SYMBOLS, 50.0) is expected


def test_the_summary_is_taken_from_the_last_snapshot(snapshot: Snapshot) -> None:
    symbols = ("BTC", "ETH", "SOL", "HYPE")
    summary = summarise(snapshot, symbols, 50.0, errors=4)
    assert summary == Summary(71, 500, 35_500, 2, 1, 1, True, 10.0, 99_998.25, 4)


def test_a_demo_that_never_read_anything_has_no_equity_and_no_gap() -> None:
    summary = summarise(Snapshot(counts=OrderCounts()), SYMBOLS, 50.0, errors=0)
    assert (summary.equity, summary.max_gap_usd, summary.reconciled) == (None, None, False)


def test_a_look_without_a_trade_leaves_its_gap() -> None:
    reading = position_reading("BTC", 1, "wait", detail())
    assert (reading.desired_usd, reading.actual_usd) == (300.0, 100.0)
    assert (reading.gap_usd, reading.left_usd) == (200.0, 200.0)
    assert (reading.quorum, reading.quorum_known) == ("2/3", True)


@pytest.mark.parametrize(
    ("filled", "left_usd"), [("2", 0.0), ("0.5", 150.0), ("0", 200.0), ("3", 100.0)]
)
def test_a_fill_counts_against_the_gap(filled: str, left_usd: float) -> None:
    reading = position_reading("BTC", 1, "trade", detail(reply=reply(filled)))
    assert reading.left_usd == pytest.approx(left_usd)


def test_the_close_of_a_reversal_leaves_the_opening_leg() -> None:
    plan = {
        "move": "reverse",
        "actual": "1",
        "target_size": "-3",
        "gap_usd": "400.0000",
        "orders": [{"leg": "close", "side": "sell", "size": "1", "reduce_only": True}],
    }
    reading = position_reading("BTC", 1, "trade", detail(plan=plan, reply=reply("1")))
    assert reading.left_usd == pytest.approx(300.0)


def test_what_a_look_did_not_know_stays_unknown() -> None:
    unknown = {"status": "Unknown", "reason": "1 of 3 voters agree"}
    quorum = {"position": unknown, "backers": [], "votes": [{}, {}, {}]}
    reading = position_reading("BTC", 1, "unknown", detail(quorum=quorum, plan=None))
    assert (reading.actual_usd, reading.gap_usd, reading.left_usd) == (None, None, None)
    assert (reading.quorum, reading.quorum_known) == ("1 of 3 voters agree", False)


def test_a_rejected_order_leaves_its_gap() -> None:
    body = {"detail": "blocked by risk"}
    rejected = {"outcome": "refused", "status": 403, "body": body}
    reading = position_reading("BTC", 1, "trade", detail(reply=rejected))
    assert reading.left_usd == 200.0
