"""Ten processes at ten times the allowed load, on the paper exchange with its limits on.

The budget is scaled down: a tenth of the venue's, so that its burst and refill show in seconds.
What the budget lets out is counted as the venue counts it; the venue itself never answers 429.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from pathlib import Path
from typing import Any

import redis

from shared.config import load_settings
from shared.exchange.errors import BudgetExhausted, RateLimited
from shared.exchange_manager import ExchangeManager
from shared.native_servers import PROJECT_ROOT
from shared.testing.paper_venue import PaperVenue
from shared.testing.servers import RedisServer

PROCESSES = 10
LOAD_SECS = 6.0
PER_MINUTE = 120
EXIT_WAIT_SECS = 0.5


def load(number: int, url: str, client_options: dict[str, Any], results: Any) -> None:
    """One process: reads without a pause; the first also sends an exit's call every second."""
    settings = load_settings(
        PROJECT_ROOT / "config.yml",
        {
            "T3__paper_exchange__url": url,
            "T3__exchanges__hyperliquid__rate_budget_per_minute": str(PER_MINUTE),
        },
    )
    client = redis.Redis(**client_options, decode_responses=True)
    manager = ExchangeManager(settings, "0x" + "0" * 40, client)
    told: dict[str, Any] = {"sent": 0, "dropped": 0, "limited": 0, "exit_secs": []}
    until = time.monotonic() + LOAD_SECS
    next_exit = time.monotonic() + 1.0 if number == 0 else math.inf
    while time.monotonic() < until:
        started = time.monotonic()
        try:
            if started >= next_exit:
                next_exit += 1.5
                manager.info("l2Book", coin="BTC", priority="exit", max_wait_secs=5.0)
                told["exit_secs"].append(time.monotonic() - started)
            else:
                manager.info("allMids", max_wait_secs=0.2)
            told["sent"] += 1
        except BudgetExhausted:
            told["dropped"] += 1
            time.sleep(0.1)
        except RateLimited:
            told["limited"] += 1
    results.put(told)


def test_ten_processes_at_ten_times_the_load(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> None:
    fork = multiprocessing.get_context("fork")  # spawning would import everything ten times
    results = fork.Queue()
    options = {"port": redis_server.port, "password": redis_server.password}
    with PaperVenue(tmp_path / "venue") as venue:
        workers = [
            fork.Process(target=load, args=(number, venue.url, options, results))
            for number in range(PROCESSES)
        ]
        begun = time.monotonic()
        for worker in workers:
            worker.start()
        told = [results.get(timeout=30) for _ in workers]
        elapsed_secs = time.monotonic() - begun
        for worker in workers:
            worker.join(10)
    sent = sum(one["sent"] for one in told)
    asked = sent + sum(one["dropped"] for one in told)
    assert sum(one["limited"] for one in told) == 0
    # The burst, and the refill since; every call weighs 2.
    burst, refill = PER_MINUTE * 0.2, PER_MINUTE * 0.8 / 60
    assert 2 * sent <= burst + refill * elapsed_secs
    assert asked >= 10 * sent * 0.5
    assert sent > 5
    exits = [secs for one in told for secs in one["exit_secs"]]
    assert len(exits) >= 3
    assert max(exits) < EXIT_WAIT_SECS, "an exit queued behind reads"
