"""The whole platform as processes: it trades, survives the loss of any of them, and resumes.

One long scenario, because starting everything is what takes the time.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from demo.credentials import keep_credentials
from demo.layout import DemoPaths, DemoPlan, load_plan
from demo.session import Session, State
from demo.summary import Summary, is_reconciled
from shared.config import load_secrets
from shared.database import UnitOfWork, make_engine
from shared.research.twin.__main__ import rules_of
from shared.research.twin.read import Wanted, read
from shared.research.twin.twin import twin_of
from shared.storage.tables import order_execution_log, runs
from shared.testing.servers import free_port

FIRST_FILL_SECS = 120.0
RESTART_SECS = 60.0
KILLED = (
    "celery_worker",
    "order_gateway",
    "celery_worker_high",
    "celery_beat",
    "exchange_observer_1",
    "price_producer",
    "price_sampler",
    "recorder",
    "take_profit",
    "redis",
    "mariadb",
    "paper_exchange",
)


def _environ() -> dict[str, str]:
    """A demo on free ports, beside one that a person may be running."""
    gateway, first, second = free_port(), free_port(), free_port()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("T3_")}
    return inherited | {
        "T3__redis__port": str(free_port()),
        "T3__database__port": str(free_port()),
        "T3__paper_exchange__url": f"http://127.0.0.1:{free_port()}",
        "T3__order_gateway__port": str(gateway),
        "T3__reconciliation_engine__order_gateway_url": f"http://127.0.0.1:{gateway}",
        "T3__reconciliation_engine__observer_nodes": (
            f"[http://127.0.0.1:{first}, http://127.0.0.1:{second}]"
        ),
        "T3__reconciliation_engine__rebalance_frequency": "2.0",
        "T3__providence__desired_run_count": "200",
    }


class RunningDemo:
    """A session in a thread; ``state`` is what its view last showed."""

    def __init__(self, plan: DemoPlan) -> None:
        self.plan = plan
        self.state: State | None = None
        self.summary: Summary | None = None
        self._stop_asked = threading.Event()
        self._session = Session(plan, self._show, self._stop_asked)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _show(self, state: State) -> None:
        self.state = state

    def _run(self) -> None:
        self.summary = self._session.run(None)

    def __enter__(self) -> RunningDemo:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Summary:
        """End it as Ctrl-C does."""
        self._stop_asked.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the demo did not stop"
        assert self.summary is not None, "the demo failed to start"
        return self.summary

    def wait(self, until: Callable[[State], bool], secs: float, what: str) -> State:
        """Poll the shown state; fails with what was last seen."""
        deadline = time.monotonic() + secs
        while time.monotonic() < deadline and self._thread.is_alive():
            state = self.state
            if state is not None and until(state):
                return state
            time.sleep(0.2)
        seen = None if self.state is None else (self.state.snapshot, self.state.processes)
        pytest.fail(f"waited {secs:g} s for {what}; last seen: {seen}")

    def pid(self, name: str) -> int:
        """Process id of a running process, 0 while there is none."""
        state = self.state
        return next((p.pid for p in state.processes if p.name == name), 0) if state else 0

    def kill(self, name: str) -> None:
        """``kill -9`` and wait for the manager to bring up another."""
        old = self.pid(name)
        assert old, f"{name} is not running"
        os.kill(old, signal.SIGKILL)
        self.wait(lambda _: self.pid(name) not in (0, old), RESTART_SECS, f"{name} to be restarted")

    def settled(self, state: State) -> bool:
        """At target, with nothing in doubt and everything readable."""
        engine = self.plan.settings.reconciliation_engine
        snapshot = state.snapshot
        return (
            not snapshot.faults
            and snapshot.counts.unknown == 0
            and is_reconciled(snapshot.positions, engine.symbols, engine.minimum_trade_threshold)
        )


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DemoPlan:
    """One demo home for the module."""
    return load_plan(DemoPaths(tmp_path_factory.mktemp("demo")), _environ())


def _journal(plan: DemoPlan) -> list[dict[str, Any]]:
    engine = make_engine(plan.settings, load_secrets(plan.paths.service_secrets))
    with UnitOfWork(engine) as uow:
        rows = uow.conn.execute(select(order_execution_log).order_by(order_execution_log.c.id))
        return [dict(row) for row in rows.mappings()]


def _run_ids(plan: DemoPlan) -> set[int]:
    engine = make_engine(plan.settings, load_secrets(plan.paths.service_secrets))
    with UnitOfWork(engine) as uow:
        return set(uow.conn.execute(select(runs.c.id)).scalars())


def _venue(plan: DemoPlan, what: str) -> list[dict[str, Any]]:
    """The account's ``historicalOrders`` or ``userFills``, as the venue tells anyone."""
    reply = requests.post(
        f"{plan.settings.paper_exchange.url}/info",
        json={"type": what, "user": keep_credentials(plan.paths).wallet_address},
        timeout=10,
    )
    reply.raise_for_status()
    body: list[dict[str, Any]] = reply.json()
    return body


