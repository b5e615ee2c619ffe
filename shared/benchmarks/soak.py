"""``make soak HOURS=24``: stream, sampler and recorder for a day of market time.

The paper exchange's clock is driven second by second, as fast as the machine allows or ``--speed``
says. The producer (over a real WebSocket), the sampler and the recorder run on that time, on a
real Redis and MariaDB; reconnections, the cross-check with polled prices and the servers run on
wall time. Every six hours of market time the stream is cut.

Prints one JSON line. Exit code 0 when memory is flat, every published price is in the archive and
no tick is missing; 1 when not; 2 on bad usage. Ctrl-C ends it early with the figures so far.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import requests
import structlog
from sqlalchemy import Engine

from price_sampler import PriceSampler, sync_products
from price_stream_producer import StreamProducer
from recorder.service import COPY_EVERY_SECS, PriceRecorder
from shared.benchmarks.live_platform import LivePlatform, live_platform
from shared.command_line import Parser
from shared.config import Settings
from shared.database import UnitOfWork, make_redis
from shared.exchange.breaker import NoBreaker
from shared.exchange_manager import ExchangeManager
from shared.market_data.archive import DAY_MS, PRICES, Archive
from shared.market_data.intake import QuoteIntake
from shared.market_data.quotes import PriceGuard, Quote
from shared.market_data.tick_inputs import TickInputStore
from shared.storage.redis_keys import PRICES_STREAM
from shared.storage.streams import PriceStore
from shared.storage.volatility import VolatilityStore
from shared.testing.clock import FrozenClock
from shared.testing.paper_venue import ADMIN_TOKEN, PaperVenue
from shared.testing.servers import wait_until

MAX_GROWTH_MIB_PER_DAY = 16.0
CUT_EVERY_HOURS = 6
SETTLE_SECS = 0.05
"""How long frames of a tick may be under way once the venue's clock has moved."""

HOUR_MS = 3_600_000
STEP_MS = 1_000
LEAST_HOURS_FOR_SLOPE = 4.0
_WARM_UP_SHARE = 0.2
_PROGRESS_SECS = 10.0


class CountingStore(PriceStore):
    """Publishes to Redis and knows what it has published, and when each symbol last moved."""

    published = 0
    newest_ms: Mapping[str, int] = MappingProxyType({})

    def publish(self, quotes: Sequence[Quote]) -> None:
        """See ``PriceStore.publish``."""
        super().publish(quotes)
        self.published += len(quotes)
        moved = {quote.symbol: quote.received_ms for quote in quotes}
        self.newest_ms = {**self.newest_ms, **moved}

    def stream_length(self) -> int:
        """Entries that `prices:updated` holds."""
        return int(self._client.xlen(PRICES_STREAM))


class Producer:
    """The stream producer on a thread of its own."""

    def __init__(
        self, settings: Settings, manager: ExchangeManager, store: PriceStore, clock: FrozenClock
    ) -> None:
        listed = manager.markets()
        assets = {s: listed[s] for s in settings.reconciliation_engine.symbols}
        guard = PriceGuard(settings.exchanges.hyperliquid.max_price_jump)
        self._producer = StreamProducer(
            settings,
            assets,
            manager,
            QuoteIntake(store, guard),
            clock,
            jitter=lambda low, _high: min(low, 0.1),
        )
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def _run(self) -> None:
        self._loop.run_until_complete(self._producer.run(self._stop))

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()


