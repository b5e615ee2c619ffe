"""Supervisor, scheduler and iterations through real Celery workers, killed and all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from sqlalchemy import Engine

from shared.config import Secrets, Settings
from shared.database import redis_url
from shared.metrics_server import FOLDER_VARIABLE
from shared.storage import redis_keys
from shared.storage.run_store import MariaRunStore
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld
from shared.testing.servers import wait_until
from worker.services.rebuild import verify

RUNS, SHARDS, WARM = 40, 2, 260
POOLS = {
    redis_keys.HIGH_PRIORITY_QUEUE: ["-P", "eventlet", "-c", "10"],
    redis_keys.LOW_PRIORITY_QUEUE: ["-P", "prefork", "-c", "2"],
}


@pytest.fixture
def workers(
    engine: Engine, redis_client: Redis, service_environ: Mapping[str, str], tmp_path: Path
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A worker for each of the two queues, with a small fast population."""
    environ = {
        **service_environ,
        "T3__celery__schedules__providence_iteration_scheduler": "1.0",
        "T3__providence__desired_run_count": str(RUNS),
        "T3__providence__iteration_batch_size": str(RUNS // SHARDS),
        "T3__providence__iteration_jitter_seconds": "0.1",
        "T3__providence__resend_after_secs": "2.0",
        "T3__providence__db_checkpoint_iterations": "3",
        "NUMBA_NUM_THREADS": "1",
    }
    environ |= {
        "T3__observability__metrics_port": "0",
        "T3__observability__metrics_targets": str(tmp_path / "targets"),
    }
    pool_metrics = tmp_path / "pool"
    pool_metrics.mkdir()
    started = {}
    for queue, pool in POOLS.items():
        own = {"OTEL_SERVICE_NAME": queue}
        if "prefork" in pool:
            own[FOLDER_VARIABLE] = str(pool_metrics)
        command = [sys.executable, "-m", "celery", "-A", "shared.celery_app", "worker"]
        command += ["-Q", queue, "-n", f"{queue}@test", "--without-mingle", *pool]
        with (tmp_path / f"{queue}.log").open("wb") as log:
            started[queue] = subprocess.Popen(
                command, env=environ | own, stdout=log, stderr=log, cwd=tmp_path
            )
    yield started
    for process in started.values():
        process.terminate()
    for queue, process in started.items():
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        print((tmp_path / f"{queue}.log").read_text()[-4000:])  # noqa: T201  shown on failure


def scraped(folder: Path, service: str) -> dict[str, float]:
    """Samples of a worker's metrics by name and labels."""
    (entry,) = json.loads((folder / "targets" / f"{service}.json").read_text(encoding="utf-8"))
    text = requests.get(f"http://{entry['targets'][0]}/metrics", timeout=10).text
    return {
        sample.name + "".join(sorted(f" {k}={v}" for k, v in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in tasks.split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_population_is_born_and_stepped_through_real_workers(
    workers: dict[str, subprocess.Popen[bytes]],
    engine: Engine,
    redis_client: Redis,
    settings: Settings,
    secrets: Secrets,
    tmp_path: Path,
) -> None:
    world = RunWorld(length=14, warm=WARM, gaps=False)
    runs = MariaRunStore(engine.begin, FrozenClock())
    with engine.begin() as conn:
        world.store_products(conn)
        world.store_rows(conn, world.rows_[:WARM])
    sender = Celery(broker=redis_url(settings, secrets))

    def send(task: str) -> None:
        sender.send_task(task, queue=redis_keys.HIGH_PRIORITY_QUEUE)

    def all_at(tick_ms: int) -> bool:
        shards = runs.shards()
        return len(shards) == SHARDS and {s.last_tick for s in shards} == {tick_ms}

    send("providence_supervisor")
    wait_until(lambda: runs.count().active == RUNS, 90, "the population to be born")
    for place, row in enumerate(world.rows_[WARM:]):
        if place == 5:
            redis_client.flushdb()
        if place == 9:
            for child in children(workers[redis_keys.LOW_PRIORITY_QUEUE].pid):
                os.kill(child, signal.SIGKILL)
        with engine.begin() as conn:
            world.store_rows(conn, [row])
        wanted = row.tick_ms

        def stepped(wanted: int = wanted) -> bool:
            send("providence_iteration_scheduler")
            return all_at(wanted)

        wait_until(stepped, 60, f"every shard to reach tick {place}")
    low = scraped(tmp_path, redis_keys.LOW_PRIORITY_QUEUE)
    # What a killed process had counted is still there; it may have died before it counted its last.
    assert low["t3_iterations_total"] >= RUNS * (len(world.rows_) - WARM - 1)
    assert low["t3_task_wait_seconds_count queue=low_priority"] > 0
    assert low["t3_task_seconds_count outcome=ok task=providence_trading_iteration"] > 0
    high = scraped(tmp_path, redis_keys.HIGH_PRIORITY_QUEUE)
    assert high["t3_task_seconds_count outcome=ok task=providence_supervisor"] == 1
    assert high["process_resident_memory_bytes"] > 0
    ids = runs.members(0).run_ids
    assert len(ids) > 0
    newest = runs.checkpoints(ids, world.ticks[-1])
    assert (newest["tick"] > world.start_ms).all()
    assert verify(newest, runs) == []
    assert redis_client.exists(redis_keys.run_state(int(ids[0])))
    wait_until(
        lambda: redis_client.llen(redis_keys.LOW_PRIORITY_QUEUE) == 0, 30, "the queue to empty"
    )
