"""Orders from request to fill, on real servers and the paper exchange."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis
import requests

from shared.opentelemetry_config import POLLED
from shared.risk.audit import Intact, verify
from shared.storage import redis_keys
from shared.testing.otlp_sink import OtlpSink
from shared.testing.servers import wait_until


def test_market_order_is_filled_journaled_published_and_audited(
    gateway: Any, venue: Any, stream: redis.Redis
) -> None:
    before = venue.position("BTC")
    order = gateway.execute(gateway.planned("BTC", "buy", "0.0100049"))
    assert order["state"] == "FILLED"
    assert order["size"] == order["filled_size"] == "0.01"
    assert abs(float(order["avg_price"]) / venue.mid("BTC") - 1) < 0.01
    assert round(venue.position("BTC") - before, 8) == 0.01
    assert venue.orders_with(order["cloid"]) == [order["oid"]]

    wait_until(lambda: float(gateway.order(order["cloid"])["fee_usd"]) > 0, 10, "the fee")
    fee = sum(float(f["fee"]) for f in venue.fills_of(order["cloid"]))
    assert abs(float(gateway.order(order["cloid"])["fee_usd"]) - fee) < 1e-9

    *_, (_, message) = stream.xrange(redis_keys.ORDERS_STREAM)
    assert (message["cloid"], message["state"]) == (order["cloid"], "FILLED")
    assert isinstance(verify(gateway.audit_file), Intact)
    events = [json.loads(line)["event"] for line in gateway.audit_file.read_text().splitlines()]
    assert "order_allowed" in events
    (line,) = gateway.get("/audit", intent_id=order["intent_id"]).json()
    assert (line["event"], line["size"]) == ("order_allowed", "0.01")
    assert gateway.get("/audit", intent_id="BTC:0:ope").json() == []
    assert gateway.get("/audit").status_code == 422


def test_limits_that_do_not_match_are_rejected_or_cancelled(gateway: Any, venue: Any) -> None:
    away = str(round(venue.mid("ETH") * 0.98))
    body = gateway.planned("ETH", "buy", "0.1", type="limit", price=away)
    order = gateway.execute(body)
    assert (order["state"], order["filled_size"]) == ("CANCELLED", "0")
    assert "could not immediately match" in order["reason"]

    side = "buy" if venue.position("SOL") >= 0 else "sell"
    body = gateway.planned("SOL", side, "1", reduce_only=True)
    order = gateway.execute(body)
    assert order["state"] == "REJECTED"
    assert "educe only" in order["reason"]


def test_repeated_intent_is_one_order_and_another_payload_is_refused(
    gateway: Any, venue: Any, wire: Any
) -> None:
    body = gateway.planned("ETH", "buy", "0.1")
    first = gateway.execute(body)
    again = gateway.post("/execute_order", body)
    assert again.status_code == 200
    assert again.json()["cloid"] == first["cloid"]
    assert wire.orders_seen == 1
    other = gateway.post("/execute_order", {**body, "size": "0.2"})
    assert other.status_code == 409
    assert "another size" in other.json()["message"]

    epoch = body["plan_epoch"]
    stale = {**body, "intent_id": f"ETH:{epoch}:close", "leg": "close", "plan_epoch": epoch}
    reply = gateway.post("/execute_order", stale)
    assert reply.status_code == 409
    assert "not the current one" in reply.json()["message"]
    assert wire.orders_seen == 1


def test_of_two_simultaneous_orders_on_one_symbol_one_wins(gateway: Any, wire: Any) -> None:
    wire.fault = lambda: "delay"
    bodies = [gateway.by_hand(f"race-{i}", "BTC", "buy", "0.001") for i in range(4)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        replies = list(pool.map(lambda b: gateway.post("/execute_order", b), bodies))
    assert sorted(r.status_code for r in replies) == [200, 409, 409, 409]
    assert wire.orders_seen == 1


def test_simultaneous_repetitions_of_one_intent_are_one_order(gateway: Any, wire: Any) -> None:
    wire.fault = lambda: "delay"
    body = gateway.planned("SOL", "buy", "1")
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: gateway.post("/execute_order", body), range(4)))
    assert {r.status_code for r in replies} == {200}
    assert len({r.json()["cloid"] for r in replies}) == 1
    assert wire.orders_seen == 1
    assert gateway.settled(replies[0].json()["cloid"])["state"] == "FILLED"


def test_lost_reply_is_settled_as_filled_without_a_second_send(
    gateway: Any, venue: Any, wire: Any
) -> None:
    before = venue.position("BTC")
    wire.fault = lambda: "swallow_reply"
    order = gateway.execute(gateway.planned("BTC", "buy", "0.002"))
    assert order["state"] == "UNKNOWN"
    assert order["open"]
    blocked = gateway.post("/execute_order", gateway.by_hand("wait", "BTC", "buy", "0.002"))
    assert blocked.status_code == 409
    settled = gateway.settled(order["cloid"])
    assert (settled["state"], settled["filled_size"]) == ("FILLED", "0.002")
    assert wire.orders_seen == 1
    assert round(venue.position("BTC") - before, 8) == 0.002


def test_lost_request_is_not_placed_only_after_its_expiry(
    gateway: Any, venue: Any, wire: Any
) -> None:
    wire.fault = lambda: "swallow_request"
    started = time.monotonic()
    order = gateway.execute(gateway.planned("ETH", "buy", "0.1"))
    assert order["state"] == "UNKNOWN"
    settled = gateway.settled(order["cloid"])
    assert settled["state"] == "NOT_PLACED"
    assert time.monotonic() - started > 3  # expiry and margin of the test settings
    assert wire.orders_seen == 1
    assert venue.orders_with(order["cloid"]) == []
    wire.fault = lambda: "pass"
    again = gateway.execute(gateway.planned("ETH", "buy", "0.1"))
    assert again["state"] == "FILLED"


def test_429_is_not_placed_at_once_and_500_waits_for_evidence(gateway: Any, wire: Any) -> None:
    wire.fault = lambda: "500"
    order = gateway.execute(gateway.planned("SOL", "buy", "1"))
    assert order["state"] == "UNKNOWN"
    assert gateway.settled(order["cloid"])["state"] == "NOT_PLACED"
    wire.fault = lambda: "429"
    order = gateway.execute(gateway.planned("SOL", "buy", "1"))
    assert (order["state"], order["open"]) == ("NOT_PLACED", False)


def test_killed_between_send_and_reply_is_settled_at_restart(
    gateway: Any, venue: Any, wire: Any
) -> None:
    before = venue.position("BTC")
    body = gateway.planned("BTC", "buy", "0.003")
    wire.fault = lambda: "hang"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(_post_until_killed, gateway, body)
        assert wire.hung.wait(10)
        gateway.kill()
        call.result()
    wire.fault = lambda: "pass"
    gateway.start()
    order = gateway.execute(body)
    assert (order["state"], order["filled_size"]) == ("FILLED", "0.003")
    assert wire.orders_seen == 1
    assert venue.orders_with(order["cloid"]) == [order["oid"]]
    assert round(venue.position("BTC") - before, 8) == 0.003
    assert isinstance(verify(gateway.audit_file), Intact)


def test_only_one_gateway_trades_at_a_time(gateway: Any, tmp_path: Path) -> None:
    second = gateway.sibling(tmp_path)
    second.start(ready=False)
    try:

        def lease() -> str:
            return str(second.get("/ready").json()["unmet"].get("lease", ""))

        wait_until(lambda: "another gateway" in lease(), 20, "the lease to be found taken")
        assert second.get("/ready").status_code == 503
        refused = second.post("/execute_order", gateway.planned("BTC", "buy", "0.001"))
        assert refused.status_code == 503
        switch = {"action": "set", "reason": "whichever gateway hears it"}
        reply = second.post("/risk/kill-switch", switch).json()
        assert reply["engaged"] is True
        assert "nothing was cancelled" in reply["problem"]
        assert gateway.refusal(gateway.planned("BTC", "buy", "0.001"))["rule"] == "kill_switch"
        assert gateway.stop() == 0
        wait_until(lambda: second.get("/ready").status_code == 200, 20, "the second to take over")
    finally:
        assert second.stop() == 0
        gateway.start()


def _post_until_killed(gateway: Any, body: dict[str, Any]) -> None:
    try:
        gateway.post("/execute_order", body)
    except requests.ConnectionError:
        return
    raise AssertionError("the gateway answered before it was killed")


def test_an_order_continues_its_callers_trace_and_polls_leave_none(gateway: Any) -> None:
    caller = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with OtlpSink() as sink:
        gateway.restart(T3__observability__otlp_endpoint=sink.url)
        for path in POLLED:
            assert gateway.get(path).ok
        body = gateway.planned("BTC", "buy", "0.01")
        headers = {**gateway.headers, "traceparent": caller}
        url = f"{gateway.url}/execute_order"
        assert requests.post(url, json=body, headers=headers, timeout=30).ok
        gateway.restart()
    spans = sink.spans()
    (sent,) = [span for span in spans if span.name == "exchange:order"]
    assert sent.trace_id == "ab" * 16
    way = [span.name for span in sink.ancestry(sent)]
    assert way == ["exchange:order", "execute_order", "POST /execute_order"]
    assert sink.ancestry(sent)[-1].parent_id == "cd" * 8
    assert not {f"GET {path}" for path in POLLED} & {span.name for span in spans}
