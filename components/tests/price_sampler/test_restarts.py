"""kill -9 of producer, Redis, MariaDB and recorder while prices come in: all goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine

from shared.config import load_secrets, load_settings
from shared.database import UnitOfWork, make_engine
from shared.market_data.archive import PRICES, Archive
from shared.market_data.tick_inputs import TickInputStore, TickRow
from shared.native_servers import PROJECT_ROOT, prepare_schema, write_private
from shared.testing.paper_venue import PaperVenue
from shared.testing.servers import MariaDbServer, RedisServer, wait_until

INTERVAL_MS = 1_000
SERVICES = ("price_producer_selector", "price_sampler", "recorder")
PASSWORDS = {"app_password": "restart-app", "migrate_password": "restart-migrate"}


@dataclass
class Feed:
    """Venue, servers and the services of the feed, each of which can be killed."""

    folder: Path
    environ: dict[str, str]
    redis: RedisServer
    mariadb: MariaDbServer
    engine: Engine
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as sink:
            command = [sys.executable, "-m", name]
            self.processes[name] = subprocess.Popen(
                command, env=self.environ, stdout=sink, stderr=sink
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def end(self) -> list[int]:
        for process in self.processes.values():
            process.terminate()
        return [process.wait(30) for process in self.processes.values()]

    def rows(self) -> list[TickRow]:
        with UnitOfWork(self.engine) as uow:
            return TickInputStore(uow.conn).rows(INTERVAL_MS, 0, 2**62)

    def goes_on(self, what: str) -> None:
        """Wait for three fresh live samples that are younger than now."""
        since_ms = time.time_ns() // 1_000_000

        def fresh() -> bool:
            rows = [row for row in self.rows() if row.tick_ms > since_ms]
            return sum(row.source == "live" and row.samples["ok"].all() for row in rows) >= 3

        wait_until(fresh, 40, f"fresh samples after {what}")


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with ExitStack() as stack:
        venue = stack.enter_context(PaperVenue(tmp_path / "venue"))
        redis_server = stack.enter_context(RedisServer(tmp_path / "redis"))
        mariadb = stack.enter_context(MariaDbServer(tmp_path / "mariadb", durable=True))
        secrets_file = tmp_path / "secrets.yml"
        content = {"database": PASSWORDS, "redis": {"password": redis_server.password}}
        write_private(secrets_file, yaml.safe_dump(content))
        environ = {name: value for name, value in os.environ.items() if name[:3] != "T3_"} | {
            "T3_CONFIG": str(PROJECT_ROOT / "config.yml"),
            "T3_SECRETS": str(secrets_file),
            "T3__database__port": str(mariadb.port),
            "T3__redis__port": str(redis_server.port),
            "T3__paper_exchange__url": venue.url,
            "T3__celery__schedules__providence_iteration_scheduler": "1.0",
            "T3__recorder__path": str(tmp_path / "archive"),
            "T3__recorder__flush_secs": "1",
        }
        prepare_schema(mariadb.config, environ, PASSWORDS)
        settings, secrets = load_settings(environ=environ), load_secrets(environ=environ)
        running = Feed(tmp_path, environ, redis_server, mariadb, make_engine(settings, secrets))
        for name in SERVICES:
            running.start(name)
        yield running
        for process in running.processes.values():
            process.kill()
            process.wait()


def again(server: RedisServer | MariaDbServer) -> None:
    """Kill a server, and start it after two seconds."""
    server.kill()
    time.sleep(2.0)
    server.start()


@pytest.mark.skipif(
    os.environ.get("T3_FEED_FAULTS") != "full", reason="half a minute: make feed-faults"
)
def test_series_and_archive_go_on_after_every_kill(feed: Feed) -> None:
    feed.goes_on("the start")
    strikes: dict[str, Callable[[], None]] = {
        "the producer was killed": lambda: feed.kill("price_producer_selector"),
        "Redis was killed": lambda: again(feed.redis),
        "MariaDB was killed": lambda: again(feed.mariadb),
        "the recorder was killed": lambda: feed.kill("recorder"),
    }
    for what, strike in strikes.items():
        strike()
        for name in SERVICES:
            if feed.processes[name].poll() is not None:
                feed.start(name)
        feed.goes_on(what)
    codes = feed.end()
    words = "\n".join((feed.folder / f"{name}.log").read_text() for name in SERVICES)
    assert codes == [0, 0, 0], words

    rows = feed.rows()
    ticks = [row.tick_ms for row in rows]
    assert ticks == list(range(ticks[0], ticks[-1] + 1, INTERVAL_MS)), "a tick has no row"
    # What MariaDB missed came from the stream afterwards.
    assert any(row.source == "backfill" and row.samples["ok"].all() for row in rows)
    archive = Archive(feed.folder / "archive")
    prices = archive.read(PRICES, "BTC", ticks[0] - 5_000, ticks[-1] + 5_000)
    keys = list(zip(prices["entry_ms"].to_pylist(), prices["entry_seq"].to_pylist(), strict=True))
    assert len(keys) == len(set(keys))
    # The archive and the samples tell the same: a fresh sample has a recorded price behind it.
    times = prices["received_ms"].to_pylist()
    fresh = [row.tick_ms for row in rows if row.source == "live" and row.samples["ok"].all()]
    unrecorded = [t for t in fresh if not any(abs(t - one) <= 3_000 for one in times)]
    assert unrecorded == []