def _assert_sent_once(plan: DemoPlan) -> None:
    """Every order of the venue is one intent, no intent is two orders, and the sizes agree."""
    intents = {row["cloid"]: row for row in _journal(plan)}
    placed = {
        (entry["order"]["oid"], entry["order"]["cloid"])
        for entry in _venue(plan, "historicalOrders")
    }
    cloids = [cloid for _, cloid in placed]
    assert len(cloids) == len(set(cloids)), "an intent was sent twice"
    assert set(cloids) <= set(intents), "the venue holds an order that no intent asked for"
    filled: dict[str, Decimal] = {}
    for fill in _venue(plan, "userFills"):
        filled[fill["cloid"]] = filled.get(fill["cloid"], Decimal(0)) + Decimal(fill["sz"])
    assert filled, "nothing was filled"
    assert set(filled) <= set(intents)
    for cloid, row in intents.items():
        assert row["filled_size"] == filled.get(cloid, Decimal(0)), row


def _assert_twin_is_equal(plan: DemoPlan) -> None:
    """Everything the runs did, kills and restart included, comes out again to the bit."""
    engine = make_engine(plan.settings, load_secrets(plan.paths.service_secrets))
    now_ms = time.time_ns() // 1_000_000
    recorded = read(engine, plan.settings, Wanted(0, now_ms), now_ms)
    twin = twin_of(recorded, rules_of(plan.settings, recorded))
    assert twin.check.equal, twin.check
    assert twin.check.lived > 0
    assert recorded.account.orders > 0
    assert (twin.gap.by_cause["signal"] == 0.0).all()
    gap = twin.equity_lived - twin.equity_replayed
    assert abs(twin.gap.total.sum(axis=1) - gap).max() < 1e-6


@pytest.mark.timeout(600)
def test_platform_trades_survives_any_kill_and_resumes(plan: DemoPlan) -> None:
    with RunningDemo(plan) as demo:
        demo.wait(
            lambda s: s.snapshot.counts.filled > 0 and demo.settled(s),
            FIRST_FILL_SECS,
            "a filled and reconciled order",
        )
        for name in KILLED:
            demo.kill(name)
        before = demo.wait(demo.settled, RESTART_SECS, "the account at its target").snapshot
        after = demo.wait(
            lambda s: (
                s.snapshot.iterations > before.iterations
                and s.snapshot.ticks > before.ticks
                and demo.settled(s)
            ),
            RESTART_SECS,
            "the loop to go on after the kills",
        ).snapshot
        assert after.runs_active > 0
        _assert_sent_once(plan)
        first_runs = _run_ids(plan)
        first_intents = {row["intent_id"] for row in _journal(plan)}
    left = [p for p in (demo.state.processes if demo.state else ()) if p.pid and _alive(p.pid)]
    assert left == [], "processes of the demo are left behind"

    with RunningDemo(plan) as again:
        again.wait(
            lambda s: s.snapshot.iterations > 0 and again.settled(s),
            FIRST_FILL_SECS,
            "the second demo to go on",
        )
        assert first_runs & _run_ids(plan), "the runs of the first demo are gone"
        assert first_intents <= {row["intent_id"] for row in _journal(plan)}
        _assert_sent_once(plan)
        _assert_twin_is_equal(plan)
        summary = again.stop()
    assert summary.orders_unknown == 0


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
