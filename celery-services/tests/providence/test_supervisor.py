"""The population grows to its size, shrinks to it, under the caps of its symbols."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.ports import PopulationCount
from shared.providence.rules import CloneRules
from shared.providence.run_state import Records
from shared.providence.supervision import place
from shared.storage.products import Product
from shared.testing.clock import FrozenClock
from shared.testing.memory_runs import MemoryRunStateStore, MemoryRunStore
from shared.testing.run_world import RunWorld, space
from worker.services.supervisor import PopulationPlan, SupervisionResult, Supervisor

WORLD = RunWorld(length=40, warm=120)
PRODUCTS = [Product(p, s, p - 1, 3, 20, False, True) for s, p in WORLD.product_ids.items()]
CLONING = CloneRules(
    clonal_fraction=1.0,
    min_parent_age_secs=10.0,
    min_trades=1,
    mutation_scale=0.1,
    integer_step_probability=0.25,
    flip_probability=0.05,
    shrinkage=1.0,
)
PLAN = PopulationPlan(
    desired=50,
    spawn_batch=1000,
    shard_size=20,
    shard_count=3,
    interval_ms=WORLD.interval_ms,
    space=space(),
    clone_rules=replace(CLONING, clonal_fraction=0.0),
)


class Rig:
    def __init__(self, plan: PopulationPlan = PLAN) -> None:
        self.clock = FrozenClock(WORLD.start_ms)
        self.runs = MemoryRunStore(self.clock)
        self.states = MemoryRunStateStore()
        self.plan = plan

    def call(
        self, tick_ms: int = WORLD.start_ms, products: list[Product] = PRODUCTS, seed: int = 1
    ) -> SupervisionResult:
        rng = np.random.default_rng(seed)
        supervisor = Supervisor(self.plan, self.runs, self.states, WORLD, self.clock, rng)
        return supervisor.supervise(tick_ms, products)

    def records(self) -> Records:
        ids = np.array(sorted(self.states.blobs), dtype=np.int64)
        return self.states.load(ids)[0]


def test_empty_population_is_filled_with_records_and_births() -> None:
    rig = Rig()
    assert rig.call() == SupervisionResult(active=0, born=50, asked_to_exit=0)
    assert rig.runs.occupancy() == {0: 20, 1: 20, 2: 10}
    born = rig.records()
    assert len(born) == 50
    assert (born["spawn_tick"] == WORLD.start_ms).all()
    assert rig.runs.births(born["run_id"]).tobytes() == born.tobytes()
    assert len(np.unique(born["theta"])) > 25


def test_full_population_is_left_alone() -> None:
    rig = Rig()
    rig.call()
    assert rig.call() == SupervisionResult(active=50, born=0, asked_to_exit=0)


def test_one_call_is_bounded_by_its_batch() -> None:
    rig = Rig(replace(PLAN, spawn_batch=15))
    assert [rig.call().born for _ in range(5)] == [15, 15, 15, 5, 0]


def test_no_symbol_exceeds_its_share() -> None:
    rig = Rig(replace(PLAN, desired=60, space=space(max_symbol_share=0.34)))
    rig.call()
    assert max(rig.runs.symbol_counts().values()) <= 21
    assert sum(rig.runs.symbol_counts().values()) == 60


def test_nothing_is_born_without_symbols_or_samples() -> None:
    rig = Rig()
    assert rig.call(products=[]).born == 0
    assert rig.call(tick_ms=WORLD.start_ms - 115_000).born == 0


@pytest.mark.parametrize(("needed", "born"), [(100, 50), (101, 0)])
def test_thresholds_wait_for_the_samples_they_need(needed: int, born: int) -> None:
    """120 ticks hold 105 windows of 16 samples."""
    only_short = space(windows=(16,), theta_min_samples=needed + 5)
    assert Rig(replace(PLAN, space=only_short)).call().born == born


def test_more_samples_than_usual_are_read_when_asked_for() -> None:
    long = RunWorld(length=2, warm=640, gaps=False)
    plan = replace(PLAN, space=space(theta_min_samples=600))
    runs, states = MemoryRunStore(FrozenClock(long.start_ms)), MemoryRunStateStore()
    supervisor = Supervisor(
        plan, runs, states, long, FrozenClock(long.start_ms), np.random.default_rng(1)
    )
    assert supervisor.supervise(long.start_ms, PRODUCTS).born == 50


def test_smaller_number_asks_the_excess_to_exit() -> None:
    rig = Rig()
    rig.call()
    rig.plan = replace(PLAN, desired=45, shard_count=3)
    assert rig.call() == SupervisionResult(active=50, born=0, asked_to_exit=5)
    assert rig.call() == SupervisionResult(active=50, born=0, asked_to_exit=0)
    assert rig.runs.count() == PopulationCount(active=50, staying=45)
    assert rig.states.exits == dict.fromkeys([46, 47, 48, 49, 50], "shrink")


def test_larger_number_keeps_every_run() -> None:
    rig = Rig()
    rig.call()
    before = rig.records()
    rig.plan = replace(PLAN, desired=75, shard_count=4)
    assert rig.call(seed=2).born == 25
    after = rig.records()
    assert after[:50].tobytes() == before.tobytes()
    assert rig.runs.occupancy() == {0: 20, 1: 20, 2: 15, 3: 20}


def test_clones_descend_from_runs_that_earn() -> None:
    rig = Rig(replace(PLAN, clone_rules=CLONING))
    assert rig.call().born == 50
    records = rig.records()
    records["tick"] += 20_000
    records["trades"], records["wins"], records["equity"] = 4, 2, 9_000.0
    records["equity"][10] = 12_000.0
    rig.states.save(records)
    rig.plan = replace(PLAN, desired=60, clone_rules=CLONING, space=space(max_symbol_share=1.0))
    assert rig.call(tick_ms=WORLD.start_ms + 20_000).born == 10
    children = rig.records()[50:]
    assert children["parent_id"].tolist() == [11] * 10
    assert children["generation"].tolist() == [1] * 10
    assert (children["product_id"] == records["product_id"][10]).all()
    assert (children["trades"] == 0).all()
    assert (children["equity"] == children["start_balance"]).all()


@pytest.mark.parametrize(
    ("count", "occupancy", "places"),
    [
        (0, {}, []),
        (3, {}, [0, 0, 0]),
        (5, {0: 3, 1: 4, 2: 1}, [2, 2, 2, 0]),
        (9, {0: 4, 1: 9}, [2, 2, 2, 2]),
    ],
)
def test_emptiest_shards_are_filled_first(
    count: int, occupancy: dict[int, int], places: list[int]
) -> None:
    assert place(count, occupancy, 3, 4).tolist() == places
