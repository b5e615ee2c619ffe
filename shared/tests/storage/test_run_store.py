"""One contract for the journal of runs: in memory and in MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, select

from shared.ports import IterationCommit, PopulationCount, RunStore
from shared.providence.codes import Reason, Status
from shared.providence.run_state import Records, from_json, join
from shared.providence.step import FILL_DTYPE, Fills
from shared.storage import checkpoints, runs, tables
from shared.storage.run_store import MariaRunStore
from shared.storage.runs import assign_height
from shared.storage.runs import request_exits as request_exits_now
from shared.storage.transactions import KeptConnection
from shared.testing.clock import FrozenClock
from shared.testing.memory_runs import MemoryRunStore
from shared.testing.run_world import SYMBOLS, RunWorld

WORLD = RunWorld(length=0)
TICK = WORLD.start_ms
SYMBOL_NAMES = {place + 1: symbol for place, symbol in enumerate(SYMBOLS)}


@pytest.fixture(params=["memory", "mariadb", "mariadb-kept"])
def store(request: pytest.FixtureRequest) -> Iterator[RunStore]:
    clock = FrozenClock(TICK)
    if request.param == "memory":
        yield MemoryRunStore(clock)
        return
    engine: Engine = request.getfixturevalue("engine")
    if request.param == "mariadb":
        yield MariaRunStore(engine.begin, clock)
        return
    kept = KeptConnection(engine)
    yield MariaRunStore(kept.begin, clock)
    kept.close()


def spawn(
    store: RunStore, count: int, shards: list[int] | None = None, desired: int = 1000
) -> Records:
    places = np.array(shards if shards is not None else [0] * count, dtype=np.int32)
    return store.spawn(
        WORLD.newborns(count),
        places,
        SYMBOL_NAMES,
        desired=desired,
        tick_ms=TICK,
        interval_ms=1000,
        now_ms=TICK,
    )


def populated(store: RunStore, count: int = 4) -> Records:
    store.create_shards([0, 1], TICK, 1000)
    return spawn(store, count)


def fills_of(run_id: int, *sequence: int, tick: int = TICK + 1000) -> Fills:
    fills = np.zeros(len(sequence), dtype=FILL_DTYPE)
    fills["run_id"], fills["fill_seq"], fills["tick"] = run_id, sequence, tick
    fills["product_id"], fills["size"], fills["price"] = 1, -0.1 / 3, 1e5 / 7
    fills["fee"], fills["funding_index"], fills["reason"] = 1e-9 / 3, -2.5e-17, Reason.DURATION
    return fills


def commit_of(
    store: RunStore, records: Records, fills: Fills | None = None, **changes
) -> IterationCommit:
    shard = store.shard(0)
    assert shard is not None
    tick = shard.last_tick + 1000
    stepped = records.copy()
    stepped["tick"] = tick
    commit = IterationCommit(
        shard=shard,
        tick=tick,
        interval_ms=1000,
        sums={"1": {"active": 2}},
        fills=fills if fills is not None else fills_of(1),
        completed=stepped[:0],
        checkpoints=stepped[:0],
        committed_ms=TICK + 1001,
        worker="worker-1",
    )
    return replace(commit, **changes)


def test_shards_are_made_once(store: RunStore) -> None:
    store.create_shards([2, 0], TICK, 1000)
    store.create_shards([0, 1, 2], TICK + 5000, 1000)
    assert [(s.shard_id, s.last_tick) for s in store.shards()] == [
        (0, TICK),
        (1, TICK + 5000),
        (2, TICK),
    ]
    assert store.shard(7) is None


def test_born_runs_are_members_with_their_records(store: RunStore) -> None:
    born = populated(store)
    assert born["run_id"].tolist() == [1, 2, 3, 4]
    assert (born["tick"] == TICK).all()
    members = store.members(0)
    assert members.run_ids.tolist() == [1, 2, 3, 4]
    assert not members.exit_tick.any()
    assert len(store.members(1).run_ids) == 0
    assert store.births(born["run_id"]).tobytes() == born.tobytes()
    assert store.checkpoints(born["run_id"], TICK).tobytes() == born.tobytes()
    assert len(store.checkpoints(born["run_id"], TICK - 1)) == 0


def test_many_births_take_several_statements_and_are_all_there(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server refuses a packet that is too large; the transaction is one whatever their number."""
    for module in (runs, checkpoints):
        monkeypatch.setattr(module, "_ROWS_PER_INSERT", 2)
    store = MariaRunStore(engine.begin, FrozenClock())
    store.create_shards([0], TICK, 1000)
    born = spawn(store, 5)
    assert store.members(0).run_ids.tolist() == [1, 2, 3, 4, 5]
    assert store.births(born["run_id"]).tobytes() == born.tobytes()


