"""What the API refuses, and how."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import requests

from order_gateway import http_guard

GOOD = {
    "intent_id": "BTC:0:open",
    "symbol": "BTC",
    "side": "buy",
    "size": "0.001",
    "type": "market",
    "plan_epoch": 0,
    "leg": "open",
}
BAD_BODIES: list[tuple[Any, str]] = [
    ({**GOOD, "size": "NaN"}, "size"),
    ({**GOOD, "size": "Infinity"}, "size"),
    ({**GOOD, "size": "-1"}, "size"),
    ({**GOOD, "size": "0"}, "size"),
    ({**GOOD, "size": "1e5"}, "size"),
    ({**GOOD, "size": 0.001}, "size"),
    ({**GOOD, "size": "1" * 40}, "size"),
    ({**GOOD, "side": "BUY"}, "side"),
    ({**GOOD, "symbol": "BTC/USDC:USDC"}, "symbol"),
    ({**GOOD, "symbol": "BTC'; DROP TABLE runs"}, "symbol"),
    ({**GOOD, "type": "stop"}, "type"),
    ({**GOOD, "price": "100"}, "price"),
    ({**GOOD, "type": "limit"}, "price"),
    ({**GOOD, "tif": "Gtc"}, "tif"),
    ({**GOOD, "intent_id": "BTC:1:open"}, "intent_id"),
    ({**GOOD, "intent_id": "x" * 97}, "intent_id"),
    ({**GOOD, "plan_epoch": None}, "plan_epoch"),
    ({**GOOD, "plan_epoch": -1}, "plan_epoch"),
    ({**GOOD, "leverage": 50}, "leverage"),
    ({k: v for k, v in GOOD.items() if k != "side"}, "side"),
    ({**GOOD, "origin": "hand"}, "intent_id"),
    ([], "dict"),
    (None, "required"),
]


def test_bad_requests_are_refused_in_words_and_leave_no_trace(gateway: Any, wire: Any) -> None:
    for body, word in BAD_BODIES:
        reply = gateway.post("/execute_order", body)
        assert reply.status_code == 422, (body, reply.text)
        assert word in reply.json()["message"], (body, reply.text)
    for raw in (b"{", b'{"size": NaN}', b"\xff\xfe", b""):
        reply = requests.post(
            gateway.url + "/execute_order", data=raw, headers=gateway.headers, timeout=5
        )
        assert reply.status_code == 422, (raw, reply.text)
    assert gateway.get("/orders").json() == []
    assert wire.orders_seen == 0
    assert gateway.get("/health").status_code == 200


def test_orders_outside_the_market_or_its_limits_are_refused(gateway: Any, venue: Any) -> None:
    def refusal(**extra: Any) -> tuple[int, str]:
        reply = gateway.post("/execute_order", {**gateway.planned("BTC", "buy", "0.01"), **extra})
        return reply.status_code, reply.json()["rule"]

    mid = venue.mid("BTC")
    unknown = {"symbol": "NOSUCH", "intent_id": "NOSUCH:0:open"}
    assert refusal(**unknown) == (422, "symbol")
    assert refusal(size="0.000001") == (422, "lot")
    assert refusal(size="0.00002") == (422, "min_notional")
    far = {"type": "limit", "price": str(round(mid * 1.2))}
    assert refusal(**far) == (403, "price_deviation")
    assert refusal(size=str(round(200_000 / mid, 4))) == (403, "symbol_notional")
    assert gateway.get("/orders").json() == []


def test_only_the_token_opens_the_door(gateway: Any) -> None:
    wrong = [None, "Bearer ", "Bearer wrong", f"Basic {gateway.token}", f"Bearer {gateway.token}x"]
    for value in wrong:
        headers = {} if value is None else {"Authorization": value}
        for path in ("/execute_order", "/flatten", "/risk/kill-switch"):
            reply = requests.post(gateway.url + path, json=GOOD, headers=headers, timeout=5)
            assert (reply.status_code, reply.json()) == (401, {"error": "unauthorized"})
    assert requests.get(gateway.url + "/orders", timeout=5).status_code == 401
    for path in ("/health", "/ready", "/metrics"):
        assert requests.get(gateway.url + path, timeout=5).status_code == 200
    assert '"event":"unauthorized"' in gateway.audit_file.read_text()
    assert gateway.token not in gateway.log()


def test_large_bodies_are_refused_however_they_come(gateway: Any) -> None:
    large = b'{"size": "' + b"1" * 100_000 + b'"}'
    plain = requests.post(
        gateway.url + "/execute_order", data=large, headers=gateway.headers, timeout=5
    )
    chunked = requests.post(
        gateway.url + "/execute_order", data=iter([large]), headers=gateway.headers, timeout=5
    )
    assert (plain.status_code, chunked.status_code) == (413, 413)


def test_a_client_that_never_ends_its_request_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers with the token, and then silence: nothing may wait for it for ever."""
    monkeypatch.setattr(http_guard, "BODY_SECS", 0.05)
    sent: list[Any] = []

    async def app(*_: Any) -> None:
        raise AssertionError("the request never came")

    async def silence() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    guard = http_guard.RequestGuard(
        app, token="t", max_body_bytes=9, unauthorized=http_guard.UnauthorizedLog(Mock())
    )
    headers = [(b"authorization", b"Bearer t"), (b"content-length", b"5")]
    scope = {"type": "http", "path": "/flatten", "headers": headers}
    asyncio.run(guard(scope, silence, send))
    assert sent[0]["status"] == 408
    assert b"within 0.05 s" in sent[1]["body"]


def test_bad_queries_are_refused(gateway: Any) -> None:
    assert gateway.get("/orders", limit=0).status_code == 422
    assert gateway.get("/orders", state="OPEN").status_code == 422
    assert gateway.get("/orders/0xnope").status_code == 422
    assert gateway.get(f"/orders/0x{'1' * 32}").status_code == 404


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"T3__order_gateway__port": "70000"}, "order_gateway.port"),
        ({"T3__order_gateway__leverage": "0"}, "order_gateway.leverage"),
        ({"T3_SECRETS": "/nonexistent"}, "cannot be read"),
        ({"T3__order_gateway__emergency_journal": "/dev/null/no/folder"}, "/dev/null"),
    ],
)
def test_bad_configuration_ends_with_code_2_and_one_message(
    gateway: Any, tmp_path: Path, override: dict[str, str], message: str
) -> None:
    other = gateway.sibling(tmp_path)
    other.spawn(**override)
    assert other.process.wait(20) == 2
    assert message in other.log()
    assert "Traceback" not in other.log()


def test_port_in_use_ends_with_code_2(gateway: Any, tmp_path: Path) -> None:
    second = gateway.sibling(tmp_path)
    second.spawn(T3__order_gateway__port=str(gateway.port))
    assert second.process.wait(20) == 2
    assert "cannot listen on" in second.log()
