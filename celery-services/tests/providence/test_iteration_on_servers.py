"""Iterations on real MariaDB and Redis: parallel, killed, robbed of Redis; same journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import DBAPIError

from shared.config import Secrets, Settings
from shared.providence.codes import Status
from shared.providence.run_state import Records, StateLayoutError, from_json
from shared.storage import cohorts, tables
from shared.storage.run_state_store import RedisRunStateStore
from shared.storage.run_store import MariaRunStore
from shared.storage.runs import assign_height
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld
from shared.testing.servers import MariaDbServer
from worker import wiring
from worker.services.iteration import IterationService, Outcome
from worker.services.rebuild import verify
from worker.services.stepping import Needs

COUNT = 40
CRASHING_WORKER = Path(__file__).with_name("crashing_worker.py")


@dataclass
class Rig:
    """A shard of runs in the real stores, and the journal that a single clean pass gives."""

    world: RunWorld
    settings: Settings
    secrets: Secrets
    engine: Engine
    redis: Redis
    born: Records
    environ: Mapping[str, str]

    def service(self) -> IterationService:
        return wiring.build(self.settings, self.secrets).iterations

    @property
    def runs(self) -> MariaRunStore:
        return MariaRunStore(self.engine.begin, FrozenClock())

    def assert_as_reference(self) -> None:
        """Same fills, same runs, same PnL as one clean pass in memory."""
        wired = wiring.build(self.settings, self.secrets)
        stepper = wiring.steppers(wired.engine.begin, self.settings)[self.world.interval_ms]
        expected = self.born.copy()
        pieces = stepper.frames(Needs.of(expected), self.world.start_ms, self.world.ticks[-1])
        journal = np.concatenate([stepper.advance(expected, frames)[0] for frames in pieces])
        journal = journal[np.lexsort((journal["fill_seq"], journal["run_id"]))]
        assert len(journal) > 60
        ids = self.born["run_id"].copy()
        assert self.runs.fills(ids).tobytes() == journal.tobytes()
        active = expected["status"] == Status.ACTIVE
        assert 0 < active.sum() < COUNT
        assert self.runs.members(0).run_ids.tolist() == ids[active].tolist()
        stored, there = RedisRunStateStore(self.redis).load(ids[active])
        assert there.all()
        assert stored.tobytes() == expected[active].tobytes()
        with self.engine.connect() as conn:
            t = tables.runs
            rows = conn.execute(select(t).where(t.c.status == "completed").order_by(t.c.id)).all()
        ended = expected[~active]
        assert [row.id for row in rows] == ended["run_id"].tolist()
        assert [row.completed_tick for row in rows] == ended["tick"].tolist()
        assert [row.live_pnl for row in rows] == ended["live_pnl"].tolist()
        with self.engine.connect() as conn:
            results = cohorts.ended(conn)
        traded = ended[ended["fill_seq"] > 0]
        assert sum(r.current.runs for r in results.values()) == len(traded) > 0
        assert sum(r.current.wins for r in results.values()) == (traded["live_pnl"] > 0).sum()
        assert [from_json(row.run_state).tobytes() for row in rows] == [e.tobytes() for e in ended]
        assert verify(self.runs.checkpoints(ids, self.world.ticks[-1]), self.runs) == []


@pytest.fixture
def rig(
    engine: Engine,
    raw_redis_client: Redis,
    settings: Settings,
    secrets: Secrets,
    service_environ: Mapping[str, str],
) -> Rig:
    world = RunWorld()
    fast = settings.model_copy(
        update={
            "celery": settings.celery.model_copy(
                update={
                    "schedules": settings.celery.schedules.model_copy(
                        update={"providence_iteration_scheduler": world.interval_ms / 1000}
                    )
                }
            ),
            "providence": settings.providence.model_copy(update={"db_checkpoint_iterations": 10}),
        }
    )
    with engine.begin() as conn:
        world.store(conn)
    runs = MariaRunStore(engine.begin, FrozenClock())
    runs.create_shards([0], world.start_ms, world.interval_ms)
    born = runs.spawn(
        world.newborns(COUNT),
        np.zeros(COUNT, dtype=np.int32),
        {p: s for s, p in world.product_ids.items()},
        desired=COUNT,
        tick_ms=world.start_ms,
        interval_ms=world.interval_ms,
        now_ms=world.start_ms,
    )
    environ = {
        **service_environ,
        "T3__celery__schedules__providence_iteration_scheduler": str(world.interval_ms / 1000),
        "T3__providence__db_checkpoint_iterations": "10",
    }
    return Rig(world, fast, secrets, engine, raw_redis_client, born, environ)


def test_every_tick_delivered_twice(rig: Rig) -> None:
    first, second = rig.service(), rig.service()
    for tick in rig.world.ticks:
        assert first.run(0, tick).outcome is Outcome.COMMITTED
        assert second.run(0, tick).outcome is Outcome.DONE_BEFORE
    rig.assert_as_reference()


def test_flushed_redis_goes_on_with_the_same_pnl(rig: Rig) -> None:
    service = rig.service()
    for place, tick in enumerate(rig.world.ticks):
        if place in (25, 61, 62):
            rig.redis.flushall()
        result = service.run(0, tick)
        assert (result.rebuilt > 0) == (place in (0, 25, 61, 62))
    rig.assert_as_reference()


def test_checkpoint_of_an_older_layout_is_refused_by_name_and_nothing_is_lost(rig: Rig) -> None:
    """Redis is empty and no migration reads the checkpoint; once one does, the run goes on."""
    ticks, t = rig.world.ticks, tables.run_checkpoints
    rig.service().run(0, ticks[20])
    rig.redis.flushall()
    with rig.engine.begin() as conn:
        whole = {(row.tick, row.record) for row in conn.execute(select(t).where(t.c.run_id == 5))}
        for tick, record in whole:
            old = record[:8] + bytes([0]) + record[9:]
            conn.execute(update(t).where(t.c.run_id == 5, t.c.tick == tick).values(record=old))
    with pytest.raises(StateLayoutError, match="run 5: record layout 0 cannot be read"):
        rig.service().run(0, ticks[21])
    shard = rig.runs.shard(0)
    assert shard is not None
    assert shard.last_tick == ticks[20]
    with rig.engine.begin() as conn:
        for tick, record in whole:
            conn.execute(update(t).where(t.c.run_id == 5, t.c.tick == tick).values(record=record))
    rig.service().run(0, ticks[-1])
    rig.assert_as_reference()


def test_parallel_deliveries_of_every_tick(rig: Rig) -> None:
    outcomes: list[Outcome] = []
    gate = threading.Barrier(3)

    def deliver() -> None:
        service = rig.service()
        for tick in rig.world.ticks[:60]:
            gate.wait(timeout=30)
            outcomes.append(service.run(0, tick).outcome)

    threads = [threading.Thread(target=deliver) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert outcomes.count(Outcome.COMMITTED) == 60
    assert len(outcomes) == 180
    rig.service().run(0, rig.world.ticks[-1])
    rig.assert_as_reference()


def test_stalled_worker_is_overtaken_by_two_ticks(rig: Rig) -> None:
    """It has stepped its tick and stops just before its commit, and again before its write."""
    stalled, other = rig.service(), rig.service()
    ticks = rig.world.ticks
    commits, saves = [], []
    commit, save = stalled._runs.commit_iteration, stalled._states.save

    def commit_late(item):
        if not commits:
            commits.append(item.tick)
            other.run(0, ticks[2])
        return commit(item)

    def save_late(records):
        if not saves and commits:
            saves.append(records["tick"].max())
            other.run(0, ticks[7])
        return save(records)

    stalled._runs.commit_iteration = commit_late
    stalled._states.save = save_late
    assert stalled.run(0, ticks[0]).outcome is Outcome.DONE_BEFORE
    assert commits == [ticks[0]]
    assert stalled.run(0, ticks[5]).outcome is Outcome.COMMITTED
    assert saves == [ticks[5]]
    last = RedisRunStateStore(rig.redis).load(rig.runs.members(0).run_ids)[0]
    assert set(last["tick"].tolist()) == {ticks[7]}
    for tick in ticks[8:]:
        stalled.run(0, tick)
    rig.assert_as_reference()


def crash(rig: Rig, point: str, tick_ms: int) -> None:
    """Have a worker process kill itself at a point of shard 0."""
    process = subprocess.run(
        [sys.executable, str(CRASHING_WORKER), point, "0", str(tick_ms)],
        env=dict(rig.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize(
    "point", ["inside_rebuild", "before_commit", "inside_commit", "after_commit"]
)
def test_killed_worker_changes_nothing_the_second_time(rig: Rig, point: str) -> None:
    ticks = rig.world.ticks
    rig.service().run(0, ticks[30])
    if point == "inside_rebuild":
        rig.redis.flushall()
    crash(rig, point, ticks[33])
    shard = rig.runs.shard(0)
    assert shard is not None
    assert shard.last_tick == (ticks[33] if point == "after_commit" else ticks[30])
    survivor = rig.service()
    result = survivor.run(0, ticks[33])
    assert (result.rebuilt > 0) == (point == "inside_rebuild")
    assert result.outcome is (Outcome.DONE_BEFORE if point == "after_commit" else Outcome.COMMITTED)
    result = survivor.run(0, ticks[34])
    assert (result.rebuilt > 0) == (point == "after_commit")
    survivor.run(0, ticks[-1])
    rig.assert_as_reference()


def test_supervisor_killed_while_runs_are_born_leaves_none_of_them(rig: Rig) -> None:
    """Rows without records would be members that nobody can step; their ids are given anew."""
    ticks = rig.world.ticks
    rig.service().run(0, ticks[30])
    before = rig.runs.shard(0)
    crash(rig, "inside_birth", ticks[30])
    assert rig.runs.shard(0) == before
    with rig.engine.connect() as conn:
        newest = conn.execute(select(tables.runs.c.id).order_by(tables.runs.c.id.desc())).first()
    assert newest == (COUNT,)
    rig.service().run(0, ticks[-1])
    rig.assert_as_reference()


def test_redis_that_is_full_costs_rebuilds_and_no_tick(rig: Rig) -> None:
    """Under noeviction it refuses writes; what was committed stays committed."""
    service, ticks = rig.service(), rig.world.ticks
    service.run(0, ticks[20])
    rig.redis.config_set("maxmemory", 1)
    try:
        for tick in ticks[21:25]:
            with pytest.raises(OutOfMemoryError):
                service.run(0, tick)
            shard = rig.runs.shard(0)
            assert shard is not None
            assert shard.last_tick == tick
    finally:
        rig.redis.config_set("maxmemory", 0)
    assert service.run(0, ticks[25]).rebuilt > 0
    assert service.run(0, ticks[26]).rebuilt == 0
    service.run(0, ticks[-1])
    rig.assert_as_reference()


def test_database_that_takes_no_writes_holds_the_shard_where_it_is(
    rig: Rig, mariadb_server: MariaDbServer
) -> None:
    service, ticks = rig.service(), rig.world.ticks
    service.run(0, ticks[20])
    mariadb_server.execute_sql("SET GLOBAL read_only = 1;")
    try:
        for tick in ticks[21:23]:
            with pytest.raises(DBAPIError, match="read-only"):
                service.run(0, tick)
        with pytest.raises(DBAPIError, match="read-only"):
            rig.runs.request_exits([1], "hand")
    finally:
        mariadb_server.execute_sql("SET GLOBAL read_only = 0;")
    shard = rig.runs.shard(0)
    assert shard is not None
    assert shard.last_tick == ticks[20]
    service.run(0, ticks[-1])
    rig.assert_as_reference()


def test_parallel_processes_on_one_shard(rig: Rig) -> None:
    ticks = rig.world.ticks
    command = [sys.executable, str(CRASHING_WORKER), "never", "0"]
    command += [str(tick) for tick in ticks[:40]]
    workers = [subprocess.Popen(command, env=dict(rig.environ)) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    shard = rig.runs.shard(0)
    assert shard is not None
    assert shard.last_tick == ticks[39]
    rig.service().run(0, ticks[-1])
    rig.assert_as_reference()


def test_database_restart_between_two_ticks(rig: Rig) -> None:
    service = rig.service()
    ticks = rig.world.ticks
    service.run(0, ticks[10])
    with rig.engine.connect() as conn:
        others = conn.exec_driver_sql(
            "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
        ).all()
        for (number,) in others:
            conn.exec_driver_sql(f"KILL {int(number)}")
    assert service.run(0, ticks[11]).outcome is Outcome.COMMITTED
    service.run(0, ticks[-1])
    rig.assert_as_reference()


def test_worker_name_and_time_are_committed(rig: Rig) -> None:
    rig.service().run(0, rig.world.ticks[0])
    with rig.engine.connect() as conn:
        row = conn.execute(select(tables.iteration_shards)).one()
    assert row.worker.endswith(f":{os.getpid()}")
    assert row.sums_tick == row.last_tick == rig.world.ticks[0]
    assert sum(s["active"] for s in row.sums.values()) == len(rig.runs.members(0).run_ids)


def test_controls_during_iterations_lose_nothing(rig: Rig) -> None:
    """Births, exits and heights land between commits; each counts from the tick it names."""
    ticks = rig.world.ticks
    stop = threading.Event()
    asked: list[int] = []
    patience_ms = 5 * rig.world.interval_ms

    def control() -> None:
        runs = rig.runs
        for place in range(12):
            if stop.wait(0.05):
                break
            asked.extend(runs.request_exits([1 + 3 * place], "hand").tolist())
            assign_height(rig.engine, "take_profit", account_value=None, now_ms=place + 1)
            runs.spawn(
                rig.world.newborns(2),
                np.zeros(2, dtype=np.int32),
                {p: s for s, p in rig.world.product_ids.items()},
                desired=1000,
                tick_ms=rig.world.start_ms,
                interval_ms=rig.world.interval_ms,
                now_ms=place,
            )

    thread = threading.Thread(target=control)
    thread.start()
    service = rig.service()
    for tick in ticks:
        assert service.run(0, tick).outcome is Outcome.COMMITTED
        stop.wait(0.01)
    stop.set()
    thread.join(timeout=60)
    assert asked
    with rig.engine.connect() as conn:
        rows = conn.execute(select(tables.runs).order_by(tables.runs.c.id)).all()
    assert len(rows) > COUNT
    for row in rows:
        if row.exit_reason == "hand" and row.status == "completed":
            # A tick without a sample lets the exit wait for the next; it never comes early.
            assert row.exit_tick <= row.completed_tick <= row.exit_tick + patience_ms
        elif row.exit_tick is not None and row.exit_tick + patience_ms <= ticks[-1]:
            assert row.status == "completed"
            assert row.completed_tick < row.exit_tick
    ids = np.array([row.id for row in rows])
    final = rig.runs.checkpoints(ids, ticks[-1])
    assert final["run_id"].tolist() == ids.tolist()
    assert verify(final, rig.runs) == []
    heights = {row.id: row.height for row in rows if row.status == "active"}
    assert {h for h in heights.values() if h is not None}
    stored, there = RedisRunStateStore(rig.redis).load(rig.runs.members(0).run_ids)
    assert there.all()
    assert (stored["tick"] == ticks[-1]).all()


def test_racing_supervisors_never_exceed_the_number(rig: Rig) -> None:
    gate = threading.Barrier(3)
    born: list[int] = []

    def grow() -> None:
        runs = rig.runs
        gate.wait(timeout=30)
        for _ in range(4):
            part = runs.spawn(
                rig.world.newborns(9),
                np.zeros(9, dtype=np.int32),
                {p: s for s, p in rig.world.product_ids.items()},
                desired=COUNT + 50,
                tick_ms=rig.world.start_ms,
                interval_ms=rig.world.interval_ms,
                now_ms=1,
            )
            born.extend(part["run_id"].tolist())

    threads = [threading.Thread(target=grow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(born) == list(range(COUNT + 1, COUNT + 51))
    assert rig.runs.count().active == COUNT + 50
