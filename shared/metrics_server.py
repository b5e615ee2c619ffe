"""Serves a process's metrics at ``/metrics``, and tells Prometheus where.

One process, one address: `observability.metrics_port`, or a free port that is written into the
folder `observability.metrics_targets`, from which Prometheus reads where to go (``file_sd``).

The processes of a prefork pool keep their counts in files under ``PROMETHEUS_MULTIPROC_DIR``; their
parent serves the sum. What processes of the past left there is removed at start, and a gauge that
tells of a living process ends with it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from shared import instruments
from shared.config_sections import ObservabilitySettings
from shared.native_servers import write_private

log = structlog.get_logger(__name__)

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_FILE = re.compile(r"_(\d+)\.db$")


@dataclass
class MetricsServer:
    """A running endpoint; ``target`` is the file that names it, if there is one."""

    server: WSGIServer
    thread: Thread
    target: Path | None
    pid: int

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])

    def leave_to_parent(self) -> None:
        """In a process that was forked: let go of the parent's socket."""
        self.server.server_close()

    def close(self) -> None:
        """Stop serving, and take the address back."""
        if self.pid != os.getpid():
            return
        self.server.shutdown()
        self.server.server_close()
        if self.target is not None:
            self.target.unlink(missing_ok=True)


def serve(service: str, mode: str, settings: ObservabilitySettings) -> MetricsServer | None:
    """Serve this process's metrics; None where `metrics_port` asks for none.

    Raises ``OSError``, with one sentence, when the port cannot be had.
    """
    instruments.set_build_info(service, mode)
    if settings.metrics_port is None:
        return None
    folder = os.environ.get(FOLDER_VARIABLE)
    registry = REGISTRY if folder is None else shared_registry(Path(folder))
    try:
        server, thread = start_http_server(
            settings.metrics_port, addr=settings.metrics_host, registry=registry
        )
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = "is in use" if in_use else f"cannot be served ({error.strerror})"
        raise OSError(f"observability.metrics_port: {settings.metrics_port} {why}") from error
    endpoint = MetricsServer(server, thread, None, os.getpid())
    if settings.metrics_targets:
        address = f"{settings.metrics_host}:{endpoint.port}"
        endpoint.target = write_target(Path(settings.metrics_targets), service, address)
    log.info("metrics_served", port=endpoint.port)
    return endpoint


def write_target(folder: Path, service: str, address: str) -> Path:
    """Tell Prometheus of an address; a later process of the same service replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{service}.json"
    write_private(file, json.dumps([{"targets": [address], "labels": {"job": service}}]) + "\n")
    return file


def shared_registry(folder: Path) -> CollectorRegistry:
    """What all processes of a pool have counted, and the parent's own CPU and memory."""
    registry = CollectorRegistry()
    registry.register(_Pool(folder))
    ProcessCollector(registry=registry)
    return registry


class _Pool(Collector):
    """Sums the files of a pool's processes, without the gauges of those that have died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> list[Metric]:
        forget_dead(self._folder)
        found: Any = self._files.collect()  # type: ignore[no-untyped-call]
        return list(found)


def forget_dead(folder: Path) -> None:
    """Remove gauges that tell of living processes and whose process is gone, however it ended."""
    for pid in {_pid(file) for file in folder.glob("gauge_live*.db")}:
        if not _is_alive(pid):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def clear_folder() -> None:
    """Remove what an earlier pool left; to be called before the first process is forked."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return
    for file in Path(folder).glob("*.db"):
        if _pid(file) != os.getpid():
            file.unlink(missing_ok=True)


def _pid(file: Path) -> int:
    match = _FILE.search(file.name)
    return int(match[1]) if match else 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