@dataclass
class Soak:
    """Everything that runs, and what has been seen so far."""

    settings: Settings
    engine: Engine
    venue: PaperVenue
    clock: FrozenClock
    store: CountingStore
    sampler: PriceSampler
    recorder: PriceRecorder
    archive: Archive
    stream_length: int = 0
    cuts: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list)
    _session: requests.Session = field(default_factory=requests.Session)
    _due: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start_ms = self.clock.ms
        self._session.headers["Authorization"] = f"Bearer {ADMIN_TOKEN}"

    def tick(self) -> None:
        """One tick of market time: prices move, are sampled and recorded."""
        end_ms = self.clock.ms + self.settings.interval_ms
        while self.clock.ms < end_ms:
            step_ms = min(STEP_MS, end_ms - self.clock.ms)
            self.clock.advance(step_ms)  # first, so that what arrives is stamped with it
            self._post("time", {"advance_ms": step_ms})
        self._await_prices()
        self.sampler.catch_up()
        self.recorder.read()
        if self._is_due("flush", self.settings.recorder.flush_secs):
            self.recorder.flush()
        if self._is_due("sort", COPY_EVERY_SECS):
            self.recorder.sort_finished_days()
            self.memory.append((self.clock.ms, rss_mib()))
            self.stream_length = max(self.stream_length, self.store.stream_length())
        if self._is_due("cut", CUT_EVERY_HOURS * 3_600):
            self._cut()

    def _await_prices(self) -> None:
        """Until every symbol has a price of this tick; one that did not move has none."""
        deadline = time.monotonic() + SETTLE_SECS
        symbols = self.settings.reconciliation_engine.symbols
        while time.monotonic() < deadline:
            newest = self.store.newest_ms
            if all(newest.get(symbol) == self.clock.ms for symbol in symbols):
                return
            time.sleep(0.001)

    def _cut(self) -> None:
        """Cut the stream; market time stands until it is back."""
        before = self.store.published
        self._post("faults", {"kind": "ws_cut"})
        wait_until(lambda: self.store.published > before, 30, "prices after a cut")
        self.cuts += 1

    def _is_due(self, what: str, every_secs: float) -> bool:
        due = self._due.setdefault(what, self.start_ms + round(every_secs * 1000))
        if self.clock.ms < due:
            return False
        self._due[what] = self.clock.ms + round(every_secs * 1000)
        return True

    def _post(self, route: str, body: dict[str, object]) -> None:
        reply = self._session.post(f"{self.venue.url}/admin/{route}", json=body, timeout=60)
        reply.raise_for_status()

    def figures(self, wall_secs: float) -> dict[str, object]:
        """What came of it; the recorder has written all that it read."""
        memory_mib = rss_mib()  # before all of the archive is read
        self.recorder.read()
        self.recorder.flush()
        symbols = self.settings.reconciliation_engine.symbols
        first, last = self.start_ms - DAY_MS, self.clock.ms + DAY_MS
        recorded = sum(self.archive.read(PRICES, s, first, last).num_rows for s in symbols)
        interval_ms = self.settings.interval_ms
        with UnitOfWork(self.engine) as uow:
            ticks = TickInputStore(uow.conn)
            rows = ticks.rows(interval_ms, self.start_ms + interval_ms, self.clock.ms)
            gaps = ticks.gaps(interval_ms, self.start_ms + interval_ms, self.clock.ms)
        hours = (self.clock.ms - self.start_ms) / HOUR_MS
        return {
            "market_hours": round(hours, 3),
            "wall_secs": round(wall_secs, 1),
            "speed": round(hours * 3_600 / wall_secs, 1),
            "load_average": round(os.getloadavg()[0], 1),
            "ticks": len(rows),
            "ticks_missing": len(gaps),
            "samples_not_fresh": sum(int((row.samples["ok"] == 0).sum()) for row in rows),
            "prices_published": self.store.published,
            "prices_recorded": recorded,
            "day_files": sum(len(self.archive.days(PRICES, s)) for s in symbols),
            "parts_left": len(list((self.archive.root / PRICES / "parts").rglob("*.parquet"))),
            "longest_stream": self.stream_length,
            "stream_cuts": self.cuts,
            "memory_mib": round(memory_mib, 1),
            "memory_mib_per_day": slope_per_day(self.memory),
        }


def passed(figures: Mapping[str, object]) -> bool:
    """Whether nothing grew, nothing is missing, and there was something to look at."""
    slope = figures["memory_mib_per_day"]
    flat = slope is None or (isinstance(slope, float) and slope <= MAX_GROWTH_MIB_PER_DAY)
    complete = figures["prices_recorded"] == figures["prices_published"]
    return bool(figures["ticks"]) and flat and complete and figures["ticks_missing"] == 0


