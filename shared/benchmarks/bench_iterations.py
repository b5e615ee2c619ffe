"""Live iterations end to end, memory per run in Redis, and the rebuild of an empty Redis.

``T3_BENCH_RUNS`` and ``T3_BENCH_TICKS`` make a smaller figure; the goals are for the full size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from shared.benchmarks.figure import Figure
from shared.benchmarks.live_platform import LivePlatform, live_platform, settle
from shared.benchmarks.process_cpu import cpu_secs
from shared.opentelemetry_config import setup
from shared.providence.run_state import Records
from shared.storage.run_state_store import RedisRunStateStore
from shared.testing.run_world import RULES, RunWorld

if TYPE_CHECKING:
    from worker.wiring import Wiring

RUNS: Final = int(os.environ.get("T3_BENCH_RUNS", "250000"))
TICKS: Final = int(os.environ.get("T3_BENCH_TICKS", "60"))
SHARD_SIZE: Final = 500
INTERVAL_MS: Final = 5_000
WARM_TICKS: Final = 3
SINGLE_RUNS: Final = 1_000
SINGLE_TICKS: Final = 5
MIN_FILL_SHARE: Final = 0.05
CHECKED_SHARDS: Final = 4
SYMBOLS: Final = tuple(f"SYM{number:02d}" for number in range(20))
REBUILT_RUNS: Final = min(100_000, RUNS)
ENDLESS: Final = replace(RULES, judge_after_trades=1_000_000)
Span: TypeAlias = tuple[float, float]
"""Seconds at which a tick's sample was committed, and its last shard."""
FILLS_PER_RUN: Final = 20
"""Fills each run has on average before Redis is emptied."""


def iterations_per_s() -> list[Figure]:
    """A tick every five seconds through scheduler, queue, two workers, Redis, fence and MariaDB.

    The first ticks, in which workers warm up, do not count. A tick's time runs from the commit of
    its sample to the commit of its last shard. A tick that takes longer than the interval holds
    shards of the next one back: that one counts as skipped. The peer is the same platform with one
    run per shard.

    Raises ``RuntimeError`` if fewer than 5 % of the runs trade per tick, or if the journal of any
    checked shard differs from stepping the same runs in memory.
    """
    alone = _single_runs_per_s()
    world = RunWorld(
        length=WARM_TICKS + TICKS,
        warm=200,
        interval_ms=INTERVAL_MS,
        gaps=False,
        symbols=SYMBOLS,
        rules=ENDLESS,
    )
    with live_platform(**_overrides(world, RUNS, SHARD_SIZE)) as platform:
        before = _used_memory(platform)
        born = settle(platform, world, RUNS, SHARD_SIZE)
        bytes_per_run = (_used_memory(platform) - before) / RUNS
        with platform.workers() as workers:
            _play(platform, world, world.ticks[:WARM_TICKS])
            pids = {**platform.servers, "scheduler": workers[0].process.pid}
            pids["workers"] = workers[1].process.pid
            used = cpu_secs(pids)
            spans = _play(platform, world, world.ticks[WARM_TICKS:])
            used = {name: secs - used[name] for name, secs in cpu_secs(pids).items()}
        _check_journal(platform, world, born)
    millions = RUNS * len(spans) / 1e6
    rate = millions * 1e6 / _busy_secs(spans)
    lags = [end - start for start, end in spans]
    skipped = sum(lag > INTERVAL_MS / 1000 for lag in lags)
    return [
        Figure(
            "iterations_per_s",
            rate,
            "1/s",
            50_000,
            peer="one run per shard",
            peer_value=alone,
        ),
        Figure("iterations_per_s_single_runs", alone, "1/s"),
        Figure("tick_lag_p99_s", float(np.quantile(lags, 0.99)), "s", 5.0, "lower"),
        Figure("skipped_ticks", skipped, "ticks", 0, "lower"),
        Figure("redis_bytes_per_run", bytes_per_run, "B", 700, "lower"),
        Figure("iterations_cpu_s_per_million", sum(used.values()) / millions, "s", better="lower"),
        *(
            Figure(f"iterations_cpu_s_per_million_{name}", secs / millions, "s", better="lower")
            for name, secs in used.items()
        ),
    ]


def _single_runs_per_s() -> float:
    """One run per shard, tick after tick."""
    world = RunWorld(length=WARM_TICKS + SINGLE_TICKS, warm=200, gaps=False, rules=ENDLESS)
    with live_platform(**_overrides(world, SINGLE_RUNS, 1)) as platform:
        born = settle(platform, world, SINGLE_RUNS, 1)
        with platform.workers():
            _play(platform, world, world.ticks[:WARM_TICKS], pace_secs=0.0)
            spans = _play(platform, world, world.ticks[WARM_TICKS:], pace_secs=0.0)
        _check_journal(platform, world, born)
    return SINGLE_RUNS * len(spans) / _busy_secs(spans)


def _overrides(world: RunWorld, runs: int, shard_size: int) -> dict[str, object]:
    return {
        "celery__schedules__providence_iteration_scheduler": world.interval_ms / 1000,
        "providence__desired_run_count": runs,
        "providence__iteration_batch_size": shard_size,
        "providence__iteration_jitter_seconds": 0.0,
        "providence__resend_after_secs": 300.0,
        "providence__db_checkpoint_iterations": 60,
        "observability__log_level": "warning",
    }


