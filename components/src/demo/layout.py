"""Where the demo keeps what, which ports it uses, and the settings its processes share."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shared.config import ConfigError, Settings, load_settings
from shared.native_servers import PROJECT_ROOT, MariaDbServerConfig, RedisServerConfig, socket_path

if TYPE_CHECKING:
    from demo.web import WebPages

OVERRIDES: Mapping[str, str] = {
    "T3__redis__port": "16379",
    "T3__database__port": "13306",
    "T3__celery__schedules__providence_iteration_scheduler": "1.0",
    "T3__celery__schedules__providence_supervisor": "2.0",
    "T3__celery__schedules__update_balance": "2.0",
    "T3__order_gateway__fills_interval_secs": "20.0",
    "T3__providence__iteration_jitter_seconds": "0.2",
    "T3__reconciliation_engine__rebalance_frequency": "5.0",
    "T3__price_sampler__warm_history": "true",
    "T3__observability__metrics_port": "0",
    "T3__observability__state_interval_secs": "2.0",
}
"""What a demo does differently from ``config.yml``; the caller's own T3__… variables win."""


@dataclass(frozen=True)
class DemoPaths:
    """Files of one demo; ``home`` is ``.local/demo`` except in tests."""

    home: Path

    @property
    def lock(self) -> Path:
        """Held by the one demo that may use ``home``."""
        return self.home / "lock"

    @property
    def processes(self) -> Path:
        """Who was started: process ids and start times."""
        return self.home / "processes.json"

    @property
    def credentials(self) -> Path:
        """Everything secret, drawn once; the files below are cut from it."""
        return self.home / "credentials.json"

    @property
    def service_secrets(self) -> Path:
        """T3_SECRETS of every service but the gateway: no private key in it."""
        return self.home / "secrets.yml"

    @property
    def gateway_secrets(self) -> Path:
        """T3_SECRETS of the order gateway."""
        return self.home / "secrets.gateway.yml"

    @property
    def migrate_secrets(self) -> Path:
        """T3_SECRETS of Alembic: the schema owner's password."""
        return self.home / "secrets.migrate.yml"

    @property
    def research_secrets(self) -> Path:
        """T3_SECRETS of the research worker, and of searches that it is to do."""
        return self.home / "secrets.research.yml"

    @property
    def flower_secrets(self) -> Path:
        """T3_SECRETS of Flower: the broker's password and its own."""
        return self.home / "secrets.flower.yml"

    @property
    def prometheus_config(self) -> Path:
        """What Prometheus scrapes."""
        return self.home / "prometheus.yml"

    @property
    def metrics_targets(self) -> Path:
        """Where each process writes down where its metrics are."""
        return self.home / "metrics" / "targets"

    @property
    def pool_metrics(self) -> Path:
        """What the processes of the iteration worker have counted."""
        return self.home / "metrics" / "celery_worker"

    @property
    def accounts(self) -> Path:
        """The paper exchange's accounts."""
        return self.home / "accounts.json"

    @property
    def venue_state(self) -> Path:
        """The paper exchange's own database."""
        return self.home / "paper_exchange.sqlite"

    @property
    def environment(self) -> Path:
        """Shell file with which a person can run any of the demo's commands by hand."""
        return self.home / "environment"

    @property
    def supervisor_config(self) -> Path:
        return self.home / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        return socket_path(self.home, "supervisor.sock")

    @property
    def archive(self) -> Path:
        """What the recorder keeps."""
        return self.home / "archive"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.home / "logs"


DEFAULT_PATHS = DemoPaths(PROJECT_ROOT / ".local" / "demo")


@dataclass(frozen=True)
class Port:
    """A TCP port on loopback and the key that sets it."""

    number: int
    purpose: str
    setting: str


