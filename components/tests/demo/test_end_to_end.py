"""The whole platform as processes: it trades, survives the loss of any of them, and resumes.

One long scenario, because starting everything is what takes the time.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from demo.credentials import keep_credentials
from demo.layout import DemoPaths, DemoPlan, load_plan
from demo.running import RunningDemo, spare_environ
from demo.web import pages_of
from shared.config import load_secrets
from shared.database import UnitOfWork, make_engine
from shared.opentelemetry_config import POLLED
from shared.research.twin.__main__ import rules_of
from shared.research.twin.read import Wanted, read
from shared.research.twin.twin import twin_of
from shared.storage.tables import order_execution_log, runs
from shared.testing.dashboards import ask_mariadb, ask_prometheus, panel_queries
from shared.testing.otlp_sink import OtlpSink, SeenSpan
from shared.testing.servers import wait_until

FIRST_FILL_SECS = 120.0
RESTART_SECS = 60.0
SCRAPED = {
    "order_gateway",
    "exchange_observer_1",
    "exchange_observer_2",
    "flower",
    "platform_metrics",
    "price_producer",
    "price_sampler",
    "price_stream_consumer",
    "example_balance_consumer",
    "take_profit",
    "celery_beat",
    "celery_worker",
    "celery_worker_high",
}
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


def _restarted(demo: RunningDemo, name: str) -> None:
    """``kill -9`` and wait for the manager to bring up another."""
    demo.wait(lambda _: demo.pid(name) > 0, RESTART_SECS, f"{name} to run")
    old = demo.kill(name)
    assert old, f"{name} was not running"
    demo.wait(lambda _: demo.pid(name) not in (0, old), RESTART_SECS, f"{name} to be restarted")


@pytest.fixture(scope="module")
def sink() -> Iterator[OtlpSink]:
    """Where the platform's traces go."""
    with OtlpSink() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, sink: OtlpSink) -> DemoPlan:
    """One demo home for the module, with everything there is to look at."""
    own = {
        "T3__observability__otlp_endpoint": sink.url,
        "T3__reconciliation_engine__rebalance_frequency": "2.0",
        "T3__providence__desired_run_count": "200",
    }
    plan = load_plan(DemoPaths(tmp_path_factory.mktemp("demo")), spare_environ(os.environ, **own))
    return replace(plan, pages=pages_of(plan.settings))


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


def _assert_one_trace(sink: OtlpSink) -> None:
    """From beat through worker, gateway and the venue's answer to the fill: one trace."""

    def filled() -> list[SeenSpan]:
        return [
            span
            for span in sink.spans()
            if span.name == "execute_order"
            and span.events.get("order_updated", {}).get("state") == "FILLED"
            and len(sink.ancestry(span)) > 1
            and not sink.ancestry(span)[-1].parent_id
            and any(below.name == "exchange:order" for below in sink.below(span))
        ]

    wait_until(lambda: bool(filled()), 30, "a whole trace of a filled order")
    order = filled()[0]
    way = [(span.service, span.name) for span in sink.ancestry(order)]
    assert way == [
        ("order_gateway", "execute_order"),
        ("order_gateway", "POST /execute_order"),
        ("celery_worker_high", "POST"),
        ("celery_worker_high", "run/reconcile_positions"),
        ("celery_beat", "apply_async/reconcile_positions"),
    ]
    assert len({span.trace_id for span in sink.ancestry(order)}) == 1
    (sent,) = [span for span in sink.below(order) if span.name == "exchange:order"]
    assert [span.name for span in sink.below(sent)] == ["POST"]
    assert order.events["order_updated"]["intent_id"] == order.attributes["intent_id"]


def _assert_noise_is_sampled(sink: OtlpSink) -> None:
    """Critical tasks are whole; of the noisy ones a hundredth is kept, root and children alike."""
    roots = Counter(span.name for span in sink.spans() if not span.parent_id)
    balances = sum(count for name, count in roots.items() if name.endswith("/update_balance"))
    assert roots["apply_async/reconcile_positions"] > 5
    assert balances < roots["apply_async/reconcile_positions"]
    assert not POLLED & {name.removeprefix("GET ") for name in roots}


def _assert_pages_have_something_to_show(plan: DemoPlan) -> None:
    """Every panel of every dashboard, asked of Prometheus and MariaDB while the platform works."""
    assert plan.pages is not None
    flower = f"http://127.0.0.1:{plan.pages.flower}"
    assert requests.get(f"{flower}/workers", timeout=10).status_code == 401
    password = (plan.paths.home / "flower_password").read_text().strip()
    reply = requests.get(f"{flower}/workers", auth=("flower", password), timeout=10)
    assert reply.status_code == 200
    engine = make_engine(plan.settings, load_secrets(plan.paths.service_secrets))
    with engine.connect() as connection:
        for query in panel_queries():
            if query.datasource == "mariadb":
                assert ask_mariadb(connection, query) or query.may_be_empty, query.name
    if plan.pages.prometheus is None:
        return  # test_alert_rules says that it is not installed
    url = f"http://127.0.0.1:{plan.pages.prometheus}"
    targets = requests.get(f"{url}/api/v1/targets", timeout=10).json()["data"]["activeTargets"]
    assert {target["labels"]["job"] for target in targets} >= SCRAPED
    asked = [query for query in panel_queries() if query.datasource == "prometheus"]

    def silent() -> list[str]:
        return [q.name for q in asked if not q.may_be_empty and not ask_prometheus(url, q)]

    try:
        wait_until(lambda: not silent(), 45, "every panel to have something to show")
    except TimeoutError:
        raise AssertionError(f"empty panels: {silent()}") from None
    for query in asked:
        ask_prometheus(url, query)
    rules = requests.get(f"{url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    assert [r["lastError"] for g in rules for r in g["rules"] if r.get("lastError")] == []


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
def test_platform_trades_survives_any_kill_and_resumes(plan: DemoPlan, sink: OtlpSink) -> None:
    with RunningDemo(plan) as demo:
        demo.wait(demo.has_filled, FIRST_FILL_SECS, "a filled and reconciled order")
        _assert_one_trace(sink)
        _assert_pages_have_something_to_show(plan)
        for name in KILLED:
            _restarted(demo, name)
        before = demo.wait(demo.is_settled, RESTART_SECS, "the account at its target").snapshot
        after = demo.wait(
            lambda s: (
                s.snapshot.iterations > before.iterations
                and s.snapshot.ticks > before.ticks
                and demo.is_settled(s)
            ),
            RESTART_SECS,
            "the loop to go on after the kills",
        ).snapshot
        assert after.runs_active > 0
        _assert_sent_once(plan)
        _assert_noise_is_sampled(sink)
        first_runs = _run_ids(plan)
        first_intents = {row["intent_id"] for row in _journal(plan)}
    left = [p for p in (demo.state.processes if demo.state else ()) if p.pid and _alive(p.pid)]
    assert left == [], "processes of the demo are left behind"

    with RunningDemo(plan) as again:
        again.wait(
            lambda s: s.snapshot.iterations > 0 and again.is_settled(s),
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
