"""Orders by hand that rest, cancels, time to live, flatten and the kill switch."""

from __future__ import annotations

import resource
from typing import Any

from sqlalchemy import Engine

from shared.database import UnitOfWork
from shared.reconciliation.progress import Refusals
from shared.risk.audit import Intact, verify
from shared.storage.refusals import RefusalStore
from shared.testing.servers import wait_until


def test_resting_order_is_cancelled_as_a_fact(gateway: Any, venue: Any) -> None:
    price = str(round(venue.mid("ETH") * 0.98))
    body = gateway.by_hand("rest-1", "ETH", "buy", "0.1", type="limit", price=price)
    order = gateway.execute(body)
    assert (order["state"], order["tif"], order["open"]) == ("RESTING", "Gtc", True)
    assert order["filled_size"] == "0"
    busy = gateway.post("/execute_order", gateway.by_hand("rest-2", "ETH", "buy", "0.1"))
    assert busy.status_code == 409

    cancelled = gateway.post(f"/orders/{order['cloid']}/cancel", None).json()
    assert (cancelled["state"], cancelled["open"]) == ("CANCELLED", False)
    again = gateway.post(f"/orders/{order['cloid']}/cancel", None)
    assert (again.status_code, again.json()["state"]) == (200, "CANCELLED")
    missing = gateway.post(f"/orders/0x{'0' * 32}/cancel", None)
    assert missing.status_code == 404


def test_resting_order_ends_with_its_time_to_live(gateway: Any, venue: Any) -> None:
    gateway.restart(T3__order_gateway__resting_ttl_secs="1")
    price = str(round(venue.mid("ETH") * 0.98))
    body = gateway.by_hand("ttl", "ETH", "buy", "0.1", type="limit", price=price)
    order = gateway.execute(body)
    assert order["state"] == "RESTING"
    assert gateway.settled(order["cloid"])["state"] == "CANCELLED"
    assert venue.info("openOrders", user=venue.wallet) == []
    gateway.restart()


def test_resting_order_survives_a_kill_and_is_taken_over(gateway: Any, venue: Any) -> None:
    price = str(round(venue.mid("ETH") * 0.98))
    body = gateway.by_hand("kept", "ETH", "buy", "0.1", type="limit", price=price)
    order = gateway.execute(body)
    gateway.kill()
    gateway.start()
    assert gateway.order(order["cloid"])["state"] == "RESTING"
    assert gateway.post(f"/orders/{order['cloid']}/cancel", None).json()["state"] == "CANCELLED"


def test_kill_switch_blocks_opening_cancels_and_lets_exits_pass(gateway: Any, venue: Any) -> None:
    opened = gateway.execute(gateway.planned("SOL", "buy", "2"))
    assert opened["state"] == "FILLED"
    price = str(round(venue.mid("ETH") * 0.98))
    rest = gateway.by_hand("switch", "ETH", "buy", "0.1", type="limit", price=price)
    resting = gateway.execute(rest)

    body = {"action": "set", "reason": "a test of the switch", "actor": "tester"}
    reply = gateway.post("/risk/kill-switch", body).json()
    assert reply["engaged"] is True
    assert reply["cancelled"] == [resting["cloid"]]
    assert gateway.order(resting["cloid"])["state"] == "CANCELLED"

    assert gateway.refusal(gateway.planned("BTC", "buy", "0.001"))["rule"] == "kill_switch"
    exit_body = gateway.planned("SOL", "sell", "1", reduce_only=True)
    assert gateway.execute(exit_body)["state"] == "FILLED"

    gateway.kill()
    gateway.start()
    assert gateway.refusal(gateway.planned("BTC", "buy", "0.001"))["rule"] == "kill_switch"
    assert gateway.get("/risk").json()["kill_switch"]["reason"] == "a test of the switch"

    no_reason = gateway.post("/risk/kill-switch", {"action": "lift"})
    assert no_reason.status_code == 422
    lift = {"action": "lift", "reason": "the test is over", "actor": "tester"}
    assert gateway.post("/risk/kill-switch", lift).json()["engaged"] is False
    assert gateway.post("/risk/kill-switch", lift).status_code == 409
    assert gateway.execute(gateway.planned("BTC", "buy", "0.001"))["state"] == "FILLED"


