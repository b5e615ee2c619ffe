"""Real Redis and MariaDB servers for tests: free loopback ports, data in a temp folder, stopped by
process id.
"""

import atexit
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from shared.native_servers import (
    LOOPBACK,
    MariaDbServerConfig,
    RedisServerConfig,
    ServerPreparationError,
    socket_path,
)

_START_TIMEOUT_SECS = 60.0
_STOP_TIMEOUT_SECS = 20.0
PATIENCE = 3
"""How much longer than a machine at rest a busy one may take."""
_POLL_SECS = 0.05


_handed_out: set[int] = set()


def free_port() -> int:
    """A loopback TCP port that nothing listens on now, another one at every call."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in _handed_out:
            _handed_out.add(port)
            return port


class _Server:
    """A server process that lives as long as the `with` block; `stop` and `start` may be repeated
    inside it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise RuntimeError(f"{self._name} is not running")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self._name}.log"

    def _prepare(self) -> list[str]:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait for an answer; ServerPreparationError carries the end of its log."""
        command = self._prepare()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        # A session that ends without its fixtures' teardown (an exception in a plugin, sys.exit)
        # leaves nothing.
        atexit.register(self.stop)
        try:
            wait_until(self._answers, _START_TIMEOUT_SECS, f"{self._name} to answer")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            words = self.log_path.read_text(errors="replace")[-2000:]
            raise ServerPreparationError(f"{self._name} ended at start: {words}")
        return self._is_ready()

    def stop(self) -> None:
        """Stop by SIGTERM, or SIGKILL when that takes too long. Harmless when it is down."""
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); the data folder stays."""
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RedisServer(_Server):
    """A real Redis; `durable=True` keeps an append-only file across `stop` and `start`."""

    def __init__(
        self, folder: Path, *, password: str = "test-redis", durable: bool = False
    ) -> None:
        super().__init__(folder, "redis")
        self.host = LOOPBACK
        self.port = free_port()
        self.password = password
        self.config = RedisServerConfig(folder / "data", self.port, password, durable)

    def _prepare(self) -> list[str]:
        self.config.prepare()
        return self.config.command()

    def _is_ready(self) -> bool:
        return self.config.is_ready()


class MariaDbServer(_Server):
    """A real MariaDB; its system tables are made on the first start."""

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = False,
        buffer_pool_mb: int = 64,
        redo_log_mb: int = 48,
    ) -> None:
        super().__init__(folder, "mariadb")
        self.host = LOOPBACK
        self.port = free_port()
        self.config = MariaDbServerConfig(
            folder / "data",
            self.port,
            socket_path(folder, "mariadb.sock"),
            buffer_pool_mb,
            redo_log_mb,
            durable,
        )

    def _prepare(self) -> list[str]:
        self.config.prepare()
        return self.config.command()

    def _is_ready(self) -> bool:
        return self.config.is_ready()

    def execute_sql(self, sql: str, variables: dict[str, str] | None = None) -> None:
        """Run a script as the server's administrator."""
        self.config.execute_sql(sql, variables)


def wait_until(condition: Callable[[], bool], timeout_secs: float, what: str) -> None:
    """Poll `condition` until it is true; TimeoutError names `what` was waited for.

    `timeout_secs` is what a machine at rest needs at most; a busy one gets `PATIENCE` times as
    long, because how long something takes is for benchmarks to say.
    """
    limit_secs = PATIENCE * timeout_secs
    deadline = time.monotonic() + limit_secs
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit_secs:g} s for {what}")
        time.sleep(_POLL_SECS)
