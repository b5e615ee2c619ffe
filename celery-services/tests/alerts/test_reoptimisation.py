"""Decay sets off one search, whose choice is proposed and never applied."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Engine, select

from shared.alerts.raising import Alerts
from shared.config import Secrets, Settings
from shared.database import UnitOfWork, redis_url
from shared.storage.redis_keys import REOPTIMISATION, REOPTIMISATION_TTL_SECS, RESEARCH_QUEUE
from shared.storage.reoptimisation import DAY_SECS, ReoptimisationClaim
from shared.storage.tables import alert_outbox, balance_history
from shared.testing.clock import FrozenClock
from shared.tests.research.optimize import small
from shared.tests.research.samples import FIRST_MS, ROOT
from worker import alerts as alert_tasks
from worker import wiring
from worker.services.reoptimisation import Reoptimisation

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LATER_MS = (FIRST_MS // DAY_MS + 3) * DAY_MS + HOUR_MS


def told(engine: Engine) -> list[Any]:
    with UnitOfWork(engine) as uow:
        query = select(alert_outbox).where(alert_outbox.c.kind == "reoptimisation")
        return list(uow.conn.execute(query))


def history(engine: Engine, clock: FrozenClock, returns: list[float]) -> None:
    value, rows = 1_000.0, []
    for number, one in enumerate([0.0, *returns]):
        value *= 1 + one
        at_ms = clock.now_ms() - (len(returns) - number) * HOUR_MS
        row = dict.fromkeys(("withdrawable", "margin_used", "total_notional"), 0)
        row |= {"account_value": Decimal(str(round(value, 6))), "read_ms": at_ms}
        rows.append(row | {"venue_ms": at_ms - 3_000})
    with UnitOfWork(engine) as uow:
        uow.conn.execute(balance_history.insert(), rows)
        uow.commit()


@pytest.fixture
def wired(
    engine: Engine,
    redis_client: Redis,
    settings: Settings,
    secrets: Secrets,
    service_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    for name, value in service_environ.items():
        if name.startswith("T3_"):
            monkeypatch.setenv(name, value)
    # An application of its own: the process-wide one may have been set up by another test.
    broker = redis_url(settings, secrets)
    monkeypatch.setattr(alert_tasks, "app", Celery(broker=broker, set_as_current=False))
    made = replace(wiring.build(settings, secrets), clock=FrozenClock(1_700_006_400_000))
    wiring.use(made)
    yield made
    wiring.use(None)


def waiting(client: Redis) -> int:
    return cast("int", client.llen(RESEARCH_QUEUE))


def test_decay_sets_off_one_search(wired: Any, engine: Engine, redis_client: Redis) -> None:
    history(engine, wired.clock, [-0.002, 0.001] * 40)
    for _ in range(3):
        alert_tasks.track_performance()
    assert waiting(redis_client) == 1
    assert 0 < cast("int", redis_client.ttl(REOPTIMISATION)) <= REOPTIMISATION_TTL_SECS


def test_an_account_that_earns_or_a_switch_that_is_off_sets_off_none(
    wired: Any, engine: Engine, redis_client: Redis
) -> None:
    history(engine, wired.clock, [0.002, -0.001] * 40)
    alert_tasks.track_performance()
    assert waiting(redis_client) == 0
    research = wired.settings.research
    off = research.model_copy(
        update={"reoptimisation": research.reoptimisation.model_copy(update={"enabled": False})}
    )
    wiring.use(replace(wired, settings=wired.settings.model_copy(update={"research": off})))
    with UnitOfWork(engine) as uow:
        uow.conn.execute(balance_history.delete())
        uow.commit()
    history(engine, wired.clock, [-0.002, 0.001] * 40)
    alert_tasks.track_performance()
    assert waiting(redis_client) == 0


def service(folder: Path, engine: Engine, client: Redis, data: tuple[str, ...]) -> Reoptimisation:
    own = small.settings(
        T3__research__reoptimisation__trials="3",
        T3__research__reoptimisation__data=str(list(data)),
        T3__research__path=str(folder / "artifacts"),
    )
    config = folder / "config.yml"
    config.write_text((ROOT / "config.yml").read_text())
    clock = FrozenClock(LATER_MS)
    return Reoptimisation(
        own,
        config,
        small.storage(folder),
        Alerts(engine, own.alerts, clock.now_ms),
        ReoptimisationClaim(client),
        clock,
    )


def test_a_search_proposes_a_diff_and_changes_nothing(
    engine: Engine, redis_client: Redis, tmp_path: Path
) -> None:
    own = service(tmp_path, engine, redis_client, small.files(tmp_path))
    before = own.config.read_text()
    assert own.claim.take()
    proposal = own.propose()
    assert own.config.read_text() == before
    (row,) = told(engine)
    assert "out of sample" in row.body
    assert str(tmp_path / "artifacts") in row.body
    # minutes are not what the platform ticks in, and a proposal from them is never praised
    assert "the platform every 5 s: there the same values are another strategy" in row.body
    assert row.title == "Re-optimisation: nothing that is proven to be better"
    if proposal is not None:
        assert proposal.read_text().startswith("--- a/config.yml")
        assert str(proposal) in row.body
    assert not own.claim.take()
    days = own.settings.research.reoptimisation.min_days_between
    assert cast("int", redis_client.ttl(REOPTIMISATION)) > (days - 1) * DAY_SECS


def test_what_cannot_be_searched_is_told_with_its_reason(
    engine: Engine, redis_client: Redis, tmp_path: Path
) -> None:
    own = service(tmp_path, engine, redis_client, small.files(tmp_path, minutes=120))
    for _ in range(2):
        assert own.propose() is None
    (row,) = told(engine)
    assert row.title == "Re-optimisation was not possible"
    assert "give more data" in row.body
    assert not own.claim.take()


def test_a_search_that_died_frees_its_claim(redis_client: Redis) -> None:
    claim = ReoptimisationClaim(redis_client)
    assert claim.take()
    assert not claim.take()
    redis_client.expire(REOPTIMISATION, 0)
    assert claim.take()