def rebuild_100k_s() -> Figure:
    """An empty Redis filled again from checkpoints and ticks, by one process."""
    length = round(FILLS_PER_RUN / MIN_FILL_SHARE / 1.4) + 31
    world = RunWorld(length=length, warm=200, gaps=False, symbols=SYMBOLS, rules=ENDLESS)
    with live_platform(
        celery__schedules__providence_iteration_scheduler=world.interval_ms / 1000,
        providence__db_checkpoint_iterations=60,
        observability__log_level="warning",
    ) as platform:
        setup("bench", platform.settings.observability)
        born = settle(platform, world, REBUILT_RUNS, SHARD_SIZE)
        with platform.engine.begin() as conn:
            world.store_rows(conn, [r for r in world.rows_ if r.tick_ms > world.start_ms])
        shards = [shard.shard_id for shard in platform.runs.shards()]
        lived = _wiring(platform)
        for tick in (world.ticks[-32], world.ticks[-2]):
            for shard_id in shards:
                lived.iterations.run(shard_id, tick)
        expected = RedisRunStateStore(platform.redis).load(born["run_id"][:SHARD_SIZE])[0]
        if expected["fill_seq"].mean() < FILLS_PER_RUN:
            raise RuntimeError(f"runs have {expected['fill_seq'].mean():.1f} fills only")
        platform.redis.flushall()
        lived.close()
        fresh = _wiring(platform)
        start = time.perf_counter()
        rebuilt = sum(
            fresh.iterations.run(shard_id, world.ticks[-1]).rebuilt for shard_id in shards
        )
        seconds = time.perf_counter() - start
        fresh.close()
    if rebuilt != REBUILT_RUNS:
        raise RuntimeError(f"{rebuilt} runs were rebuilt, expected {REBUILT_RUNS}")
    return Figure("rebuild_100k_s", seconds * 100_000 / REBUILT_RUNS, "s", 20.0, "lower")


def _play(
    platform: LivePlatform,
    world: RunWorld,
    ticks: Sequence[int],
    pace_secs: float = INTERVAL_MS / 1000,
) -> list[Span]:
    """Commit the samples one by one and have each iterated; when each tick came and was done.

    The next sample comes ``pace_secs`` after the last, done or not, as a market would send it; with
    0 it comes when the last is done.
    """
    spans: list[Span] = []
    due: dict[int, float] = {}
    start = time.perf_counter()
    for place, tick_ms in enumerate(ticks):
        next_secs = start + place * pace_secs
        while place and (time.perf_counter() < next_secs or (due and not pace_secs)):
            spans += _done(platform, due)
            time.sleep(0.02)
        with platform.engine.begin() as conn:
            world.store_rows(conn, world.rows(world.interval_ms, tick_ms, tick_ms))
        due[tick_ms] = time.perf_counter()
        platform.send("providence_iteration_scheduler")
    called = time.perf_counter()
    while due:
        # Shards that were held back wait for the next call of the scheduler.
        if time.perf_counter() > called + INTERVAL_MS / 1000:
            platform.send("providence_iteration_scheduler")
            called = time.perf_counter()
        spans += _done(platform, due)
        time.sleep(0.02)
    return spans


def _done(platform: LivePlatform, due: dict[int, float]) -> list[Span]:
    """The ticks among ``due`` that every shard has just committed."""
    if not due:
        return []
    oldest, now = platform.oldest_tick(), time.perf_counter()
    return [(due.pop(tick), now) for tick in sorted(due) if tick <= oldest]


def _busy_secs(spans: list[Span]) -> float:
    """Time in which at least one tick was under way."""
    busy, until = 0.0, 0.0
    for start, end in spans:
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    return busy


def _check_journal(platform: LivePlatform, world: RunWorld, born: Records) -> None:
    from worker import wiring
    from worker.services.stepping import Needs

    stepper = wiring.steppers(platform.engine.begin, platform.settings)[world.interval_ms]
    share = []
    size = min(SHARD_SIZE, len(born))
    for start in np.linspace(0, len(born) - size, CHECKED_SHARDS).astype(int).tolist():
        records = born[start : start + size].copy()
        pieces = stepper.frames(Needs.of(records), world.start_ms, world.ticks[-1])
        fills = np.concatenate([stepper.advance(records, frames)[0] for frames in pieces])
        fills = fills[np.lexsort((fills["fill_seq"], fills["run_id"]))]
        if platform.runs.fills(records["run_id"]).tobytes() != fills.tobytes():
            raise RuntimeError(f"journal of runs from {start} on differs from the reference")
        share.append(len(fills) / len(records) / len(world.ticks))
    if min(share) < MIN_FILL_SHARE:
        raise RuntimeError(f"only {min(share):.1%} of the runs trade per tick")


def _wiring(platform: LivePlatform) -> Wiring:
    from worker import wiring

    return wiring.build(platform.settings, platform.secrets)


def _used_memory(platform: LivePlatform) -> int:
    return int(platform.redis.info("memory")["used_memory"])
