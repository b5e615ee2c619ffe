"""Redis, MariaDB and research workers of this checkout's own, for a search without a platform.

They live as long as the command: when it ends, even by ``kill -9``, they end too. The trials stay
in ``.local/research``, and the same command goes on with them.
"""

from __future__ import annotations

import fcntl
import os
import secrets as random_secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import yaml

from shared.config import Secrets, Settings, load_secrets, load_settings
from shared.native_servers import (
    LOOPBACK,
    PROJECT_ROOT,
    MariaDbServerConfig,
    RedisServerConfig,
    ServerMissingError,
    ServerPreparationError,
    socket_path,
    write_private,
)
from shared.research.errors import ResearchError
from shared.tethered import Tethered

HOME: Final = PROJECT_ROOT / ".local" / "research"
OVERRIDES: Final[Mapping[str, str]] = {"T3__redis__port": "16479", "T3__database__port": "13406"}
"""What differs from ``config.yml``; the caller's own T3__… variables win."""
READY_SECS: Final = 60.0
WORKER_PATIENCE_SECS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Connected:
    """Settings and secrets with which the servers are found."""

    settings: Settings
    secrets: Secrets
    environ: Mapping[str, str]
    check: Callable[[], None] = lambda: None
    """Raises ``ResearchError`` where something that the search started for itself has ended."""


class LocalPlatform:
    """``with LocalPlatform(…) as connected:`` servers and ``workers`` worker processes run."""

    def __init__(
        self, environ: Mapping[str, str], config: Path, workers: int, home: Path = HOME
    ) -> None:
        self._home = home
        self._workers = workers
        self._environ = {
            **OVERRIDES,
            **environ,
            "T3_CONFIG": str(config.resolve()),
            "T3_SECRETS": str(home / "secrets.yml"),
            "NUMBA_CACHE_DIR": environ.get("NUMBA_CACHE_DIR", str(home.parent / "numba")),
            "OTEL_SERVICE_NAME": "celery_worker_research",
            "OMP_NUM_THREADS": "1",
        }
        self._running: list[Tethered] = []
        self._lock: IO[str] | None = None

    def __enter__(self) -> Connected:
        try:
            return self._start()
        except (ServerMissingError, ServerPreparationError) as error:
            self.stop()
            raise ResearchError(str(error)) from None
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> Connected:
        self._take_lock()
        self._keep_secrets()
        settings = load_settings(environ=self._environ)
        secrets = load_secrets(environ=self._environ)
        redis = RedisServerConfig(
            self._home / "redis",
            settings.redis.port,
            secrets.redis.password.get_secret_value(),
            durable=False,  # what waits is in MariaDB, and is sent again
        )
        mariadb = MariaDbServerConfig(
            self._home / "mariadb",
            settings.database.port,
            socket_path(self._home, "mariadb.sock"),
        )
        for port, key in ((settings.redis.port, "redis"), (settings.database.port, "database")):
            self._wait_until_free(port, key)
        redis.prepare()
        mariadb.prepare()
        self._run("redis", redis.command(), redis.is_ready)
        self._run("mariadb", mariadb.command(), mariadb.is_ready)
        script = (PROJECT_ROOT / "database" / "research.sql").read_text(encoding="utf-8")
        password = secrets.database.research_password.get_secret_value()
        mariadb.execute_sql(script, {"research_password": password})
        self._start_worker()
        return Connected(settings, secrets, self._environ, self._check)

    def _start_worker(self) -> None:
        command = [
            *("nice", "-n", "5", sys.executable, "-m", "celery", "-A", "shared.celery_app"),
            *("worker", "--queues=research", "--pool=prefork", "--hostname=research@%h"),
            *(f"--concurrency={self._workers}", "--without-mingle", "--without-gossip"),
        ]
        self._running.append(
            Tethered(
                command,
                self._home / "logs" / "worker.log",
                environ=self._environ,
                patience_secs=WORKER_PATIENCE_SECS,
            )
        )

    def _check(self) -> None:
        for process in self._running:
            if not process.is_alive():
                raise ResearchError(
                    f"the {process.log.stem} of this search has ended; see {process.log}, "
                    "then give the same command again: it goes on where it was"
                )

    def stop(self) -> None:
        """Workers first, then what they need."""
        while self._running:
            self._running.pop().stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        self._lock = (self._home / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResearchError(
                f"another optimisation uses {self._home}; wait for its end, or stop it with Ctrl-C"
            ) from None

    def _keep_secrets(self) -> None:
        path = self._home / "secrets.yml"
        if not path.exists():
            drawn = {
                "database": {"research_password": random_secrets.token_urlsafe(24)},
                "redis": {"password": random_secrets.token_urlsafe(24)},
            }
            write_private(path, yaml.safe_dump(drawn))

    def _run(self, name: str, command: list[str], is_ready: Callable[[], bool]) -> None:
        process = Tethered(command, self._home / "logs" / f"{name}.log", environ=os.environ)
        self._running.append(process)
        deadline = time.monotonic() + READY_SECS
        while not is_ready():
            if not process.is_alive() or time.monotonic() > deadline:
                words = process.log.read_text(errors="replace").strip()[-500:]
                raise ResearchError(f"{name} did not start; see {process.log}: {words}")
            time.sleep(0.1)

    def _wait_until_free(self, port: int, key: str) -> None:
        """A command that was killed a moment ago may still be taking its servers down."""
        deadline = time.monotonic() + WORKER_PATIENCE_SECS + 20.0
        while _answers(port):
            if time.monotonic() > deadline:
                raise ResearchError(
                    f"port {port} is in use by another program; set T3__{key}__port to a free one"
                )
            time.sleep(0.2)


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def default_workers() -> int:
    """A worker per processor that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
