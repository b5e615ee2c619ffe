"""Sends every shard an iteration per tick, evenly spaced; none to a shard that still has one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from shared.config import Settings
from shared.ports import Clock, IterationSender, RunStore, SentIteration, SentIterations

# Waiting for less than this costs more than it spreads.
_SHORTEST_WAIT_SECS = 0.01
_SAMPLE_WAIT_MS = 1_000
_SAMPLE_POLL_SECS = 0.03
# A message costs Celery about as much as half a shard: few shards go alone, many go in groups.
_TASKS_PER_TICK = 64
_MAX_SHARDS_PER_TASK = 16


@dataclass(frozen=True, slots=True)
class Schedule:
    """How iterations are sent.

    ``spread_secs``: one tick's sends are spaced over this time. ``resend_after_secs``: an iteration
    that is not committed by then counts as lost; its message expires at the same time, so that a
    shard never has two on the queue.
    """

    interval_ms: int
    desired_run_count: int
    shard_size: int
    spread_secs: float
    resend_after_secs: float

    @classmethod
    def of(cls, settings: Settings) -> Schedule:
        """What ``config.yml`` says."""
        providence = settings.providence
        return cls(
            settings.interval_ms,
            providence.desired_run_count,
            providence.iteration_batch_size,
            providence.iteration_jitter_seconds,
            providence.resend_after_secs,
        )

    @property
    def shard_count(self) -> int:
        """Shards that hold the desired population."""
        return math.ceil(self.desired_run_count / self.shard_size)


@dataclass(frozen=True, slots=True)
class ScheduleResult:
    """Shards that were sent an iteration, and shards held back because theirs is not committed."""

    sent: int
    skipped: int


def await_tick(read: Callable[[], int | None], interval_ms: int, clock: Clock) -> int | None:
    """The newest committed tick: the one that has just passed, if its sample comes soon.

    The scheduler runs at the tick itself, a moment before the sampler commits. A series that was
    not sampled at the tick before is not waited for. None for a series without ticks.
    """
    now_ms = clock.now_ms()
    current = now_ms - now_ms % interval_ms
    give_up_ms = now_ms + min(_SAMPLE_WAIT_MS, interval_ms // 2)
    newest = read()
    while newest == current - interval_ms and clock.now_ms() < give_up_ms:
        clock.sleep(_SAMPLE_POLL_SECS)
        newest = read()
    return newest


def shards_per_task(shards: int) -> int:
    """How many of ``shards`` that are due at a tick go in one message, 1 or more.

    One each until there are enough messages for every process of a large deployment.
    """
    return min(max(shards // _TASKS_PER_TICK, 1), _MAX_SHARDS_PER_TASK)


def schedule_iterations(
    tick_ms: int,
    schedule: Schedule,
    runs: RunStore,
    sent: SentIterations,
    send: IterationSender,
    clock: Clock,
) -> ScheduleResult:
    """Send (shard, ``tick_ms``) for every shard that has neither stepped nor been sent it.

    ``tick_ms`` is the newest committed tick. A shard that is held back loses no sample: its next
    iteration steps through every tick since its last. Missing shards are made first; those that the
    population needs no more are sent one for as long as a run lives in them.
    """
    shards = runs.shards()
    missing = set(range(schedule.shard_count)) - {shard.shard_id for shard in shards}
    if missing:
        runs.create_shards(missing, tick_ms, schedule.interval_ms)
    surplus = {s.shard_id for s in shards if s.shard_id >= schedule.shard_count}
    deserted = surplus - runs.occupancy(surplus).keys() if surplus else surplus
    outstanding = sent.read()
    now_ms = clock.now_ms()
    due, skipped = [], 0
    for shard in sorted(shards, key=lambda shard: (shard.last_tick, shard.shard_id)):
        if shard.last_tick >= tick_ms or shard.shard_id in deserted:
            continue
        last = outstanding.get(shard.shard_id)
        waits = last is not None and last.tick_ms > shard.last_tick
        # A sending in the future is one from before the clock was set back.
        if waits and last and abs(now_ms - last.sent_ms) < schedule.resend_after_secs * 1000:
            skipped += 1
        else:
            due.append(shard.shard_id)
    _send_spaced(due, tick_ms, schedule, sent, send, clock)
    return ScheduleResult(len(due), skipped)


def _send_spaced(
    shard_ids: list[int],
    tick_ms: int,
    schedule: Schedule,
    sent: SentIterations,
    send: IterationSender,
    clock: Clock,
) -> None:
    """The scheduler waits itself: a message with a countdown would hide from the queue's length."""
    start_ms = clock.now_ms()
    spread_secs = min(schedule.spread_secs, schedule.interval_ms / 1000)
    pending: list[int] = []
    size = shards_per_task(len(shard_ids))
    for place in range(0, len(shard_ids), size):
        wait_secs = spread_secs * place / len(shard_ids) - (clock.now_ms() - start_ms) / 1000
        if wait_secs >= _SHORTEST_WAIT_SECS:
            sent.record(pending, SentIteration(tick_ms, clock.now_ms()))
            pending = []
            clock.sleep(wait_secs)
        group = shard_ids[place : place + size]
        send(group, tick_ms, expires_secs=schedule.resend_after_secs)
        pending += group
    sent.record(pending, SentIteration(tick_ms, clock.now_ms()))