def test_flatten_closes_everything_and_keeps_it_closed(gateway: Any, venue: Any) -> None:
    for symbol, side, size in (("BTC", "buy", "0.01"), ("ETH", "sell", "0.3")):
        assert gateway.execute(gateway.planned(symbol, side, size))["state"] == "FILLED"
    reply = gateway.post("/flatten", {"reason": "a test of flatten"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["flat"] is True, reply.text
    state = venue.info("clearinghouseState", user=venue.wallet)
    assert state["assetPositions"] == []
    assert gateway.refusal(gateway.planned("BTC", "buy", "0.001"))["rule"] == "kill_switch"


def test_a_coin_that_nobody_knows_closes_nothing_and_sets_no_switch(
    gateway: Any, venue: Any
) -> None:
    assert gateway.execute(gateway.planned("BTC", "buy", "0.01"))["state"] == "FILLED"
    body = {"reason": "a typing error", "symbols": ["BTC", "ETHH"]}
    reply = gateway.post("/flatten", body)
    assert reply.status_code == 422
    refusal = reply.json()
    assert (refusal["error"], refusal["value"]) == ("invalid_order", "ETHH")
    assert "a coin that is held (BTC), or a perpetual that the venue lists" in refusal["message"]
    assert venue.position("BTC") == 0.01
    assert gateway.get("/risk").json()["kill_switch"]["engaged"] is False
    reply = gateway.post("/flatten", {"reason": "the test is over", "kill_switch": False})
    assert reply.json()["flat"] is True, reply.text


def test_frozen_feed_stops_opening_but_exits_use_the_book(
    gateway: Any, venue: Any, feed: Any
) -> None:
    opened = gateway.execute(gateway.planned("SOL", "buy", "2"))
    assert opened["state"] == "FILLED"
    feed.frozen.set()
    feed.write(age_ms=60_000)
    assert gateway.refusal(gateway.planned("BTC", "buy", "0.001"))["rule"] == "price_age"
    exit_body = gateway.planned("SOL", "sell", "2", reduce_only=True)
    assert gateway.execute(exit_body)["state"] == "FILLED"


def test_full_disk_stops_opening_and_says_so_but_exits_go_on(gateway: Any, venue: Any) -> None:
    assert gateway.execute(gateway.planned("SOL", "buy", "2"))["state"] == "FILLED"
    lines = gateway.audit_file.read_bytes().count(b"\n")
    unlimited = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
    full = (gateway.audit_file.stat().st_size, unlimited[1])
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, full)  # not a byte more, anywhere

    refused = gateway.post("/execute_order", gateway.planned("BTC", "buy", "0.001"))
    assert refused.status_code == 503
    assert "audit trail" in refused.json()["message"]
    assert "audit_trail" in gateway.get("/ready").json()["unmet"]
    assert gateway.get("/ready").status_code == 503
    exit_body = gateway.planned("SOL", "sell", "2", reduce_only=True)
    assert gateway.execute(exit_body)["state"] == "FILLED"

    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, unlimited)
    wait_until(lambda: gateway.get("/ready").status_code == 200, 20, "the trail to be resumed")
    assert gateway.execute(gateway.planned("BTC", "buy", "0.001"))["state"] == "FILLED"
    assert isinstance(verify(gateway.audit_file), Intact)
    assert gateway.audit_file.read_bytes().count(b"\n") > lines


