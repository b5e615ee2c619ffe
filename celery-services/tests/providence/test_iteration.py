"""Iterations of a shard, in memory: what they do, and that doing them again changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from shared import time_budget
from shared.market_data.tick_markets import TickMarkets
from shared.providence.codes import Status
from shared.providence.run_state import Records
from shared.providence.step import Fills, Grid
from shared.testing.clock import FrozenClock
from shared.testing.memory_runs import MemoryRunStateStore, MemoryRunStore
from shared.testing.run_world import RunWorld, space
from worker.services import stepping
from worker.services.iteration import IterationService, Outcome
from worker.services.rebuild import RebuildError, verify
from worker.services.stepping import ConfigVersions, Needs, Stepper, Steppers

IDS = RunWorld(length=1).product_ids


def steppers(world: RunWorld, keep: int = 256) -> Steppers:
    configs = ConfigVersions(
        {world.version: world.config.to_json()}.__getitem__, lambda: world.product_ids
    )
    grid = Grid.of(space())
    return Steppers(lambda ms: Stepper(TickMarkets(world, ms, grid, keep), configs))


@dataclass
class Rig:
    world: RunWorld
    runs: MemoryRunStore
    states: MemoryRunStateStore
    born: Records

    @classmethod
    def make(cls, world: RunWorld, count: int = 60) -> Rig:
        clock = FrozenClock(world.start_ms)
        runs = MemoryRunStore(clock)
        runs.create_shards([0], world.start_ms, world.interval_ms)
        born = runs.spawn(
            world.newborns(count),
            np.zeros(count, dtype=np.int32),
            {p: s for s, p in world.product_ids.items()},
            desired=count,
            tick_ms=world.start_ms,
            interval_ms=world.interval_ms,
            now_ms=world.start_ms,
        )
        states = MemoryRunStateStore()
        states.save(born)
        return cls(world, runs, states, born)

    def service(self, checkpoint_every: int = 10, keep: int = 256) -> IterationService:
        return IterationService(
            self.runs,
            self.states,
            steppers(self.world, keep),
            FrozenClock(),
            interval_ms=self.world.interval_ms,
            checkpoint_every=checkpoint_every,
            worker="test",
        )

    def outcome(self) -> tuple[bytes, bytes]:
        """Every fill and every final record."""
        ids = self.born["run_id"].copy()
        final, there = self.states.load(ids)
        assert there.all()
        return self.runs.fills(ids).tobytes(), final.tobytes()


def reference(world: RunWorld, count: int = 60) -> tuple[Records, Fills]:
    """The whole series in one piece, without shards, stores or checkpoints."""
    records = world.newborns(count)
    stepper = steppers(world)[world.interval_ms]
    (frames,) = stepper.frames(Needs.of(records), world.start_ms, world.ticks[-1])
    fills, _ = stepper.advance(records, frames)
    return records, fills[np.lexsort((fills["fill_seq"], fills["run_id"]))]


@pytest.fixture(scope="module")
def world() -> RunWorld:
    return RunWorld()


@pytest.fixture(scope="module")
def expected(world: RunWorld) -> tuple[bytes, bytes]:
    records, fills = reference(world)
    assert len(fills) > 200
    assert (records["status"] == Status.COMPLETED).sum() > 5
    assert (records["status"] == Status.ACTIVE).sum() > 5
    return fills.tobytes(), records.tobytes()


def test_tick_by_tick_gives_the_reference_journal(world, expected):
    rig = Rig.make(world)
    service = rig.service()
    for tick in world.ticks:
        assert service.run(0, tick).outcome is Outcome.COMMITTED
    assert rig.outcome() == expected


def test_late_task_catches_up_through_every_tick(world, expected):
    rig = Rig.make(world)
    service = rig.service()
    for tick in world.ticks[7::11]:
        service.run(0, tick)
    result = service.run(0, world.ticks[-1])
    assert result.outcome is Outcome.COMMITTED
    assert rig.outcome() == expected


def test_without_time_a_late_task_comes_one_commit_further(world, expected, monkeypatch):
    """Ten ticks at a time, whatever it takes: every task moves on, and the journal is the same."""
    monkeypatch.setattr(stepping, "MAX_TICKS_PER_PIECE", 10)
    rig = Rig.make(world)
    came: list[int] = []
    with time_budget.within(0.0):
        while not came or came[-1] < world.ticks[-1]:
            result = rig.service().run(0, world.ticks[-1])
            assert (result.outcome, result.ticks <= 10) == (Outcome.COMMITTED, True)
            came.append(result.last_tick)
    assert came == sorted(set(came))
    assert len(came) >= len(world.ticks) // 10
    assert rig.outcome() == expected


class LookedUp:
    """A world's rows, and how often somebody looked."""

    def __init__(self, world: RunWorld) -> None:
        self.world = world
        self.looks = 0

    def rows(self, interval_ms, from_ms, to_ms):
        self.looks += 1
        return self.world.rows(interval_ms, from_ms, to_ms)

    def next_tick(self, interval_ms, after_ms):
        self.looks += 1
        return self.world.next_tick(interval_ms, after_ms)


