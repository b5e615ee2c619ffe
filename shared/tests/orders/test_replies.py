"""What each reply of the venue proves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.exchange.precision import Tif
from shared.orders.replies import (
    connection_refused,
    interpret_action_reply,
    interpret_cancel_reply,
    interpret_order_reply,
)
from shared.orders.states import OrderState

SIZE = Decimal("0.5")
FILLED = {"filled": {"totalSz": "0.5", "avgPx": "100.1", "oid": 7}}
PART = {"filled": {"totalSz": "0.2", "avgPx": "100.1", "oid": 7}}
RESTING = {"resting": {"oid": 7, "cloid": "0x1"}}


def reply(entry: Any) -> dict[str, Any]:
    return {"status": "ok", "response": {"type": "order", "data": {"statuses": [entry]}}}


def state(status: int, body: Any, tif: Tif = "Ioc") -> OrderState:
    return interpret_order_reply(status, body, size=SIZE, tif=tif).state


@pytest.mark.parametrize(
    ("entry", "tif", "expected"),
    [
        (FILLED, "Ioc", "FILLED"),
        (FILLED, "Gtc", "FILLED"),
        (PART, "Ioc", "PARTIAL"),
        (PART, "Gtc", "UNKNOWN"),
        (RESTING, "Gtc", "RESTING"),
        (RESTING, "Alo", "RESTING"),
        (RESTING, "Ioc", "UNKNOWN"),
        ({"filled": {"totalSz": "0.6", "avgPx": "1", "oid": 7}}, "Ioc", "UNKNOWN"),
        ({"filled": {"totalSz": "NaN", "avgPx": "1", "oid": 7}}, "Ioc", "UNKNOWN"),
        ({"filled": {"totalSz": "0", "avgPx": "1", "oid": 7}}, "Ioc", "UNKNOWN"),
        ({"filled": {"avgPx": "1", "oid": 7}}, "Ioc", "UNKNOWN"),
        ({"error": "Order could not immediately match against any resting orders. asset=0"},
         "Ioc", "CANCELLED"),
        ({"error": "No liquidity available for market order."}, "Ioc", "CANCELLED"),
        ({"error": "Insufficient margin to place order. asset=0"}, "Ioc", "REJECTED"),
        ({"error": "Reduce only order would increase position."}, "Ioc", "REJECTED"),
        ({"error": "a text nobody has seen before"}, "Ioc", "REJECTED"),
        ("waitingForTrigger", "Ioc", "UNKNOWN"),
        ({}, "Ioc", "UNKNOWN"),
    ],
)  # fmt: skip
def test_order_entries(entry: Any, tif: Tif, expected: str) -> None:
    assert state(200, reply(entry), tif) == expected


def test_fill_carries_size_price_and_order_id() -> None:
    verdict = interpret_order_reply(200, reply(PART), size=SIZE, tif="Ioc")
    assert (verdict.filled_size, verdict.avg_price, verdict.oid) == (
        Decimal("0.2"),
        Decimal("100.1"),
        7,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Invalid nonce: duplicate nonce 1700000000000", "UNKNOWN"),
        ("Invalid nonce: nonce too low 1 < 2", "REJECTED"),
        ("User or API Wallet 0xabc does not exist.", "REJECTED"),
        ("L1 error: User or API Wallet 0xabc does not exist.", "REJECTED"),
        ("Must deposit before performing actions. User: 0xabc", "REJECTED"),
        ("Action already expired", "EXPIRED"),
        ("Too many cumulative requests sent (10001 > 10000) for cumulative volume", "REJECTED"),
        ("Internal error, try again", "UNKNOWN"),
    ],
)
def test_request_errors(text: str, expected: str) -> None:
    assert state(200, {"status": "err", "response": text}) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(429, "NOT_PLACED"), (422, "REJECTED"), (500, "UNKNOWN"), (502, "UNKNOWN"),
     (504, "UNKNOWN"), (400, "UNKNOWN"), (403, "UNKNOWN"), (301, "UNKNOWN")],
)  # fmt: skip
def test_http_statuses(status: int, expected: str) -> None:
    assert state(status, None) == expected
    assert state(status, reply(FILLED)) == expected


def test_refused_connection_was_not_processed() -> None:
    assert connection_refused().state is OrderState.NOT_PLACED


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(
                st.sampled_from(["status", "response", "data", "statuses", "filled", "oid", "x"]),
                children,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_malformed_reply_is_taken_for_a_fill_or_a_refusal(body: Any) -> None:
    verdict = interpret_order_reply(200, body, size=SIZE, tif="Ioc")
    err = isinstance(body, dict) and body.get("status") == "err"
    assert verdict.state is OrderState.UNKNOWN or err


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, reply("success"), "cancelled"),
        (200, reply({"error": "Order was never placed, already canceled, or filled. asset=0"}),
         "gone"),
        (200, reply({"error": "something else"}), "refused"),
        (200, {"status": "err", "response": "nonce too low 1 < 2"}, "refused"),
        (200, {"status": "err", "response": "duplicate nonce 4"}, "unknown"),
        (200, {"status": "ok"}, "unknown"),
        (200, None, "unknown"),
        (429, None, "refused"),
        (503, None, "unknown"),
    ],
)  # fmt: skip
def test_cancel_replies(status: int, body: Any, outcome: str) -> None:
    assert interpret_cancel_reply(status, body).outcome == outcome


def test_replies_to_actions_without_a_result() -> None:
    assert interpret_action_reply(200, {"status": "ok", "response": {"type": "default"}}) is None
    assert interpret_action_reply(200, {"status": "err", "response": "no"}) == "no"
    assert interpret_action_reply(503, None) == "HTTP 503"
