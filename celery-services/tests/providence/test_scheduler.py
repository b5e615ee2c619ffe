"""Which shards are sent an iteration, when, and which are held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from shared.ports import SentIteration
from shared.testing.clock import FrozenClock
from shared.testing.memory_runs import MemoryRun, MemoryRunStore, MemorySentIterations
from worker.services.scheduler import (
    Schedule,
    ScheduleResult,
    await_tick,
    schedule_iterations,
    shards_per_task,
)

TICK = 1_700_000_000_000


class Queue:
    """Remembers what was sent and when."""

    def __init__(self, clock: FrozenClock) -> None:
        self.clock = clock
        self.sent: list[tuple[int, int, int]] = []
        self.tasks: list[list[int]] = []
        self.expiries: set[float] = set()

    def __call__(self, shard_ids: Sequence[int], tick_ms: int, *, expires_secs: float) -> None:
        self.tasks.append(list(shard_ids))
        self.sent += [(shard_id, tick_ms, self.clock.now_ms()) for shard_id in shard_ids]
        self.expiries.add(expires_secs)


class Rig:
    def __init__(self, runs: int = 400, spread: float = 1.0) -> None:
        self.clock = FrozenClock(TICK + 100)
        self.runs = MemoryRunStore(self.clock)
        self.sent = MemorySentIterations()
        self.queue = Queue(self.clock)
        self.schedule = Schedule(5000, runs, 100, spread, 30.0)

    def tick(self, tick_ms: int) -> ScheduleResult:
        return schedule_iterations(
            tick_ms, self.schedule, self.runs, self.sent, self.queue, self.clock
        )

    def commit(self, shard_id: int, tick_ms: int) -> None:
        shard = self.runs.shard(shard_id)
        self.runs._shards[shard_id] = shard.__class__(
            shard_id, tick_ms, 5000, shard.version, tick_ms
        )


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.tick(TICK)
    return made


def test_missing_shards_are_made_at_the_newest_tick(rig: Rig) -> None:
    assert [(s.shard_id, s.last_tick) for s in rig.runs.shards()] == [(n, TICK) for n in range(4)]
    assert rig.queue.sent == []


@pytest.mark.parametrize(("runs", "shards"), [(0, 0), (1, 1), (100, 1), (101, 2)])
def test_shards_hold_the_desired_runs(runs: int, shards: int) -> None:
    made = Rig(runs)
    made.tick(TICK)
    assert len(made.runs.shards()) == shards


def test_shards_of_a_population_made_smaller_are_stepped_while_runs_live_in_them(
    rig: Rig,
) -> None:
    """And again when it is made larger: nothing of them is forgotten."""
    rig.runs.rows[7] = MemoryRun(run_id=7, shard_id=2, product_id=1)
    rig.schedule = replace(rig.schedule, desired_run_count=100)
    assert rig.tick(TICK + 5000).sent == 2
    assert rig.queue.tasks == [[0], [2]]
    rig.commit(0, TICK + 5000)
    rig.commit(2, TICK + 5000)
    rig.runs.rows[7].active = False
    assert rig.tick(TICK + 40_000).sent == 1
    rig.commit(0, TICK + 40_000)
    rig.schedule = replace(rig.schedule, desired_run_count=400)
    assert rig.tick(TICK + 80_000).sent == 4


def test_a_clock_set_back_by_an_hour_holds_no_shard_back(rig: Rig) -> None:
    rig.tick(TICK + 5000)
    rig.clock.advance(-3_600_000)
    assert rig.tick(TICK + 5000) == ScheduleResult(sent=4, skipped=0)
    assert rig.tick(TICK + 5000) == ScheduleResult(sent=0, skipped=4)


def test_sends_are_spaced_over_the_jitter(rig: Rig) -> None:
    start = rig.clock.now_ms()
    assert rig.tick(TICK + 5000) == ScheduleResult(sent=4, skipped=0)
    assert [(s, t) for s, t, _ in rig.queue.sent] == [(n, TICK + 5000) for n in range(4)]
    assert [at - start for _, _, at in rig.queue.sent] == [0, 250, 500, 750]
    assert rig.queue.expiries == {30.0}


@pytest.mark.parametrize(
    ("shards", "together"), [(0, 1), (1, 1), (127, 1), (128, 2), (500, 7), (1024, 16), (90_000, 16)]
)
def test_many_shards_share_a_task(shards: int, together: int) -> None:
    assert shards_per_task(shards) == together


def test_shards_that_share_a_task_are_all_sent_once_within_the_jitter() -> None:
    made = Rig(runs=50_050)
    made.tick(TICK)
    start = made.clock.now_ms()
    assert made.tick(TICK + 5000).sent == 501
    assert [s for task in made.queue.tasks for s in task] == list(range(501))
    assert [len(task) for task in made.queue.tasks] == [7] * 71 + [4]
    assert 0.9 < (made.queue.sent[-1][2] - start) / 1000 < 1.0
    assert set(made.sent.sent) == set(range(501))
    assert made.tick(TICK + 10_000) == ScheduleResult(sent=0, skipped=501)


def test_sends_never_take_longer_than_a_tick() -> None:
    made = Rig(spread=60.0)
    made.tick(TICK)
    start = made.clock.now_ms()
    made.tick(TICK + 5000)
    assert made.clock.now_ms() - start < 5000


def test_uncommitted_shards_are_held_back_and_counted(rig: Rig) -> None:
    rig.tick(TICK + 5000)
    for shard_id in (0, 2):
        rig.commit(shard_id, TICK + 5000)
    rig.queue.sent.clear()
    assert rig.tick(TICK + 10_000) == ScheduleResult(sent=2, skipped=2)
    assert [(s, t) for s, t, _ in rig.queue.sent] == [(0, TICK + 10_000), (2, TICK + 10_000)]


def test_the_same_tick_is_sent_once(rig: Rig) -> None:
    rig.tick(TICK + 5000)
    rig.queue.sent.clear()
    assert rig.tick(TICK + 5000) == ScheduleResult(sent=0, skipped=4)
    for shard_id in range(4):
        rig.commit(shard_id, TICK + 5000)
    assert rig.tick(TICK + 5000) == ScheduleResult(sent=0, skipped=0)
    assert rig.queue.sent == []


def test_lost_message_is_sent_again_after_the_bound(rig: Rig) -> None:
    rig.tick(TICK + 5000)
    rig.clock.ms = rig.sent.sent[0].sent_ms + 29_999
    assert rig.tick(TICK + 30_000).skipped == 4
    rig.clock.advance(1000)
    rig.queue.sent.clear()
    assert rig.tick(TICK + 35_000).sent == 4
    assert {t for _, t, _ in rig.queue.sent} == {TICK + 35_000}


def test_failed_iteration_is_sent_again_at_once(rig: Rig) -> None:
    rig.tick(TICK + 5000)
    rig.sent.forget([2, 77])
    rig.queue.sent.clear()
    assert rig.tick(TICK + 5000) == ScheduleResult(sent=1, skipped=3)
    assert [s for s, _, _ in rig.queue.sent] == [2]


class Sampler:
    """Commits the sample of ``tick_ms`` at ``at_ms``; counts how often it is looked for."""

    def __init__(self, clock: FrozenClock, before: int | None, tick_ms: int, at_ms: int) -> None:
        self.clock, self.before, self.tick_ms, self.at_ms = clock, before, tick_ms, at_ms
        self.looks = 0

    def __call__(self) -> int | None:
        self.looks += 1
        return self.tick_ms if self.clock.now_ms() >= self.at_ms else self.before


def test_sample_of_the_tick_is_waited_for() -> None:
    clock = FrozenClock(TICK + 2)
    sampler = Sampler(clock, TICK - 5000, TICK, TICK + 140)
    assert await_tick(sampler, 5000, clock) == TICK
    assert clock.now_ms() < TICK + 200


def test_late_sample_is_given_up_and_the_tick_before_goes_out() -> None:
    clock = FrozenClock(TICK + 2)
    sampler = Sampler(clock, TICK - 5000, TICK, TICK + 4000)
    assert await_tick(sampler, 5000, clock) == TICK - 5000
    assert TICK + 1000 < clock.now_ms() < TICK + 1100


@pytest.mark.parametrize("before", [None, TICK - 10_000])
def test_series_that_stands_still_is_not_waited_for(before: int | None) -> None:
    clock = FrozenClock(TICK + 2)
    sampler = Sampler(clock, before, TICK, TICK + 4000)
    assert await_tick(sampler, 5000, clock) == before
    assert sampler.looks == 1


def test_forgotten_queue_is_filled_again(rig: Rig) -> None:
    rig.tick(TICK + 5000)
    rig.sent.sent.clear()
    assert rig.tick(TICK + 5000).sent == 4


def test_shard_furthest_behind_goes_first(rig: Rig) -> None:
    for shard_id, behind in ((0, 5000), (1, 15_000), (2, 10_000), (3, 0)):
        rig.commit(shard_id, TICK + 15_000 - behind)
    rig.tick(TICK + 15_000)
    assert [s for s, _, _ in rig.queue.sent] == [1, 2, 0]
    assert rig.sent.sent[1] == SentIteration(TICK + 15_000, TICK + 100)
