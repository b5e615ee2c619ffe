"""Redis, MariaDB and Celery workers of their own, for figures measured end to end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from celery import Celery
from redis import Redis
from sqlalchemy import Engine

from shared.config import Secrets, Settings, load_secrets, load_settings
from shared.database import make_engine, make_redis, redis_url
from shared.native_servers import PROJECT_ROOT, prepare_schema, write_private
from shared.providence.rules import ParameterSpace
from shared.providence.run_state import Records, join
from shared.storage.redis_keys import HIGH_PRIORITY_QUEUE, LOW_PRIORITY_QUEUE
from shared.storage.run_state_store import RedisRunStateStore
from shared.storage.run_store import MariaRunStore
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld, space
from shared.testing.servers import MariaDbServer, RedisServer

SPAWN_BATCH = 5_000
POOLS = {
    HIGH_PRIORITY_QUEUE: ("-P", "eventlet", "-c", "10"),
    LOW_PRIORITY_QUEUE: ("-P", "prefork", "-c", "2"),
}
_STOP_TIMEOUT_SECS = 30.0


@dataclass(frozen=True)
class LivePlatform:
    """Running servers with an empty, migrated database; commits are flushed to disk."""

    settings: Settings
    secrets: Secrets
    environ: Mapping[str, str]
    engine: Engine
    redis: Redis
    """Raw replies."""
    folder: Path

    @property
    def runs(self) -> MariaRunStore:
        """The journal, a connection per transaction."""
        return MariaRunStore(self.engine.begin, FrozenClock())

    def send(self, task: str) -> None:
        """Put a task without arguments on the high-priority queue."""
        self._sender().send_task(task, queue=HIGH_PRIORITY_QUEUE)

    def _sender(self) -> Celery:
        return Celery(broker=redis_url(self.settings, self.secrets), set_as_current=False)

    @contextmanager
    def workers(self) -> Iterator[None]:
        """One worker per queue, stopped by process id at the end."""
        processes = []
        for queue, pool in POOLS.items():
            command = [sys.executable, "-m", "celery", "-A", "shared.celery_app", "worker"]
            command += ["-Q", queue, "-n", f"{queue}@bench", "-l", "warning", *pool]
            with (self.folder / f"{queue}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        command, env=dict(self.environ), stdout=log, stderr=log, cwd=self.folder
                    )
                )
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(_STOP_TIMEOUT_SECS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def live_platform(**overrides: object) -> Iterator[LivePlatform]:
    """Start the servers; ``overrides`` are configuration keys such as ``providence__x=1``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t3-bench-")))
        redis_server = stack.enter_context(RedisServer(folder / "redis"))
        database = stack.enter_context(MariaDbServer(folder / "mariadb", durable=True))
        passwords = {"app_password": "bench-app", "migrate_password": "bench-migrate"}
        secrets_path = folder / "secrets.yml"
        content = {"database": passwords, "redis": {"password": redis_server.password}}
        write_private(secrets_path, yaml.safe_dump(content))
        environ = {name: value for name, value in os.environ.items() if name[:2] != "T3"}
        environ |= {
            "T3_CONFIG": str(PROJECT_ROOT / "config.yml"),
            "T3_SECRETS": str(secrets_path),
            "T3__database__port": str(database.port),
            "T3__redis__port": str(redis_server.port),
            **{f"T3__{key}": str(value) for key, value in overrides.items()},
        }
        prepare_schema(database.config, environ, passwords)
        settings, secrets = load_settings(environ=environ), load_secrets(environ=environ)
        client = make_redis(settings, secrets, decode=False)
        stack.callback(client.close)
        engine = make_engine(settings, secrets)
        yield LivePlatform(settings, secrets, environ, engine, client, folder)


def busy_space() -> ParameterSpace:
    """Runs that trade often and live long, so that a steady state has work to do."""
    return space(
        windows=(16, 24, 60),
        lookbacks=(2, 3, 5),
        dead_band=(0.0, 0.0),
        max_duration_secs=(1e7, 1e7),
        max_drawdown=(1.0, 1.0),
        take_profit=(0.0, 0.0),
    )


def settle(platform: LivePlatform, world: RunWorld, count: int, shard_size: int) -> Records:
    """Give birth to ``count`` runs in full shards, with their records in Redis."""
    runs, states = platform.runs, RedisRunStateStore(platform.redis)
    runs.create_shards(range(-(-count // shard_size)), world.start_ms, world.interval_ms)
    with platform.engine.begin() as conn:
        world.store_products(conn)
        warm_rows = [row for row in world.rows_ if row.tick_ms <= world.start_ms]
        world.store_rows(conn, warm_rows)
    pattern = world.newborns(2_000, busy_space())
    symbols = {product_id: symbol for symbol, product_id in world.product_ids.items()}
    born = []
    for start in range(0, count, SPAWN_BATCH):
        places = np.arange(start, min(start + SPAWN_BATCH, count))
        part = runs.spawn(
            pattern[places % len(pattern)],
            (places // shard_size).astype(np.int32),
            symbols,
            desired=count,
            tick_ms=world.start_ms,
            interval_ms=world.interval_ms,
            now_ms=world.start_ms,
        )
        states.save(part)
        born.append(part)
    return join(born)


def wait_for_tick(platform: LivePlatform, tick_ms: int, timeout_secs: float = 300.0) -> float:
    """Wait until every shard has committed ``tick_ms``; seconds waited. TimeoutError if not."""
    start = time.perf_counter()
    runs = platform.runs
    while any(shard.last_tick < tick_ms for shard in runs.shards()):
        if time.perf_counter() - start > timeout_secs:
            raise TimeoutError(f"not every shard reached tick {tick_ms} in {timeout_secs:g} s")
        time.sleep(0.02)
    return time.perf_counter() - start
