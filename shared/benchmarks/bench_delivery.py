"""Delivery: what a killed worker costs, and what a full low-priority queue costs the other one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from shared.benchmarks.figure import Figure
from shared.benchmarks.live_platform import (
    HIGH_WORKER,
    LOW_WORKER_OF_ONE,
    LivePlatform,
    live_platform,
    settle,
    wait_for_tick,
)
from shared.storage.redis_keys import HIGH_PRIORITY_QUEUE, LOW_PRIORITY_QUEUE
from shared.testing.run_world import RunWorld

SHARDS: Final = 40
SHARD_SIZE: Final = 500
INTERVAL_SECS: Final = 5.0
KILLS: Final = 2
GIVE_UP_SECS: Final = 300.0
SATURATING_TICKS: Final = 100
PROBES: Final = 150
PROBE_SECS: Final = 0.1
"""Time between two probes."""
PROBE: Final = "update_volatility"
"""A periodic task of the high-priority queue that asks little of the database."""


def recovery_s() -> Figure:
    """From ``kill -9`` of one of two workers, with its processes, to all shards committed again.

    The platform's own delivery rules are in force, the killed worker does not come back, and the
    scheduler is called once per interval as beat would. The worst of several kills counts. Raises
    ``RuntimeError`` if no killed worker had taken an iteration.
    """
    world = RunWorld(length=100, warm=200, interval_ms=5_000, gaps=False)
    with live_platform(**_overrides()) as platform:
        settle(platform, world, SHARDS * SHARD_SIZE, SHARD_SIZE)
        ticks = iter(world.ticks)
        secs = [_recover(platform, world, ticks) for _ in range(KILLS)]
    if max(secs) < INTERVAL_SECS:
        raise RuntimeError("no iteration was lost with the killed workers")
    return Figure("recovery_s", max(secs), "s", 70.0, "lower")


def high_priority_wait_p99_s() -> Figure:
    """From sending a task to its start, while iterations fill the low-priority queue.

    Raises ``RuntimeError`` if that queue ran empty before the last task started.
    """
    world = RunWorld(length=SATURATING_TICKS, warm=200, interval_ms=5_000, gaps=False)
    with live_platform(**_overrides()) as platform:
        settle(platform, world, SHARDS * SHARD_SIZE, SHARD_SIZE)
        with platform.engine.begin() as conn:
            world.store_rows(conn, [r for r in world.rows_ if r.tick_ms > world.start_ms])
        for tick_ms in world.ticks:
            for shard_id in range(SHARDS):
                platform.send(
                    "providence_trading_iteration", [shard_id], tick_ms, queue=LOW_PRIORITY_QUEUE
                )
        with platform.workers():
            waits = _probe(platform)
            if not platform.waiting(LOW_PRIORITY_QUEUE):
                raise RuntimeError("the low-priority queue ran empty: send more iterations")
            platform.redis.delete(LOW_PRIORITY_QUEUE)
    return Figure("high_priority_wait_p99_s", float(np.quantile(waits, 0.99)), "s", 1.0, "lower")


def _overrides() -> dict[str, object]:
    return {
        "celery__schedules__providence_iteration_scheduler": INTERVAL_SECS,
        "providence__desired_run_count": SHARDS * SHARD_SIZE,
        "providence__iteration_batch_size": SHARD_SIZE,
        "providence__iteration_jitter_seconds": 0.0,
        "observability__log_level": "warning",
    }


def _recover(platform: LivePlatform, world: RunWorld, ticks: Iterator[int]) -> float:
    with platform.workers(HIGH_WORKER, LOW_WORKER_OF_ONE, LOW_WORKER_OF_ONE) as workers:
        for _ in range(2):  # a worker's first iterations warm it up
            tick_ms = next(ticks)
            _send(platform, world, tick_ms)
            wait_for_tick(platform, tick_ms)
        tick_ms = next(ticks)
        _send(platform, world, tick_ms)
        while not platform.waiting(LOW_PRIORITY_QUEUE):
            time.sleep(0.001)
        workers[-1].kill()
        return _until_committed(platform, tick_ms)


def _until_committed(platform: LivePlatform, tick_ms: int) -> float:
    killed = time.perf_counter()
    due = killed + INTERVAL_SECS
    while platform.oldest_tick() < tick_ms:
        now = time.perf_counter()
        if now > due:
            platform.send("providence_iteration_scheduler")
            due += INTERVAL_SECS
        if now > killed + GIVE_UP_SECS:
            raise TimeoutError(f"not every shard was committed within {GIVE_UP_SECS:g} s")
        time.sleep(0.02)
    return time.perf_counter() - killed


def _send(platform: LivePlatform, world: RunWorld, tick_ms: int) -> None:
    with platform.engine.begin() as conn:
        world.store_rows(conn, world.rows(world.interval_ms, tick_ms, tick_ms))
    platform.send("providence_iteration_scheduler")


def _probe(platform: LivePlatform) -> list[float]:
    """Seconds that each probe waited, by the events that workers send."""
    sent: dict[str, float] = {}
    started: dict[str, float] = {}

    def note(event: dict[str, Any]) -> None:
        started[event["uuid"]] = event["timestamp"]

    heard: list[dict[str, Any]] = []
    handlers = {"task-started": note, "*": heard.append}
    with platform.sender.connection() as connection:
        receiver = platform.sender.events.Receiver(connection, handlers=handlers)
        with receiver.consumer_context() as (events, _, _):
            # The subscription reaches Redis with the first read, and an event before it is lost.
            _listen_until(events, lambda: bool(heard), "a worker's heartbeat")
            for _ in range(PROBES):
                before = time.time()
                task = platform.sender.send_task(PROBE, queue=HIGH_PRIORITY_QUEUE)
                sent[task.id] = before
                _listen(events, PROBE_SECS)
            _listen_until(events, lambda: sent.keys() <= started.keys(), "every task's start")
    return [started[task_id] - at for task_id, at in sent.items()]


def _listen_until(connection: Any, done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + GIVE_UP_SECS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not seen within {GIVE_UP_SECS:g} s")
        _listen(connection, PROBE_SECS)


def _listen(connection: Any, secs: float) -> None:
    """Take events for ``secs`` seconds."""
    deadline = time.monotonic() + secs
    while (left := deadline - time.monotonic()) > 0.0:
        try:
            connection.drain_events(timeout=left)
        except TimeoutError:
            return
