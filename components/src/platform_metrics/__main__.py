"""Wire and run: publish the platform's state until SIGTERM."""

from __future__ import annotations

import sys
import threading
import time

from prometheus_client import REGISTRY

from platform_metrics import from_host, from_mariadb, from_redis
from platform_metrics.service import StateReader
from shared import service
from shared.config import Secrets, Settings
from shared.database import UnitOfWork, make_engine, make_redis
from shared.state_metrics import Reading, StateCollector


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    engine = make_engine(settings, secrets)
    client = make_redis(settings, secrets)

    def mariadb() -> Reading:
        with UnitOfWork(engine) as uow:
            return from_mariadb.read(uow.conn, settings, _now_ms())

    def from_cache() -> Reading:
        return from_redis.read(client, settings, _now_ms())

    collector = StateCollector()
    REGISTRY.register(collector)
    sources = {"mariadb": mariadb, "redis": from_cache, "host": from_host.read}
    StateReader(sources, collector, settings.observability.state_interval_secs).run(stop)
    client.connection_pool.disconnect()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(service.run("platform_metrics", body, require=["database.app_password"]))