@dataclass(frozen=True)
class DemoPlan:
    """What will be started: settings, environment of the processes, files to replay."""

    paths: DemoPaths
    settings: Settings
    environ: Mapping[str, str]
    data: tuple[str, ...] = ()
    speed: float = 1.0
    venue_options: tuple[str, ...] = ()
    """More options of the paper exchange, such as the token of its admin routes."""
    pages: WebPages | None = None
    """Pages for a browser; None: none are started."""
    research: bool = False
    """Whether a worker of the queue ``research`` is started."""

    @property
    def redis(self) -> RedisServerConfig:
        """The demo's Redis, without its password."""
        return RedisServerConfig(self.paths.home / "redis", self.settings.redis.port)

    @property
    def mariadb(self) -> MariaDbServerConfig:
        """The demo's MariaDB."""
        return MariaDbServerConfig(
            self.paths.home / "mariadb",
            self.settings.database.port,
            socket_path(self.paths.home, "mariadb.sock"),
        )

    @property
    def paper_port(self) -> int:
        """Port of the paper exchange."""
        return url_port(self.settings.paper_exchange.url)

    @property
    def observer_ports(self) -> tuple[int, ...]:
        """Ports of the observers, in the order of ``observer_nodes``."""
        return tuple(url_port(url) for url in self.settings.reconciliation_engine.observer_nodes)

    def ports(self) -> list[Port]:
        """Every port the demo listens on."""
        settings = self.settings
        pages = []
        if self.pages is not None:
            pages.append(Port(self.pages.flower, "Flower", "demo.flower_port"))
            if self.pages.prometheus is not None:
                pages.append(Port(self.pages.prometheus, "Prometheus", "demo.prometheus_port"))
        return [
            Port(settings.redis.port, "Redis", "redis.port"),
            Port(settings.database.port, "MariaDB", "database.port"),
            Port(self.paper_port, "paper exchange", "paper_exchange.url"),
            Port(settings.order_gateway.port, "order gateway", "order_gateway.port"),
            *(
                Port(port, f"observer {index}", "reconciliation_engine.observer_nodes")
                for index, port in enumerate(self.observer_ports, start=1)
            ),
            *pages,
        ]


def running_demo(paths: DemoPaths) -> int | None:
    """Process id of the demo that holds the folder, None when none does."""
    try:
        with paths.lock.open("r+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read().strip() or 0)
    except FileNotFoundError:
        return None
    return None


def demo_environ(paths: DemoPaths, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of the demo's processes: the caller's, the demo's overrides, its own files.

    Compiled kernels are kept beside ``home`` unless the caller keeps them, so that a forgotten demo
    starts no slower.
    """
    return {
        **OVERRIDES,
        "T3__recorder__path": str(paths.archive),
        **environ,
        "T3_CONFIG": environ.get("T3_CONFIG", str(PROJECT_ROOT / "config.yml")),
        "T3_SECRETS": str(paths.service_secrets),
        "T3__observability__metrics_targets": str(paths.metrics_targets),
        "NUMBA_CACHE_DIR": environ.get("NUMBA_CACHE_DIR", str(paths.home.parent / "numba")),
        "PYTHONUNBUFFERED": "1",
    }


def load_plan(
    paths: DemoPaths, environ: Mapping[str, str], data: tuple[str, ...] = (), speed: float = 1.0
) -> DemoPlan:
    """Read the settings as the demo's processes will; raises ``ConfigError``.

    The gateway's port follows ``order_gateway.port``; a URL that disagrees is an error here rather
    than a connection refused later.
    """
    own = demo_environ(paths, environ)
    if load_settings(environ=environ).mode != "paper":
        # Refused by the preflight, which names it with everything else that is wrong.
        own["T3__price_sampler__warm_history"] = "false"
    settings = load_settings(environ=own)
    plan = DemoPlan(paths, settings, own, data, speed)
    expected = settings.order_gateway.port
    found = url_port(settings.reconciliation_engine.order_gateway_url)
    if found != expected:
        raise ConfigError(
            f"reconciliation_engine.order_gateway_url names port {found}, "
            f"but order_gateway.port is {expected}"
        )
    return plan


def url_port(url: str) -> int:
    """Port of an http URL, its default where none is written."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