def slope_per_day(readings: Sequence[tuple[int, float]]) -> float | None:
    """Growth of memory (MiB per day of market time) by least squares, without the first fifth.

    None for less than four hours, in which a process is still growing into its work.
    """
    if not readings or readings[-1][0] - readings[0][0] < LEAST_HOURS_FOR_SLOPE * HOUR_MS:
        return None
    steady = np.array(readings[int(len(readings) * _WARM_UP_SHARE) :], dtype=float)
    return round(float(np.polyfit(steady[:, 0] / DAY_MS, steady[:, 1], 1)[0]), 2)


def rss_mib() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(hours: float, speed: float) -> dict[str, object]:
    """Run ``hours`` of market time, at most ``speed`` times as fast as wall time (0: no limit)."""
    start_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000
    with ExitStack() as stack:
        platform = stack.enter_context(live_platform())
        options = (f"--start-time={start_ms}", "--no-rate-limit")
        venue = stack.enter_context(PaperVenue(platform.folder / "venue", None, *options))
        soak = _assemble(platform, venue, start_ms, stack)
        return _drive(soak, start_ms + round(hours * HOUR_MS), speed)


def _assemble(platform: LivePlatform, venue: PaperVenue, start_ms: int, stack: ExitStack) -> Soak:
    paper = platform.settings.paper_exchange.model_copy(update={"url": venue.url})
    settings = platform.settings.model_copy(update={"paper_exchange": paper})
    clock = FrozenClock(start_ms)
    client = make_redis(settings, platform.secrets)
    manager = ExchangeManager(settings, "0x" + "0" * 40, client, breaker=NoBreaker())
    stack.callback(manager.close)
    sync_products(platform.engine, manager)
    store, archive = CountingStore(client), Archive(platform.folder / "archive")
    sampler = PriceSampler(settings, platform.engine, store, VolatilityStore(client), clock)
    recorder = PriceRecorder(archive, client, clock)
    recorder.resume()
    soak = Soak(settings, platform.engine, venue, clock, store, sampler, recorder, archive)
    stack.enter_context(Producer(settings, manager, store, clock))
    wait_until(lambda: store.published > 0, 30, "the first prices")
    return soak


def _drive(soak: Soak, end_ms: int, speed: float) -> dict[str, object]:
    begun = told = time.monotonic()
    span_ms = end_ms - soak.start_ms
    try:
        while soak.clock.ms < end_ms:
            soak.tick()
            now = time.monotonic()
            gone_ms = soak.clock.ms - soak.start_ms
            if speed:
                time.sleep(max(0.0, begun + gone_ms / 1000 / speed - now))
            if now - told >= _PROGRESS_SECS:
                told = now
                left_secs = (span_ms - gone_ms) / gone_ms * (now - begun)
                sys.stderr.write(
                    f"soak: {gone_ms / HOUR_MS:.1f} of {span_ms / HOUR_MS:g} h, "
                    f"{gone_ms / 1000 / (now - begun):.0f} times as fast as wall time, "
                    f"{rss_mib():.0f} MiB, about {left_secs:.0f} s left\n"
                )
    except KeyboardInterrupt:
        sys.stderr.write("soak: stopped; figures of what ran\n")
    return soak.figures(time.monotonic() - begun)


def main(arguments: Iterable[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = Parser(
        prog="python -m shared.benchmarks.soak",
        description=__doc__,
    )
    parser.add_argument("--hours", type=float, default=24.0, help="of market time (default 24)")
    parser.add_argument(
        "--speed", type=float, default=0.0, help="times wall time at most (default: no limit)"
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    if not 0 < options.hours <= 24 * 365 or not 0 <= options.speed <= 1e6:
        parser.error("--hours must be above 0 and at most 8760, --speed 0 to 1,000,000")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    figures = run(options.hours, options.speed)
    sys.stdout.write(json.dumps({**figures, "passed": passed(figures)}) + "\n")
    return 0 if passed(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
