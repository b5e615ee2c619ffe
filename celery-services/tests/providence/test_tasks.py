"""What the tasks do around the use cases they call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from sqlalchemy import Engine

from shared import time_budget
from shared.config import Secrets, Settings
from shared.ports import SentIteration
from shared.providence.codes import Interpretation
from shared.storage import population
from shared.testing.memory_runs import MemorySentIterations
from shared.testing.run_world import RunWorld
from worker import wiring
from worker.providence import providence_supervisor, providence_trading_iteration
from worker.services.iteration import IterationResult, Outcome


@pytest.fixture
def sent() -> MemorySentIterations:
    store = MemorySentIterations()
    store.record([3, 4], SentIteration(1000, 1001))
    return store


@pytest.fixture
def wire(sent: MemorySentIterations) -> Iterator[Callable[..., None]]:
    def use(run: Callable[..., IterationResult], shards: Callable[..., object] | None = None):
        service = SimpleNamespace(run=run, shards=shards or (lambda shard_ids: {}))
        providence = SimpleNamespace(resend_after_secs=30.0)
        wiring.use(
            SimpleNamespace(
                iterations=service,
                sent_iterations=sent,
                settings=SimpleNamespace(providence=providence),
            )
        )

    yield use
    wiring.use(None)


def test_failed_shard_is_sent_again_and_holds_no_other_back(sent, wire) -> None:
    done = []

    def run(shard_id: int, tick_ms: int, shard: object) -> IterationResult:
        if shard_id == 3:
            raise OSError("this shard is broken")
        done.append(shard_id)
        return IterationResult(Outcome.COMMITTED, last_tick=tick_ms)

    wire(run)
    with pytest.raises(ExceptionGroup, match="1 of 2 shards failed") as raised:
        providence_trading_iteration.run([3, 4], 1000)
    assert [str(error) for error in raised.value.exceptions] == ["this shard is broken"]
    assert done == [4]
    assert set(sent.read()) == {4}


def test_task_that_cannot_read_its_shards_has_all_of_them_sent_again(sent, wire) -> None:
    def gone(shard_ids: object) -> object:
        raise OSError("the database is gone")

    wire(lambda *_: IterationResult(Outcome.COMMITTED), gone)
    with pytest.raises(OSError, match="gone"):
        providence_trading_iteration.run([3, 4], 1000)
    assert sent.read() == {}


@pytest.mark.parametrize(
    ("outcome", "left"), [(Outcome.COMMITTED, {3, 4}), (Outcome.CONTENDED, {4})]
)
def test_iteration_without_effect_may_be_sent_again(sent, wire, outcome, left) -> None:
    wire(lambda shard_id, tick_ms, shard: IterationResult(outcome, last_tick=tick_ms))
    providence_trading_iteration.run([3], 1000)
    assert set(sent.read()) == left


def test_what_there_is_no_time_for_may_be_sent_again(sent, wire, monkeypatch) -> None:
    """The first shard gets its turn whatever it takes; it was left behind, the second not begun."""
    now, begun = [0.0], []
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def run(shard_id: int, tick_ms: int, shard: object) -> IterationResult:
        begun.append((shard_id, time_budget.left_secs()))
        now[0] += 15.0
        return IterationResult(Outcome.COMMITTED, ticks=512, last_tick=tick_ms - 1)

    wire(run)
    sent.record([7], SentIteration(1000, 1001))
    providence_trading_iteration.run([3, 4], 1000)
    assert begun == [(3, 15.0)]
    assert set(sent.read()) == {7}


def test_supervisor_fills_the_population(
    engine: Engine, redis_client: Redis, settings: Settings, secrets: Secrets
) -> None:
    world = RunWorld(length=1, warm=260, interval_ms=settings.interval_ms, gaps=False)
    with engine.begin() as conn:
        world.store(conn)
    wiring.use(wiring.build(settings, secrets))
    for _ in range(2):
        providence_supervisor.run()
    wiring.use(None)
    with engine.connect() as conn:
        found = population.report(conn)
    desired = settings.providence.desired_run_count
    drawn = [found.active[name.name.lower(), "0"] for name in Interpretation]
    assert all(drawn)
    assert sum(drawn) == desired
    assert found.growth[0.5] == 0


def test_iteration_is_counted_by_its_outcome(sent, wire) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    counted = value("t3_iterations_total"), value("t3_run_fills_total")
    fenced = value("t3_iteration_seconds_count", outcome="done_before")
    committed = IterationResult(Outcome.COMMITTED, ticks=2, runs=50, fills=3, last_tick=1000)
    wire(lambda shard_id, tick_ms, shard: committed)
    providence_trading_iteration.run([3], 1000)
    wire(lambda shard_id, tick_ms, shard: IterationResult(Outcome.DONE_BEFORE))
    providence_trading_iteration.run([3], 1000)
    assert value("t3_iterations_total") == counted[0] + 100
    assert value("t3_run_fills_total") == counted[1] + 3
    assert value("t3_iteration_seconds_count", outcome="done_before") == fenced + 1