def test_trade_of_someone_else_is_audited_and_pauses_its_symbol(
    gateway: Any, venue: Any, outside: Any, tables: Engine
) -> None:
    outside.market_open("ETH", True, 0.05)
    wait_until(lambda: "external_fill" in gateway.audit_file.read_text(), 20, "the report")
    blocked = gateway.refusal(gateway.planned("ETH", "buy", "0.1"))
    assert blocked["rule"] == "symbol_paused"
    assert gateway.execute(gateway.planned("BTC", "buy", "0.001"))["state"] == "FILLED"
    exit_body = gateway.planned("ETH", "sell", "0.01", reduce_only=True)
    assert gateway.execute(exit_body)["state"] == "FILLED"
    with UnitOfWork(tables) as uow:
        RefusalStore(uow.conn).save({"ETH": Refusals(5, 1, "five in a row")}, 1)
        uow.commit()
    resume = {"symbol": "ETH", "reason": "that was me"}
    assert gateway.post("/risk/resume", resume).status_code == 200
    assert gateway.post("/risk/resume", resume).status_code == 409
    with UnitOfWork(tables) as uow:  # or the next refusal would halt it again at once
        assert RefusalStore(uow.conn).load(["ETH"])["ETH"].count == 0
    assert gateway.execute(gateway.planned("ETH", "buy", "0.1"))["state"] == "FILLED"


def test_round_trip_that_loses_too_much_pauses_its_symbol_until_a_person_resumes_it(
    gateway: Any, venue: Any
) -> None:
    gateway.restart(T3__risk__max_round_trip_loss="0.0001")  # the fees of this trip lose more
    size = f"{0.3 * _start_value(gateway) / venue.mid('SOL'):.2f}"
    for side in ("buy", "sell"):
        body = gateway.planned("SOL", side, size, reduce_only=side == "sell")
        assert gateway.execute(body)["state"] == "FILLED"
    wait_until(lambda: "SOL" in gateway.get("/risk").json()["paused_symbols"], 20, "the pause")
    assert "a round trip lost" in gateway.get("/risk").json()["paused_symbols"]["SOL"]
    assert '"rule":"round_trip_loss"' in gateway.audit_file.read_text()

    gateway.kill()
    gateway.start()
    assert gateway.refusal(gateway.planned("SOL", "buy", "1"))["rule"] == "symbol_paused"
    assert gateway.execute(gateway.planned("BTC", "buy", "0.001"))["state"] == "FILLED"
    resume = {"symbol": "SOL", "reason": "fees were expected"}
    assert gateway.post("/risk/resume", resume).status_code == 200
    assert gateway.execute(gateway.planned("SOL", "buy", "1"))["state"] == "FILLED"


def test_withdrawal_is_no_loss_but_a_loss_sets_the_switch(
    gateway: Any, venue: Any, outside: Any
) -> None:
    start = float(gateway.get("/risk").json()["day"]["start_value_usd"])
    moved = outside.usd_class_transfer(round(start * 0.5), False)
    assert moved["status"] == "ok", moved
    wait_until(lambda: _start_value(gateway) < start * 0.6, 30, "the baseline to follow")
    assert gateway.get("/risk").json()["kill_switch"]["engaged"] is False
    assert gateway.execute(gateway.planned("BTC", "buy", "0.001"))["state"] == "FILLED"

    gateway.restart(T3__risk__max_daily_loss="0.001")
    held = 0.4 * _start_value(gateway) / venue.mid("SOL")
    for side in ("buy", "sell") * 12:  # fees and spread lose more than a thousandth
        if gateway.get("/risk").json()["kill_switch"]["engaged"]:
            break
        body = gateway.planned("SOL", side, f"{held:.2f}", reduce_only=side == "sell")
        gateway.post("/execute_order", body)
    wait_until(lambda: gateway.get("/risk").json()["kill_switch"]["engaged"], 20, "the kill switch")
    assert gateway.get("/risk").json()["kill_switch"]["actor"] == "risk_manager"
    gateway.restart()
    assert gateway.post("/flatten", {"reason": "the test is over"}).json()["flat"] is True
    assert outside.usd_class_transfer(round(start * 0.5), True)["status"] == "ok"


def _start_value(gateway: Any) -> float:
    return float(gateway.get("/risk").json()["day"]["start_value_usd"])