def test_births_change_the_version_of_their_shard_only(store: RunStore) -> None:
    store.create_shards([0, 1], TICK, 1000)
    before = {s.shard_id: s.version for s in store.shards()}
    spawn(store, 2, [1, 1])
    after = {s.shard_id: s.version for s in store.shards()}
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_population_is_never_born_beyond_its_size(store: RunStore) -> None:
    store.create_shards([0], TICK, 1000)
    assert len(spawn(store, 5, desired=7)) == 5
    born = spawn(store, 5, desired=7)
    assert born["run_id"].tolist() == [6, 7]
    assert len(spawn(store, 5, desired=7)) == 0
    assert store.count() == PopulationCount(active=7, staying=7)
    assert store.occupancy() == {0: 7}
    assert sum(store.symbol_counts().values()) == 7


def test_runs_are_born_at_the_last_tick_of_their_shard(store: RunStore) -> None:
    born = populated(store)
    assert store.commit_iteration(commit_of(store, born))
    later = store.spawn(
        WORLD.newborns(2),
        np.array([0, 1], dtype=np.int32),
        SYMBOL_NAMES,
        desired=100,
        tick_ms=TICK + 9000,
        interval_ms=1000,
        now_ms=TICK,
    )
    # Shard 0 has runs and is stepped from where it is; shard 1 is empty and moves on.
    assert later["spawn_tick"].tolist() == [TICK + 1000, TICK + 9000]
    assert [s.last_tick for s in store.shards()] == [TICK + 1000, TICK + 9000]


def test_commit_writes_everything(store: RunStore) -> None:
    born = populated(store)
    ended = born[:1].copy()
    ended["tick"], ended["status"] = TICK + 1000, Status.COMPLETED
    ended["exit_reason"], ended["live_pnl"] = Reason.DURATION, 1.5
    kept = born[1:2].copy()
    kept["tick"], kept["live_pnl"], kept["theta"] = TICK + 1000, -0.1 / 3, 1 / 3
    both = join([ended, kept])
    fills = np.concatenate([fills_of(1, 1, 2), fills_of(2, 1)])
    assert store.commit_iteration(commit_of(store, born, fills, completed=ended, checkpoints=both))
    shard = store.shard(0)
    assert shard is not None
    assert (shard.last_tick, shard.committed_ms) == (TICK + 1000, TICK + 1001)
    assert store.members(0).run_ids.tolist() == [2, 3, 4]
    assert store.fills(born["run_id"]).tobytes() == fills.tobytes()
    assert store.fills(born["run_id"][1:]).tobytes() == fills[2:].tobytes()
    assert store.checkpoints(both["run_id"], TICK + 1000).tobytes() == both.tobytes()
    assert store.births(born["run_id"]).tobytes() == born.tobytes()
    assert store.count() == PopulationCount(3, 3)


def test_second_commit_from_the_same_tick_is_fenced(store: RunStore) -> None:
    born = populated(store)
    first = commit_of(store, born, fills_of(1, 1))
    second = commit_of(store, born, fills_of(2, 1), tick=TICK + 2000)
    assert store.commit_iteration(first)
    assert not store.commit_iteration(first)
    assert not store.commit_iteration(second)
    assert store.fills(born["run_id"]).tobytes() == fills_of(1, 1).tobytes()


@pytest.mark.parametrize("control", ["spawn", "exit", "exit_all"])
def test_control_fences_an_iteration_under_way(store: RunStore, control: str) -> None:
    born = populated(store)
    under_way = commit_of(store, born, fills_of(1, 1))
    if control == "spawn":
        spawn(store, 1)
    else:
        store.request_exits([3] if control == "exit" else None, "hand")
    assert not store.commit_iteration(under_way)
    assert len(store.fills(born["run_id"])) == 0
    assert store.commit_iteration(commit_of(store, born, fills_of(1, 1)))


def test_exit_is_asked_once_and_names_a_later_tick(store: RunStore) -> None:
    populated(store)
    assert store.request_exits([2, 3], "hand").tolist() == [2, 3]
    assert store.request_exits(None, "drawdown_reset").tolist() == [1, 4]
    assert store.request_exits([1], "hand").tolist() == []
    members = store.members(0)
    assert members.exit_tick.tolist() == [TICK + 1000] * 4
    assert store.count() == PopulationCount(active=4, staying=0)


def test_shrinking_asks_the_worst_and_among_equals_the_youngest(store: RunStore) -> None:
    born = populated(store, 5)
    stepped = born.copy()
    stepped["tick"], stepped["live_pnl"] = TICK + 1000, [0.0, -3.0, 5.0, 0.0, 0.0]
    assert store.commit_iteration(commit_of(store, born, checkpoints=stepped))
    assert store.shrink(4, 10, "shrink").tolist() == [2]
    assert store.shrink(4, 10, "shrink").tolist() == []
    assert sorted(store.shrink(1, 2, "shrink").tolist()) == [4, 5]
    assert store.count() == PopulationCount(active=5, staying=2)


