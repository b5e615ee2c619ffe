"""Redis, MariaDB and Celery workers of their own, for figures measured end to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml
from celery import Celery
from redis import Redis
from sqlalchemy import Engine, func, select

from shared.config import Secrets, Settings, load_secrets, load_settings
from shared.database import make_engine, make_redis, redis_url
from shared.native_servers import PROJECT_ROOT, prepare_schema, write_private
from shared.providence.rules import ParameterSpace
from shared.providence.run_state import Records, join
from shared.storage.redis_keys import HIGH_PRIORITY_QUEUE, LOW_PRIORITY_QUEUE
from shared.storage.run_state_store import RedisRunStateStore
from shared.storage.run_store import MariaRunStore
from shared.storage.tables import iteration_shards
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld, space
from shared.testing.servers import MariaDbServer, RedisServer

SPAWN_BATCH = 5_000
HIGH_WORKER = (HIGH_PRIORITY_QUEUE, "-P", "eventlet", "-c", "10")
LOW_WORKER = (LOW_PRIORITY_QUEUE, "-P", "prefork", "-c", "2")
LOW_WORKER_OF_ONE = (LOW_PRIORITY_QUEUE, "-P", "prefork", "-c", "1")
BOTH = (HIGH_WORKER, LOW_WORKER)
_MARIADB_MEMORY = {"buffer_pool_mb": 1024, "redo_log_mb": 512}
"""As in ``setup/docker/mariadb.cnf``."""
_START_TIMEOUT_SECS = 60.0
_STOP_TIMEOUT_SECS = 30.0


@dataclass(frozen=True)
class Worker:
    """A Celery worker with its pool processes."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it and its pool processes at once, as a lost machine would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


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
    servers: Mapping[str, int]
    """Process ids of Redis and MariaDB."""

    @property
    def runs(self) -> MariaRunStore:
        """The journal, a connection per transaction."""
        return MariaRunStore(self.engine.begin, FrozenClock())

    def send(self, task: str, *arguments: object, queue: str = HIGH_PRIORITY_QUEUE) -> None:
        """Put a task on a queue."""
        self.sender.send_task(task, args=arguments, queue=queue)

    @cached_property
    def sender(self) -> Celery:
        """A client of the broker."""
        return Celery(broker=redis_url(self.settings, self.secrets), set_as_current=False)

    def waiting(self, queue: str) -> int:
        """Messages on a queue that no worker has taken."""
        return int(self.redis.llen(queue))

    def oldest_tick(self) -> int:
        """The tick (ms) that every shard has committed."""
        with self.engine.connect() as conn:
            return int(conn.execute(select(func.min(iteration_shards.c.last_tick))).scalar_one())

    @contextmanager
    def workers(self, *pools: tuple[str, ...]) -> Iterator[list[Worker]]:
        """One worker for each pool, by default one per queue; stopped by process id at the end."""
        started = [self._start(number, *pool) for number, pool in enumerate(pools or BOTH)]
        try:
            self._wait_for_answers(started)
            yield started
        finally:
            for worker in started:
                worker.process.terminate()
            for worker in started:
                try:
                    worker.process.wait(_STOP_TIMEOUT_SECS)
                except subprocess.TimeoutExpired:
                    worker.kill()

    def _wait_for_answers(self, workers: list[Worker]) -> None:
        """RuntimeError, with the end of a log, for a worker that takes no messages."""
        deadline = time.monotonic() + _START_TIMEOUT_SECS
        while len(self.sender.control.ping(timeout=0.5)) < len(workers):
            ended = [worker for worker in workers if worker.process.poll() is not None]
            if ended or time.monotonic() > deadline:
                words = (ended or workers)[0].log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"a worker did not start: {words}")

    def _start(self, number: int, queue: str, *pool: str) -> Worker:
        command = [sys.executable, "-m", "celery", "-A", "shared.celery_app", "worker"]
        command += ["-Q", queue, "-n", f"{number}@bench", "-l", "warning", *pool]
        path = self.folder / f"worker-{number}.log"
        with path.open("wb") as log:
            # A session of its own, so that it can be killed with its pool processes.
            process = subprocess.Popen(
                command,
                env=dict(self.environ),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        return Worker(process, path)


@contextmanager
def live_platform(**overrides: object) -> Iterator[LivePlatform]:
    """Start the servers; ``overrides`` are configuration keys such as ``providence__x=1``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t3-bench-")))
        redis_server = stack.enter_context(RedisServer(folder / "redis"))
        database = stack.enter_context(
            MariaDbServer(folder / "mariadb", durable=True, **_MARIADB_MEMORY)
        )
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
        servers = {"redis": redis_server.pid, "mariadb": database.pid}
        yield LivePlatform(settings, secrets, environ, engine, client, folder, servers)


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
    while platform.oldest_tick() < tick_ms:
        if time.perf_counter() - start > timeout_secs:
            raise TimeoutError(f"not every shard reached tick {tick_ms} in {timeout_secs:g} s")
        time.sleep(0.05)
    return time.perf_counter() - start
