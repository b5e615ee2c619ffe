"""The fence of a shard taken away alone: the checker must report what it prevented."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import redis
from sqlalchemy import Connection, Engine, update

from chaos.checker import History, Limits, check
from chaos.records import repeated_steps
from shared.config import Secrets, Settings
from shared.ports import IterationCommit
from shared.storage import shards
from shared.storage.run_store import MariaRunStore
from shared.storage.tables import iteration_shards
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld
from worker import wiring
from worker.services.iteration import IterationService, Outcome

RUNS = 8
STALLED_AT, ASKED_AFTER, GOES_ON_TO = 26, 1, 20
"""Ticks: where one worker has read the shard, after how many it is overtaken, how many it steps."""


@pytest.fixture
def world(engine: Engine, raw_redis_client: redis.Redis) -> RunWorld:
    """A shard of runs at its first tick."""
    world = RunWorld(gaps=False)
    with engine.begin() as conn:
        world.store(conn)
    runs = MariaRunStore(engine.begin, FrozenClock())
    runs.create_shards([0], world.start_ms, world.interval_ms)
    runs.spawn(
        world.newborns(RUNS),
        np.zeros(RUNS, dtype=np.int32),
        {p: s for s, p in world.product_ids.items()},
        desired=RUNS,
        tick_ms=world.start_ms,
        interval_ms=world.interval_ms,
        now_ms=world.start_ms,
    )
    return world


@pytest.fixture
def workers(settings: Settings, secrets: Secrets, world: RunWorld) -> Iterator[list[Any]]:
    """Two worker processes' wirings, ticking as the world does."""
    schedules = settings.celery.schedules.model_copy(
        update={"providence_iteration_scheduler": world.interval_ms / 1000}
    )
    celery = settings.celery.model_copy(update={"schedules": schedules})
    fast = settings.model_copy(update={"celery": celery})
    built = [wiring.build(fast, secrets) for _ in range(2)]
    yield built
    for one in built:
        one.close()


def _overtaken(
    world: RunWorld, workers: list[Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> tuple[Outcome, set[str]]:
    """A worker stalls before its commit; meanwhile runs are ended and another worker steps on.

    Returns what became of the stalled worker's task, and the rules that were broken.
    """
    stalled, other = workers
    ticks = world.ticks
    stalled.iterations.run(0, ticks[STALLED_AT])
    commit_iteration = MariaRunStore.commit_iteration
    runs = MariaRunStore(engine.begin, FrozenClock())

    def late(self: MariaRunStore, commit: IterationCommit) -> bool:
        monkeypatch.setattr(MariaRunStore, "commit_iteration", commit_iteration)
        runs.request_exits(_quiet(commit), "operator")
        other.iterations.run(0, ticks[STALLED_AT + ASKED_AFTER])
        return commit_iteration(self, commit)

    monkeypatch.setattr(MariaRunStore, "commit_iteration", late)
    service: IterationService = stalled.iterations
    outcome = service.run(0, ticks[STALLED_AT + GOES_ON_TO]).outcome
    with engine.connect() as conn:
        steps = repeated_steps(conn)
    nothing = Limits(Decimal(0), Decimal(0))
    history = History((), (), (), (), nothing, steps)
    return outcome, {violation.rule for violation in check(history)}


def _quiet(commit: IterationCommit) -> list[int]:
    """Runs that trade in this commit, but not at the tick at which the others are to end."""
    first = {}
    for fill in commit.fills:
        first.setdefault(int(fill["run_id"]), int(fill["tick"]))
    exit_tick = commit.shard.last_tick + ASKED_AFTER * commit.interval_ms
    return [run_id for run_id, tick in first.items() if tick > exit_tick]


def _unfenced(conn: Connection, commit: IterationCommit) -> bool:
    """The shard moves on whatever it has become meanwhile."""
    conn.execute(
        update(iteration_shards)
        .where(iteration_shards.c.id == commit.shard.shard_id)
        .values(last_tick=commit.tick, sums=dict(commit.sums), sums_tick=commit.tick)
    )
    return True


def test_a_worker_that_was_overtaken_writes_nothing(
    world: RunWorld, workers: list[Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, broken = _overtaken(world, workers, engine, monkeypatch)
    assert (outcome, broken) == (Outcome.COMMITTED, set())


def test_without_the_fence_its_steps_are_reported(
    world: RunWorld, workers: list[Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "advance", _unfenced)
    _, broken = _overtaken(world, workers, engine, monkeypatch)
    assert broken == {"repeated_step"}
