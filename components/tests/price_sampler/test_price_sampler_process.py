"""The sampler as a process, fed by the real producer and the real paper exchange."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import redis
from sqlalchemy import Engine

from shared.database import UnitOfWork
from shared.market_data.tick_inputs import TickInputStore
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.testing.paper_venue import PaperVenue
from shared.testing.servers import wait_until

INTERVAL_MS = 1_000
SYMBOLS = ("BTC", "ETH", "SOL")


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperVenue]:
    with PaperVenue(tmp_path_factory.mktemp("venue")) as running:
        yield running


@pytest.fixture
def environ(
    service_environ: Mapping[str, str], venue: PaperVenue, engine: Engine, redis_client: redis.Redis
) -> dict[str, str]:
    return dict(service_environ) | {
        "T3__paper_exchange__url": venue.url,
        "T3__celery__schedules__providence_iteration_scheduler": "1.0",
        "T3__reconciliation_engine__symbols": "[BTC, ETH, SOL]",
        "T3__price_sampler__warm_history": "true",
    }


class Service:
    """One service of the platform as a process."""

    def __init__(self, module: str, environ: Mapping[str, str], folder: Path) -> None:
        self.log = folder / f"{module}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module], env=dict(environ), stderr=sink, stdout=sink
            )

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


def rows_since(engine: Engine, tick_ms: int) -> list:
    with UnitOfWork(engine) as uow:
        return TickInputStore(uow.conn).rows(INTERVAL_MS, tick_ms, 2**62)


def test_a_warm_series_goes_on_live_without_a_hole(
    environ: dict[str, str], engine: Engine, redis_client: redis.Redis, tmp_path: Path
) -> None:
    environ["T3__price_sampler__max_price_age_secs"] = "30.0"  # holes are looked for, not age
    producer = Service("price_producer_selector", environ, tmp_path)
    samplers = [Service("price_sampler", environ, tmp_path) for _ in range(2)]
    services = [producer, *samplers]
    try:

        def sampled() -> bool:
            rows = rows_since(engine, 0)
            return sum(row.source == "live" for row in rows) >= 5

        wait_until(sampled, 40, "five live samples")
    finally:
        codes = [service.end() for service in services]
    logs = "\n".join(service.log.read_text() for service in services)
    assert codes == [0, 0, 0], logs
    rows = rows_since(engine, 0)
    ticks = [row.tick_ms for row in rows]
    assert ticks == list(range(ticks[0], ticks[-1] + 1, INTERVAL_MS))
    sources = [row.source for row in rows]
    warm = sources.count("history")
    assert warm >= 2 * 121
    assert set(sources[:warm]) == {"history"}
    assert set(sources[warm:]) <= {"live", "backfill"}  # backfill: what a busy machine missed
    with UnitOfWork(engine) as uow:
        products = ProductStore(uow.conn).all()
        window = TickInputStore(uow.conn).window(INTERVAL_MS, ticks[0], ticks[-1])
    assert list(window.product_ids) == sorted(products[symbol].id for symbol in SYMBOLS)
    assert window.ok.all()
    steps = np.abs(np.diff(np.log(window.mid), axis=0))
    assert steps.max() < 0.02
    assert (steps > 0).any()
    quotes = PriceStore(redis_client).latest(SYMBOLS)
    assert set(quotes) == set(SYMBOLS)
    assert all(quote.source == "ws" for quote in quotes.values())


def test_a_venue_that_goes_away_leaves_ticks_not_ok_and_comes_back(
    environ: dict[str, str],
    engine: Engine,
    redis_client: redis.Redis,
    venue: PaperVenue,
    tmp_path: Path,
) -> None:
    environ["T3__price_sampler__max_price_age_secs"] = "1.0"
    services = [
        Service("price_producer_selector", environ, tmp_path),
        Service("price_sampler", environ, tmp_path),
    ]

    def all_ok() -> bool:
        rows = [row for row in rows_since(engine, 0) if row.source == "live"]
        return len(rows) >= 2 and all(row.samples["ok"].all() for row in rows[-2:])

    try:
        wait_until(all_ok, 40, "fresh samples")
        venue.stop()
        gone_ms = time.time_ns() // 1_000_000
        wait_until(lambda: not all_ok(), 10, "a sample without prices")
        time.sleep(2.0)
        venue.start()
        back_ms = time.time_ns() // 1_000_000
        wait_until(all_ok, 20, "fresh samples again")
        recovered_ms = time.time_ns() // 1_000_000 - back_ms
    finally:
        codes = [service.end() for service in services]
    assert codes == [0, 0], "\n".join(service.log.read_text() for service in services)
    rows = [row for row in rows_since(engine, 0) if row.source != "history"]
    ticks = [row.tick_ms for row in rows]
    assert ticks == list(range(ticks[0], ticks[-1] + 1, INTERVAL_MS))
    dark = [row for row in rows if gone_ms + 1_500 < row.tick_ms < back_ms]
    assert dark
    for row in dark:
        assert not row.samples["ok"].any()
        assert np.isnan(row.samples["mid"]).all()
    assert recovered_ms < 15_000