def test_asked_reason_survives_unless_another_exit_came_first(engine: Engine) -> None:
    store = MariaRunStore(engine.begin, FrozenClock(TICK))
    born = populated(store, 3)
    request_exits_now(engine, [1, 2], "drawdown_reset")
    ended = born.copy()
    ended["tick"], ended["status"] = TICK + 1000, Status.COMPLETED
    ended["exit_reason"] = [Reason.SIGNAL, Reason.DURATION, Reason.KELLY]
    assert store.commit_iteration(commit_of(store, born, completed=ended, checkpoints=ended))
    with engine.connect() as conn:
        rows = conn.execute(select(tables.runs).order_by(tables.runs.c.id)).all()
    assert [row.exit_reason for row in rows] == ["drawdown_reset", "duration", "kelly"]
    assert [row.completed_tick for row in rows] == [TICK + 1000] * 3
    assert {row.status for row in rows} == {"completed"}


def test_live_numbers_and_json_state_follow_checkpoints(engine: Engine) -> None:
    store = MariaRunStore(engine.begin, FrozenClock(TICK))
    born = populated(store, 2)
    stepped = born.copy()
    stepped["tick"], stepped["live_pnl"], stepped["fill_seq"] = TICK + 1000, [0.1 / 3, 7], [3, 4]
    assert store.commit_iteration(commit_of(store, born, checkpoints=stepped))
    with engine.connect() as conn:
        rows = conn.execute(select(tables.runs).order_by(tables.runs.c.id)).all()
    assert [(row.live_pnl, row.fill_count) for row in rows] == [(0.1 / 3, 3), (7.0, 4)]
    assert [from_json(row.run_state).tobytes() for row in rows] == [r.tobytes() for r in stepped]
    assert [row.symbol for row in rows] == [SYMBOL_NAMES[int(p)] for p in born["product_id"]]


def test_checkpoints_between_birth_and_the_newest_are_dropped(engine: Engine) -> None:
    store = MariaRunStore(engine.begin, FrozenClock(TICK))
    records = populated(store, 2)
    for _ in range(3):
        commit = commit_of(store, records)
        records = records.copy()
        records["tick"] = commit.tick
        assert store.commit_iteration(replace(commit, checkpoints=records))
    with engine.connect() as conn:
        rows = conn.execute(select(tables.run_checkpoints.c.run_id, tables.run_checkpoints.c.tick))
        kept = sorted((row.run_id, row.tick) for row in rows)
    assert kept == [(1, TICK), (1, TICK + 3000), (2, TICK), (2, TICK + 3000)]


def test_height_is_given_once_to_runs_without_one(engine: Engine) -> None:
    store = MariaRunStore(engine.begin, FrozenClock(TICK))
    born = populated(store, 2)
    stepped = born.copy()
    stepped["tick"], stepped["live_pnl"] = TICK + 1000, [1000.0, -500.0]
    assert store.commit_iteration(commit_of(store, born, checkpoints=stepped))
    under_way = commit_of(store, born)
    assert assign_height(engine, "take_profit", account_value=123.5, now_ms=TICK) == 1
    assert not store.commit_iteration(under_way)
    spawn(store, 1)
    assert assign_height(engine, "take_profit", account_value=None) == 2
    members = store.members(0)
    assert members.height.tolist() == [1, 1, 2]
    assert members.height_tick.tolist() == [TICK + 2000] * 3
    assert not members.exit_tick.any()
    with engine.connect() as conn:
        first, second = conn.execute(select(tables.epochs).order_by(tables.epochs.c.height)).all()
    assert (first.kind, first.run_count, first.account_value) == ("take_profit", 2, 123.5)
    assert first.effective_tick == TICK + 2000
    assert first.mean_log_growth == pytest.approx((np.log(1.1) + np.log(0.95)) / 2, rel=1e-12)
    assert (second.run_count, second.mean_log_growth) == (1, 0.0)


def test_kept_connection_survives_being_closed_by_the_server(engine: Engine) -> None:
    kept = KeptConnection(engine)
    store = MariaRunStore(kept.begin, FrozenClock(TICK))
    populated(store, 1)
    with kept.begin() as conn:
        (number,) = conn.exec_driver_sql("SELECT CONNECTION_ID()").one()
    with engine.connect() as other:
        other.exec_driver_sql(f"KILL {int(number)}")
    assert store.count().active == 1
    kept.close()
