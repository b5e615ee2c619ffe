"""The kill switch against everything that happens at the same moment."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, select

from order_gateway.account import REREAD_AFTER_MS
from order_gateway.kept_switch import UNREADABLE, KeptSwitch, SwitchFile
from order_gateway.service import OPENING_AT_ONCE
from shared.database import UnitOfWork
from shared.storage.risk_state import RiskStateStore
from shared.storage.tables import nonces
from shared.testing.servers import wait_until

SET = {"action": "set", "reason": "strange fills", "actor": "tester"}
LIFT = {"action": "lift", "reason": "explained"}


def test_it_wins_against_an_order_that_is_allowed_and_not_sent_yet(
    gateway: Any, wire: Any, tables: Engine
) -> None:
    assert gateway.execute(gateway.planned("SOL", "buy", "1"))["state"] == "FILLED"
    with ThreadPoolExecutor(2) as pool, UnitOfWork(tables) as held:
        held.conn.execute(select(nonces).with_for_update()).all()  # nothing becomes SENT
        opening = pool.submit(
            gateway.post, "/execute_order", gateway.planned("BTC", "buy", "0.001")
        )
        closing = pool.submit(
            gateway.post, "/execute_order", gateway.planned("ETH", "sell", "1", reduce_only=True)
        )
        wait_until(lambda: len(_open_orders(gateway)) == 2, 10, "both orders to be journaled")
        assert gateway.post("/risk/kill-switch", SET).status_code == 200
        held.conn.rollback()
    refused = opening.result().json()
    assert (opening.result().status_code, refused["rule"]) == (403, "kill_switch")
    assert "strange fills" in refused["value"]
    assert closing.result().status_code == 200  # an exit is the venue's to judge
    assert wire.orders_seen == 2
    (order,) = gateway.get("/orders", symbol="BTC", limit=1).json()
    assert order["state"] == "NOT_PLACED"
    assert order["reason"].startswith("never sent: kill_switch")
    assert '"rule":"kill_switch"' in gateway.audit_file.read_text()


def _open_orders(gateway: Any) -> list[Any]:
    return [order for order in gateway.get("/orders", limit=5).json() if order["open"]]


def test_it_leaves_an_order_that_is_being_answered_to_its_caller(gateway: Any, wire: Any) -> None:
    wire.fault = lambda: "delay"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.post, "/execute_order", gateway.planned("SOL", "buy", "1"))
        wait_until(lambda: wire.orders_seen == 1, 10, "the order to be at the venue")
        assert gateway.post("/risk/kill-switch", SET).status_code == 200
        assert answer.result().status_code == 200
    assert answer.result().json()["state"] == "FILLED"


def test_one_that_was_set_past_this_gateway_cancels_what_rests_and_would_open(
    gateway: Any, venue: Any, tables: Engine
) -> None:
    assert gateway.execute(gateway.planned("SOL", "buy", "1"))["state"] == "FILLED"
    below, above = (str(round(venue.mid("ETH") * 0.98)), str(round(venue.mid("SOL") * 1.02, 2)))
    opening = gateway.execute(
        gateway.by_hand("past", "ETH", "buy", "0.1", type="limit", price=below)
    )
    leaving = gateway.execute(
        gateway.by_hand("out", "SOL", "sell", "1", type="limit", price=above, reduce_only=True)
    )
    with UnitOfWork(tables) as uow:
        RiskStateStore(uow.conn).set_kill_switch(True, reason="restored", actor="ops", now_ms=1)
        uow.commit()
    assert gateway.settled(opening["cloid"])["state"] == "CANCELLED"
    assert gateway.order(leaving["cloid"])["state"] == "RESTING"
    assert gateway.post("/cancel-all", {"reason": "the test is over"}).status_code == 200


def test_it_finds_a_thread_however_many_orders_wait(gateway: Any, wire: Any) -> None:
    """The account cannot be read: opening orders wait for that, exits and switches do not."""
    wire.accounts_open.clear()
    wait_until(lambda: _account_age_ms(gateway) > REREAD_AFTER_MS, 20, "the reading to be old")
    bodies = [gateway.by_hand(f"wait-{n}", "BTC", "buy", "0.001") for n in range(100)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        waiting = [pool.submit(gateway.post, "/execute_order", body, 60) for body in bodies]
        try:
            refused = len(bodies) - OPENING_AT_ONCE
            wait_until(lambda: _done(waiting) == refused, 20, "those that are too many")
            reply = gateway.post("/risk/kill-switch", SET, timeout=20)
            held_up = len(bodies) - _done(waiting)
        finally:
            wire.accounts_open.set()
        answers = [one.result() for one in waiting]
    assert (reply.status_code, reply.json()["engaged"]) == (200, True)
    assert held_up == OPENING_AT_ONCE
    assert {answer.status_code for answer in answers} <= {403, 409, 503}  # not one got through
    assert sum("exits go first" in answer.text for answer in answers) == refused


def _done(waiting: list[Future[Any]]) -> int:
    return sum(one.done() for one in waiting)


def _account_age_ms(gateway: Any) -> int:
    account = gateway.get("/risk").json()["account"]
    return 0 if account is None else time.time_ns() // 1_000_000 - int(account["as_of_ms"])


def test_what_waits_to_be_stored_is_read_back(tmp_path: Any) -> None:
    file = SwitchFile(tmp_path / "state" / "kill_switch.json")
    assert file.kept() is None
    file.keep(KeptSwitch("the database is down", "tester"))
    assert file.kept() == KeptSwitch("the database is down", "tester")
    (tmp_path / "state" / "kill_switch.json").write_text("{")
    assert file.kept() == KeptSwitch(UNREADABLE, "gateway")  # closed by default
    file.forget()
    file.forget()
    assert file.kept() is None


@pytest.fixture(autouse=True)
def _nothing_held_back(wire: Any) -> Any:
    yield
    wire.accounts_open.set()
