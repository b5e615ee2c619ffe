"""Exits while MariaDB is down, and what is imported when it is back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine

from order_gateway.emergency import EmergencyJournal
from order_gateway.emergency_exits import EmergencyExits
from order_gateway.errors import Conflict, NotReady
from shared.exchange.signing import SignedAction
from shared.native_servers import prepare_schema
from shared.orders.intents import OrderRequest
from shared.orders.replies import Verdict
from shared.orders.states import OrderState
from shared.testing.servers import MariaDbServer, wait_until

REQUEST = OrderRequest(
    intent_id="hand:exit",
    symbol="BTC",
    side="sell",
    size=Decimal("0.01"),
    order_type="market",
    tif="Ioc",
    price=None,
    reduce_only=True,
    origin="hand",
    plan_epoch=None,
    leg="hand",
)
ACTION = SignedAction({}, 17, 99, "ab" * 32)


def put(journal: EmergencyJournal, request: OrderRequest = REQUEST) -> None:
    journal.sent(
        request,
        cloid="0x1",
        size=request.size,
        limit_price=Decimal("99.5"),
        action=ACTION,
        now_ms=5,
    )


def test_journal_reads_back_what_was_written_before_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "emergency.jsonl"
    put(EmergencyJournal(path))
    (order,) = EmergencyJournal(path).waiting()
    assert (order.request, order.nonce, order.verdict) == (REQUEST, 17, None)
    assert order.outcome.state is OrderState.UNKNOWN

    journal = EmergencyJournal(path)
    with pytest.raises(Conflict):
        put(journal)
    verdict = Verdict(OrderState.PARTIAL, "part", 7, Decimal("0.004"), Decimal(100))
    journal.concluded("hand:exit", verdict)
    with path.open("ab") as file:
        file.write(b'{"kind":"imp')
    (order,) = EmergencyJournal(path).waiting()
    assert order.verdict == verdict

    journal = EmergencyJournal(path)
    journal.imported("hand:exit", 123)
    assert journal.waiting() == []
    assert not path.exists()
    assert (tmp_path / "logs" / "emergency.jsonl.123").exists()
    assert EmergencyJournal(path).waiting() == []


def test_what_a_full_disk_cut_off_is_not_glued_to_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "emergency.jsonl"
    journal = EmergencyJournal(path)
    put(journal)
    with path.open("ab") as file:
        file.write(b'{"kind":"concl')  # what a write without enough room leaves
    verdict = Verdict(OrderState.FILLED, "all", 7, Decimal("0.01"), Decimal(100))
    journal.concluded("hand:exit", verdict)
    (order,) = EmergencyJournal(path).waiting()
    assert order.verdict == verdict


def test_an_import_goes_on_where_the_disk_takes_no_note_of_it(
    tmp_path: Path, engine: Engine
) -> None:
    folder = tmp_path / "state"
    journal = EmergencyJournal(folder / "emergency.jsonl")
    put(journal)
    exits = EmergencyExits(
        journal=journal,
        sender=None,  # type: ignore[arg-type]
        engine=engine,
        signer="0xme",
        clock_ms=lambda: 9,
    )
    with pytest.raises(NotReady, match="exit of BTC"):
        exits.require_imported("BTC")
    exits.require_imported("ETH")
    shutil.rmtree(folder)
    (record,) = exits.import_all()
    assert (record.intent_id, record.state) == ("hand:exit", OrderState.UNKNOWN)
    exits.require_imported("BTC")
    put(EmergencyJournal(folder / "emergency.jsonl"))  # found again after a restart
    assert [r.id for r in exits.import_all()] == []


def test_unreadable_journal_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "emergency.jsonl"
    path.write_text('{"kind":"sent"}\n')
    with pytest.raises(ValueError, match="line 1"):
        EmergencyJournal(path)


@pytest.fixture(scope="module")
def own_mariadb(
    tmp_path_factory: pytest.TempPathFactory, service_environ: Mapping[str, str]
) -> Iterator[MariaDbServer]:
    """A database server that these tests may kill."""
    with MariaDbServer(tmp_path_factory.mktemp("own_mariadb"), durable=True) as server:
        passwords = {
            "app_password": "test-app-password",
            "migrate_password": "test-migrate-password",
        }
        environ = {**service_environ, "T3__database__port": str(server.port)}
        prepare_schema(server.config, environ, passwords)
        yield server


def test_exits_pass_without_the_database_and_are_imported_afterwards(
    gateway: Any, own_mariadb: MariaDbServer, venue: Any, wire: Any, folder: Path
) -> None:
    gateway.restart(T3__database__port=str(own_mariadb.port))
    opened = gateway.execute(gateway.planned("BTC", "buy", "0.01"))
    assert opened["state"] == "FILLED"
    held = venue.position("BTC")
    own_mariadb.kill()

    refused = gateway.post("/execute_order", gateway.by_hand("open", "BTC", "buy", "0.001"))
    assert refused.status_code == 503
    exit_body = gateway.by_hand("exit-1", "BTC", "sell", "0.002", reduce_only=True)
    taken = gateway.execute(exit_body)
    assert (taken["state"], taken["filled_size"]) == ("FILLED", "0.002")
    assert gateway.execute(exit_body)["cloid"] == taken["cloid"]
    wire.fault = lambda: "swallow_reply"
    unknown = gateway.execute(gateway.by_hand("exit-2", "BTC", "sell", "0.003", reduce_only=True))
    assert unknown["state"] == "UNKNOWN"
    wire.fault = lambda: "pass"
    repeated = {**gateway.by_hand("x", "BTC", "buy", "0.01"), "reduce_only": True}
    known_before = gateway.post("/execute_order", {**repeated, "intent_id": "hand:exit-2"})
    assert known_before.status_code == 409
    lines = (folder / "emergency_journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["sent", "concluded"] * 2
    sent = wire.orders_seen

    gateway.kill()
    own_mariadb.start()
    gateway.start(T3__database__port=str(own_mariadb.port))
    first, second = gateway.order(taken["cloid"]), gateway.settled(unknown["cloid"])
    assert (first["state"], first["filled_size"]) == ("FILLED", "0.002")
    assert (second["state"], second["filled_size"]) == ("FILLED", "0.003")
    assert wire.orders_seen == sent
    assert round(held - venue.position("BTC"), 8) == 0.005
    assert not (folder / "emergency_journal.jsonl").exists()
    assert gateway.execute(gateway.planned("BTC", "buy", "0.001"))["state"] == "FILLED"


def test_flatten_and_kill_switch_work_without_the_database(
    gateway: Any, own_mariadb: MariaDbServer, venue: Any, stream: redis.Redis
) -> None:
    gateway.restart(T3__database__port=str(own_mariadb.port))
    assert gateway.execute(gateway.planned("ETH", "sell", "0.3"))["state"] == "FILLED"
    own_mariadb.kill()
    gateway.kill()
    gateway.start(ready=False, T3__database__port=str(own_mariadb.port))
    wait_until(lambda: not {"lease", "markets"} & _unmet(gateway), 20, "exits to be taken")
    assert {"database", "recovery"} <= _unmet(gateway)
    refused = gateway.post("/execute_order", gateway.by_hand("open", "BTC", "buy", "0.001"))
    assert refused.status_code == 503
    reply = gateway.post("/flatten", {"reason": "the database is down"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["flat"] is True, reply.text
    assert venue.info("clearinghouseState", user=venue.wallet)["assetPositions"] == []
    gateway.kill()  # the switch is on the gateway's disk alone
    stream.flushall()
    own_mariadb.start()
    gateway.start(T3__database__port=str(own_mariadb.port))
    blocked = gateway.refusal(gateway.planned("BTC", "buy", "0.001"))
    assert (blocked["rule"], blocked["limit"]) == ("kill_switch", "not set")
    assert "the database is down" in blocked["value"]
    assert gateway.get("/risk").json()["paused_symbols"] == {}
    exit_body = gateway.planned("ETH", "buy", "0.1", reduce_only=True)
    assert gateway.execute(exit_body)["state"] == "REJECTED"  # by the venue: there is no position
    assert gateway.post("/risk/kill-switch", {"action": "lift"}).status_code == 422
    assert "flatten" in {o["origin"] for o in gateway.get("/orders").json()}
    gateway.restart()


def _unmet(gateway: Any) -> set[str]:
    return set(gateway.get("/ready").json()["unmet"])