def test_a_hole_of_a_year_costs_a_few_looks_and_ends_old_runs():
    world = RunWorld(gaps=False)
    year_ms, cut = 365 * 86_400_000, world.ticks[60]
    world.rows_ = [
        row if row.tick_ms < cut else replace(row, tick_ms=row.tick_ms + year_ms)
        for row in world.rows_
    ]
    rig = Rig.make(world)
    rows = LookedUp(world)
    versions = ConfigVersions({world.version: world.config.to_json()}.__getitem__, lambda: IDS)
    markets = TickMarkets(rows, world.interval_ms, Grid.of(space()))
    service = rig.service()
    service._steppers = Steppers(lambda ms: Stepper(markets, versions))
    service.run(0, world.ticks[59])
    rows.looks = 0
    assert service.run(0, world.ticks[-1]).last_tick == world.ticks[-1]
    assert rows.looks <= 6
    assert {row.completed_tick for row in rig.runs.rows.values()} >= {cut + year_ms}
    assert not any(row.active for row in rig.runs.rows.values())


def test_repeated_and_older_tasks_change_nothing(world, expected):
    rig = Rig.make(world)
    first, second = rig.service(), rig.service()
    for place, tick in enumerate(world.ticks):
        first.run(0, tick)
        assert second.run(0, tick).outcome is Outcome.DONE_BEFORE
        assert second.run(0, world.ticks[place // 2]).outcome is Outcome.DONE_BEFORE
    assert rig.outcome() == expected


def test_two_workers_taking_turns_agree(world, expected):
    rig = Rig.make(world)
    services = [rig.service(), rig.service(keep=4)]
    for place, tick in enumerate(world.ticks):
        services[place % 2].run(0, tick)
    assert rig.outcome() == expected


@pytest.mark.parametrize("every", [1, 10, 1000])
def test_lost_records_are_rebuilt_with_equal_pnl(world, expected, every):
    rig = Rig.make(world)
    service = rig.service(checkpoint_every=every)
    for place, tick in enumerate(world.ticks):
        if place in (30, 31, 75):
            rig.states.blobs.clear()
        if place == 50:
            for run_id in list(rig.states.blobs)[::3]:
                del rig.states.blobs[run_id]
        result = service.run(0, tick)
        if place in (30, 75):
            assert result.rebuilt > 0
    for run_id in rig.born["run_id"].tolist():
        if run_id not in rig.states.blobs:
            row = rig.runs.rows[run_id]
            rig.states.blobs[run_id] = row.checkpoints[max(row.checkpoints)]
    assert rig.outcome() == expected


def test_records_behind_the_database_are_rebuilt(world, expected):
    rig = Rig.make(world)
    service = rig.service()
    old: dict[int, bytes] = {}
    alive: list[int] = []
    for place, tick in enumerate(world.ticks):
        if place == 40:
            old = dict(rig.states.blobs)
        if place == 43:
            # Runs that have ended are not asked for again; their records stay as they are.
            alive = [run_id for run_id in old if rig.runs.rows[run_id].active]
            rig.states.blobs.update({run_id: old[run_id] for run_id in alive})
        assert service.run(0, tick).rebuilt == (len(alive) if place == 43 else 0)
    assert len(alive) > 5
    assert rig.outcome() == expected


def test_records_ahead_of_the_database_are_void(world, expected):
    rig, other = Rig.make(world), Rig.make(world)
    ahead = other.service()
    for tick in world.ticks[:60]:
        ahead.run(0, tick)
    service = rig.service()
    for place, tick in enumerate(world.ticks):
        if place == 20:
            rig.states.blobs.update(other.states.blobs)
        service.run(0, tick)
    assert rig.outcome() == expected


def test_journal_replays_to_every_checkpoint(world):
    rig = Rig.make(world)
    service = rig.service()
    for tick in world.ticks:
        service.run(0, tick)
    ids = rig.born["run_id"].copy()
    assert verify(rig.runs.checkpoints(ids, world.ticks[-1]), rig.runs) == []
    final, _ = rig.states.load(ids)
    assert verify(final, rig.runs) == []
    final["realised"][3] += 1e-9
    (wrong,) = verify(final, rig.runs)
    assert (wrong.run_id, wrong.field) == (int(final["run_id"][3]), "realised")


def test_rebuild_without_a_checkpoint_names_the_run(world):
    rig = Rig.make(world)
    rig.states.blobs.clear()
    rig.runs.rows[5].checkpoints.clear()
    with pytest.raises(RebuildError, match="runs 5 have no checkpoint"):
        rig.service().run(0, world.ticks[0])


def test_unknown_shard_is_reported(world):
    assert Rig.make(world).service().run(99, world.ticks[0]).outcome is Outcome.NO_SHARD


def test_tick_that_was_never_stored_steps_nothing(world):
    rig = Rig.make(world)
    service = rig.service()
    service.run(0, world.ticks[-1])
    assert service.run(0, world.ticks[-1] + 5000).outcome is Outcome.NO_TICK
    assert rig.runs.shard(0).last_tick == world.ticks[-1]


def test_asked_runs_exit_at_the_named_tick(world):
    rig = Rig.make(world)
    service = rig.service()
    for tick in world.ticks[:20]:
        service.run(0, tick)
    active = rig.runs.members(0).run_ids
    asked = rig.runs.request_exits(active[:5].tolist(), "drawdown_reset")
    assert asked.tolist() == active[:5].tolist()
    service.run(0, world.ticks[19 + 1])
    for run_id in asked.tolist():
        row = rig.runs.rows[run_id]
        assert not row.active
        assert row.completed_tick == world.ticks[20]
    assert rig.states.completed >= set(asked.tolist())
    assert set(rig.runs.members(0).run_ids.tolist()).isdisjoint(asked.tolist())


def test_runs_of_a_symbol_that_left_exit_cleanly():
    before, after = RunWorld(), RunWorld()
    moved = after.config.__class__(after.interval_ms, ("BTC", "ETH"), after.config.rules)
    world = before
    configs = {world.version: world.config.to_json(), "two-symbols": moved.to_json()}
    cut = world.ticks[40]
    world.rows_ = [
        row
        if row.tick_ms < cut
        else row.__class__(
            row.interval_ms, row.tick_ms, "two-symbols", row.source, row.samples, row.created_ms
        )
        for row in world.rows_
    ]
    rig = Rig.make(world)
    grid = Grid.of(space())
    versions = ConfigVersions(configs.__getitem__, lambda: world.product_ids)
    service = IterationService(
        rig.runs,
        rig.states,
        Steppers(lambda ms: Stepper(TickMarkets(world, ms, grid), versions)),
        FrozenClock(),
        interval_ms=world.interval_ms,
        checkpoint_every=10,
        worker="test",
    )
    for tick in [t for t in world.ticks if t < cut]:
        service.run(0, tick)
    sol = world.product_ids["SOL"]
    alive = [row for row in rig.runs.rows.values() if row.active and row.product_id == sol]
    assert alive
    service.run(0, cut)
    assert all(row.completed_tick == cut for row in alive)
    assert {row.exit_reason for row in alive} == {"symbol_left"}
    assert any(row.active for row in rig.runs.rows.values())


def test_checkpoints_are_staggered_by_shard():
    """Each shard writes all its runs once in ``checkpoint_every`` ticks, at a turn of its own."""
    world = RunWorld(gaps=False)
    rig = Rig.make(world)
    shards = [0, 1, 2, 13]
    rig.runs.create_shards(shards, world.start_ms, world.interval_ms)
    for run_id, row in rig.runs.rows.items():
        row.shard_id = shards[run_id % 4]
    service = rig.service(checkpoint_every=10)
    turns: dict[int, set[int]] = {shard_id: set() for shard_id in shards}
    for place, tick in enumerate(world.ticks[:30]):
        for shard_id in shards:
            service.run(shard_id, tick)
            rows = [r for r in rig.runs.rows.values() if r.active and r.shard_id == shard_id]
            written = [tick in row.checkpoints for row in rows]
            assert all(written) or not any(written)
            if all(written):
                turns[shard_id].add(place)
    assert {len(places) for places in turns.values()} == {3}
    first = {shard_id: min(places) for shard_id, places in turns.items()}
    assert [(first[shard_id] - first[0]) % 10 for shard_id in shards] == [0, 1, 2, 3]


def test_late_task_that_passes_its_turn_writes_the_checkpoints():
    world = RunWorld(gaps=False)
    rig = Rig.make(world)
    rig.service(checkpoint_every=10).run(0, world.ticks[12])
    assert all(world.ticks[12] in row.checkpoints for row in rig.runs.rows.values() if row.active)


def test_shard_sums_hold_the_living(world):
    rig = Rig.make(world)
    rig.service().run(0, world.ticks[-1])
    active = sum(int(row["active"]) for row in rig.runs.sums[0].values())
    assert active == len(rig.runs.members(0).run_ids) > 0


class TwoSeries:
    """The stored ticks of two lengths of a tick, side by side."""

    def __init__(self, *worlds: RunWorld) -> None:
        self.worlds = {world.interval_ms: world for world in worlds}

    def rows(self, interval_ms, from_ms, to_ms):
        return self.worlds[interval_ms].rows(interval_ms, from_ms, to_ms)

    def next_tick(self, interval_ms, after_ms):
        return self.worlds[interval_ms].next_tick(interval_ms, after_ms)


def test_changed_interval_starts_a_new_series_and_loses_no_run():
    slow = RunWorld(length=40, gaps=False)
    quick = RunWorld(length=900, warm=1, interval_ms=200, gaps=False, seed=8)
    # The new series reaches back before the change: ticks of the old one appear in both.
    assert quick.ticks[0] < slow.start_ms < slow.ticks[-1] < quick.ticks[-1]
    both = TwoSeries(slow, quick)
    configs = {w.version: w.config.to_json() for w in (slow, quick)}
    versions = ConfigVersions(configs.__getitem__, lambda: slow.product_ids)
    grid = Grid.of(space(max_duration_secs=(3600.0, 3600.0), max_drawdown=(0.9, 0.9)))
    steppers = Steppers(lambda ms: Stepper(TickMarkets(both, ms, grid), versions))
    after = [t for t in quick.ticks if t > slow.ticks[24]]

    def play(lose_at: tuple[int, ...]) -> tuple[bytes, bytes]:
        rig = Rig.make(slow)

        def service(interval_ms: int) -> IterationService:
            return IterationService(
                rig.runs,
                rig.states,
                steppers,
                FrozenClock(),
                interval_ms=interval_ms,
                checkpoint_every=1000,
                worker="test",
            )

        old, new = service(1000), service(200)
        plan = [(old, t) for t in slow.ticks[:25]] + [(new, t) for t in after[:200]]
        for place, (worker, tick) in enumerate(plan):
            if place in lose_at:
                rig.states.blobs.clear()
            assert worker.run(0, tick).outcome is Outcome.COMMITTED
        ids = rig.runs.members(0).run_ids
        assert rig.runs.shard(0).interval_ms == 200
        return rig.runs.fills(rig.born["run_id"].copy()).tobytes(), rig.states.load(ids)[
            0
        ].tobytes()

    undisturbed = play(())
    assert len(undisturbed[1]) > 0
    assert play((25,)) == undisturbed
    assert play((10, 26, 150)) == undisturbed
