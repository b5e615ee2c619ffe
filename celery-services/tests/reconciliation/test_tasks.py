"""The tasks themselves: what they leave to their next run instead of failing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, create_engine
from structlog.testing import capture_logs

from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.database import UnitOfWork
from shared.storage.reconciliation_log import ReconciliationLog
from shared.storage.redis_keys import BALANCE_STREAM, lease
from shared.testing.servers import free_port
from worker import wiring
from worker.balance import update_balance
from worker.reconciliation_engine import LEASE, lease_secs, reconcile_positions


@pytest.fixture
def wired(
    engine: Engine, redis_client: redis.Redis, settings: Settings, secrets: Secrets
) -> Iterator[wiring.Wiring]:
    """A worker process whose venue, observers and gateway are not there."""
    url = f"http://127.0.0.1:{free_port()}"
    r = settings.reconciliation_engine.model_copy(
        update={"observer_nodes": (url,), "order_gateway_url": url}
    )
    paper = settings.paper_exchange.model_copy(update={"url": url})
    own = settings.model_copy(update={"reconciliation_engine": r, "paper_exchange": paper})
    made = wiring.Wiring(own, secrets, engine, redis_client, redis_client, SystemClock(), "test")
    wiring.use(made)
    yield made
    wiring.use(None)


def reasons(engine: Engine) -> dict[str, Any]:
    with UnitOfWork(engine) as uow:
        return {r.symbol: r.decision for r in ReconciliationLog(uow.conn).newest()}


def test_with_nothing_known_every_symbol_gets_a_reason_and_no_order(
    wired: wiring.Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("shared.celery_app.app.send_task", lambda name, **_: asked.append(name))
    reconcile_positions.run()
    symbols = wired.settings.reconciliation_engine.symbols
    assert reasons(wired.engine) == dict.fromkeys(symbols, "unknown")
    assert asked == ["update_balance"]
    assert wired.redis.get(lease(LEASE)) is None


def test_a_reconciliation_under_way_elsewhere_is_not_joined(wired: wiring.Wiring) -> None:
    wired.redis.set(lease(LEASE), "another")
    reconcile_positions.run()
    assert reasons(wired.engine) == {}
    assert wired.redis.get(lease(LEASE)) == "another"


def test_without_a_database_the_task_says_so_and_lets_go(wired: wiring.Wiring) -> None:
    nowhere = create_engine(f"mariadb+mysqlconnector://a:b@127.0.0.1:{free_port()}/3t")
    wiring.use(replace(wired, engine=nowhere))
    with capture_logs() as logs:
        reconcile_positions.run()
    assert [entry["event"] for entry in logs] == ["reconciliation_without_database"]
    assert wired.redis.get(lease(LEASE)) is None


def test_a_venue_that_is_away_leaves_the_balance_to_the_next_run(wired: wiring.Wiring) -> None:
    wired.exchange.transport._sleep = lambda _: None
    with capture_logs() as logs:
        update_balance.run()
    assert "account_not_read" in [entry["event"] for entry in logs]
    assert wired.redis.xlen(BALANCE_STREAM) == 0


def test_the_lease_outlasts_every_wait_of_a_reconciliation(settings: Settings) -> None:
    r = settings.reconciliation_engine
    assert lease_secs(settings) >= 2 * (r.observer_timeout_secs + r.gateway_timeout_secs)
