"""What recording costs, and how often a starting fleet reads the list of markets."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import redis
import requests

from shared.benchmarks.figure import Figure
from shared.benchmarks.live_platform import live_platform
from shared.config import load_settings
from shared.database import make_redis
from shared.exchange_manager import ExchangeManager
from shared.market_data.archive import PRICES, Archive
from shared.market_data.quotes import Quote
from shared.native_servers import PROJECT_ROOT
from shared.storage.streams import PriceStore
from shared.testing.http_server import LocalServer, Reply, Request
from shared.testing.paper_venue import PaperVenue
from shared.testing.servers import RedisServer, wait_until

SYMBOLS = tuple(f"C{number}" for number in range(20))
ENTRIES_PER_S = 100
"""With all symbols in every entry: 2,000 ticks/s."""
RECORDED_SECS = 24.0
FLUSH_SECS = 8
FLEET = 8


def recorder_cpu_share() -> list[Figure]:
    """CPU time of `python -m recorder` over wall time, at 2,000 ticks/s, start-up excluded."""
    with live_platform(recorder__flush_secs=FLUSH_SECS) as platform:
        root = platform.folder / "archive"
        environ = {**platform.environ, "T3__recorder__path": str(root)}
        prices = PriceStore(make_redis(platform.settings, platform.secrets))
        published = _publish(prices, 1.0)
        with (platform.folder / "recorder.log").open("wb") as log:
            command = [sys.executable, "-m", "recorder"]
            process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            # The first part is there: what follows is the steady state.
            wait_until(lambda: _recorded(root) > 0, 60, "the first part")
            begun, cpu = time.monotonic(), _cpu_secs(process.pid)
            published += _publish(prices, RECORDED_SECS)
            share = (_cpu_secs(process.pid) - cpu) / (time.monotonic() - begun)
        finally:
            process.terminate()
            process.wait(30)
        kept = _recorded(root)
    return [
        Figure("recorder_cpu_share", share, "of one core", goal=0.05, better="lower"),
        Figure("recorded_share", kept / published, "of ticks", goal=1.0),
    ]


def _publish(store: PriceStore, secs: float) -> int:
    """Publish 2,000 ticks a second for so long; returns how many ticks."""
    begun, number = time.monotonic(), 0
    while number < secs * ENTRIES_PER_S:
        now_ms = time.time_ns() // 1_000_000
        price = Decimal(100_000 + number)
        store.publish([Quote(s, price, price, now_ms, now_ms, "ws") for s in SYMBOLS])
        number += 1
        time.sleep(max(0.0, begun + number / ENTRIES_PER_S - time.monotonic()))
    return number * len(SYMBOLS)


def _recorded(root: Path) -> int:
    now_ms = time.time_ns() // 1_000_000
    archive = Archive(root)
    return sum(
        archive.read(PRICES, symbol, now_ms - 600_000, now_ms).num_rows for symbol in SYMBOLS
    )


def _cpu_secs(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def market_loads_per_fleet_start() -> Figure:
    """Requests for the list of markets that the venue sees while eight processes start at once."""
    loads: list[str] = []
    with tempfile.TemporaryDirectory() as folder, requests.Session() as session:

        def relay(request: Request) -> Reply:
            payload = request.json()
            if payload["type"] in ("meta", "metaAndAssetCtxs"):
                loads.append(payload["type"])
            return Reply(body=session.post(f"{paper.url}/info", json=payload, timeout=10).text)

        with (
            PaperVenue(Path(folder) / "venue") as paper,
            RedisServer(Path(folder) / "redis") as server,
            LocalServer(relay) as venue,
        ):
            fork = multiprocessing.get_context("fork")
            options = {"port": server.port, "password": server.password}
            fleet = [fork.Process(target=_start, args=(venue.url, options)) for _ in range(FLEET)]
            for process in fleet:
                process.start()
            for process in fleet:
                process.join(60)
            if any(process.exitcode != 0 for process in fleet):
                raise RuntimeError("a process could not read the markets")
    return Figure("market_loads_per_fleet_start", len(loads), "loads", goal=1.0, better="lower")


def _start(url: str, options: dict[str, Any]) -> None:
    """One process of the fleet: the list of markets, and a first read."""
    settings = load_settings(PROJECT_ROOT / "config.yml", {"T3__paper_exchange__url": url})
    client = redis.Redis(**options, decode_responses=True)
    manager = ExchangeManager(settings, "0x" + "0" * 40, client)
    if not manager.markets() or not manager.mids():
        raise RuntimeError("no markets")
