"""The stream producer through the faults of a real paper exchange: no old price is called fresh.

BTC rises by 0.05 % per second, so that an old price shows. Beside the producer the order book of
BTC is polled, which none of the faults touches; every published mid must lie within what the
book has shown shortly before it was received.

By default faults are short and the producer's watchdog, cross-check and pauses are, too. With
``T3_FEED_FAULTS=full`` (`make feed-faults`, six minutes) the faults last as long as in earnest,
everything is as in `config.yml`, and the findings are written into `docs/market-data.md`.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
import requests

from price_stream_producer import StreamProducer
from shared.clock import SystemClock
from shared.config import Settings, load_settings
from shared.exchange.breaker import NoBreaker
from shared.exchange_manager import ExchangeManager
from shared.market_data.intake import QuoteIntake
from shared.market_data.quotes import PriceGuard, Quote
from shared.native_servers import PROJECT_ROOT
from shared.testing.paper_venue import ADMIN_TOKEN, PaperVenue
from shared.testing.servers import wait_until

LOOK_BACK_MS = 1_200
"""Half of what the sampler allows by default; the trend moves 0.06 % in that time."""
INFO = {"path": "/info", "type": "metaAndAssetCtxs"}
FULL = os.environ.get("T3_FEED_FAULTS") == "full"
DOCUMENT = PROJECT_ROOT / "docs" / "market-data.md"
BEGIN, END = "<!-- feed faults: begin -->", "<!-- feed faults: end -->"
ALL_READS = ("metaAndAssetCtxs", "allMids", "exchangeStatus")


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperVenue]:
    folder = tmp_path_factory.mktemp("venue")
    trend = folder / "BTC.csv"
    rows = (f"{n * 100},{50_000 * 1.00005**n:.0f}" for n in range(6_000))
    trend.write_text("timestamp_ms,price\n" + "\n".join(rows))
    with PaperVenue(folder, None, "--no-rate-limit", f"--data=BTC={trend}") as running:
        yield running


@dataclass
class Finding:
    """What came of one fault."""

    fault: str = ""
    lasted_secs: float = 0.0
    meanwhile: str = ""
    recovery_ms: int | None = None
    worst_bps: float = 0.0

    def hold(self, fault: str, short_secs: float, full_secs: float, meanwhile: str) -> float:
        """Name the fault; returns for how many seconds it is to last."""
        self.fault, self.meanwhile = fault, meanwhile
        self.lasted_secs = full_secs if FULL else short_secs
        return self.lasted_secs

    def row(self) -> str:
        """Its line of the table."""
        lasted = f"{self.lasted_secs:g} s" if self.lasted_secs else "a moment"
        recovery = "none needed" if self.recovery_ms is None else f"{self.recovery_ms / 1000:.1f} s"
        return (
            f"| {self.fault} | {lasted} | {self.meanwhile} | {recovery} | {self.worst_bps:.1f} bp |"
        )


def write_table(findings: Iterable[Finding]) -> None:
    """Replace the table of the document."""
    head = "| fault | lasted | meanwhile | first fresh price after its end | worst error |"
    lines = [BEGIN, head, "|---|---|---|---|---|", *(one.row() for one in findings), END]
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(before + "\n".join(lines) + rest.partition(END)[2])


class Truth:
    """What the book of BTC shows, polled all the time."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[int, float]] = []
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def _poll(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                body = {"type": "l2Book", "coin": "BTC"}
                levels = session.post(f"{self._url}/info", json=body, timeout=5).json()["levels"]
                mid = (float(levels[0][0]["px"]) + float(levels[1][0]["px"])) / 2
                self.seen.append((now_ms(), mid))
                self._stop.wait(0.04)

    def __enter__(self) -> Truth:
        self._thread.start()
        wait_until(lambda: bool(self.seen), 5, "the book")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def errors_bps(self, quotes: Iterable[Quote]) -> list[float]:
        """How far each quote lies outside of what the book showed before it was received."""
        errors = []
        for quote in quotes:
            window = [
                mid for at_ms, mid in self.seen if -LOOK_BACK_MS <= at_ms - quote.received_ms <= 300
            ]
            mid = float(quote.mid)
            errors.append(max(min(window) / mid - 1, mid / max(window) - 1, 0.0) * 10_000)
        return errors


class Feed:
    """A running producer, and what it published about BTC."""

    def __init__(self, settings: Settings) -> None:
        self.quotes: list[Quote] = []
        self._settings = settings
        self._stop: asyncio.Event | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._manager = ExchangeManager(settings, "0x" + "0" * 40, breaker=NoBreaker())

    def publish(self, quotes: Sequence[Quote]) -> None:
        self.quotes += [quote for quote in quotes if quote.symbol == "BTC"]

    def latest(self, symbols: Iterable[str]) -> Mapping[str, Quote]:
        return {}

    def _run(self) -> None:
        listed = self._manager.markets()
        assets = {symbol: listed[symbol] for symbol in ("BTC", "ETH")}
        intake = QuoteIntake(self, PriceGuard(0.5))
        producer = StreamProducer(
            self._settings,
            assets,
            self._manager,
            intake,
            SystemClock(),
            jitter=random.uniform if FULL else lambda low, _: min(low, 0.5),
        )

        async def stream() -> None:
            self._stop = asyncio.Event()
            await producer.run(self._stop)

        self._loop.run_until_complete(stream())

    def __enter__(self) -> Feed:
        self._thread.start()
        wait_until(lambda: len(self.quotes) > 3, 10, "the first prices")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(15)
        assert not self._thread.is_alive()
        self._loop.close()
        self._manager.close()

    def age_ms(self) -> int:
        return now_ms() - self.quotes[-1].received_ms

    def recovered(self, since_ms: int, within_secs: float) -> int:
        """Wait for a second of steady prices after ``since_ms``; returns the ms until the first."""

        def steady() -> bool:
            fresh = [q.received_ms for q in self.quotes if q.received_ms > since_ms]
            return len(fresh) >= 5 and self.age_ms() < 500

        wait_until(steady, 60 if FULL else within_secs, "prices after the fault")
        return next(q.received_ms for q in self.quotes if q.received_ms > since_ms) - since_ms


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def settings_of(venue: PaperVenue, channel: str = "allMids") -> Settings:
    environ = {
        "T3__paper_exchange__url": venue.url,
        "T3__exchanges__hyperliquid__price_channel": channel,
    }
    if not FULL:
        environ |= {
            "T3__exchanges__hyperliquid__stream_watchdog_secs": "1.0",
            "T3__exchanges__hyperliquid__stream_cross_check_secs": "0.5",
        }
    return load_settings(PROJECT_ROOT / "config.yml", environ)


@pytest.fixture(scope="module")
def feed(venue: PaperVenue) -> Iterator[Feed]:
    with Feed(settings_of(venue)) as running:
        yield running


@pytest.fixture(scope="module")
def truth(venue: PaperVenue) -> Iterator[Truth]:
    with Truth(venue.url) as watcher:
        yield watcher


@pytest.fixture(scope="module")
def findings() -> Iterator[list[Finding]]:
    found: list[Finding] = []
    yield found
    if FULL:
        write_table(one for one in found if one.fault)


@pytest.fixture
def finding() -> Finding:
    return Finding()


@pytest.fixture(autouse=True)
def _healthy(
    venue: PaperVenue, feed: Feed, truth: Truth, finding: Finding, findings: list[Finding]
) -> Iterator[None]:
    """Every test begins with fresh prices, and its quotes are judged at its end."""
    wait_until(lambda: feed.age_ms() < 400, 60 if FULL else 15, "fresh prices")
    begin = len(feed.quotes)
    yield
    lift(venue)
    time.sleep(0.1)
    finding.worst_bps = max(truth.errors_bps(feed.quotes[begin:]), default=0.0)
    findings.append(finding)
    assert finding.worst_bps < 1.0, (
        f"a price was {finding.worst_bps:.1f} bps away from all that the venue had shown"
    )


def lift(venue: PaperVenue) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    requests.delete(f"{venue.url}/admin/faults", headers=headers, timeout=5).raise_for_status()


def cut(venue: PaperVenue) -> None:
    venue.admin("faults", {"kind": "ws_cut"})


@pytest.mark.parametrize(("short_secs", "full_secs"), [(2.0, 2.0), (2.5, 120.0)])
def test_a_stream_that_is_cut(
    venue: PaperVenue, feed: Feed, finding: Finding, short_secs: float, full_secs: float
) -> None:
    if not FULL and full_secs > 2:
        pytest.skip("two minutes: make feed-faults")
    secs = finding.hold(
        "stream cut", short_secs, full_secs, "a snapshot at each new connection, else prices age"
    )
    venue.admin("faults", {"kind": "ws_cut", "match": {"path": "/ws"}})
    cut(venue)
    time.sleep(secs)
    lift(venue)
    finding.recovery_ms = feed.recovered(now_ms(), 10)
    assert finding.recovery_ms < (15_000 if FULL else 6_000)


def test_a_silent_stream(venue: PaperVenue, feed: Feed, finding: Finding) -> None:
    secs = finding.hold("stream open but silent", 0.9, 20.0, "prices age; the watchdog reconnects")
    venue.admin("faults", {"kind": "ws_silence"})
    time.sleep(0.9)
    assert feed.age_ms() > 500  # nothing is said, so the price grows old
    time.sleep(secs - 0.9)
    lift(venue)
    finding.recovery_ms = feed.recovered(now_ms(), 8)
    assert finding.recovery_ms < (15_000 if FULL else 3_000)


def test_duplicated_and_reordered_messages(venue: PaperVenue, feed: Feed, finding: Finding) -> None:
    secs = finding.hold(
        "half of the messages twice, half out of order", 1.5, 10.0, "prices go on, in our order"
    )
    before = len(feed.quotes)
    venue.admin("faults", {"kind": "ws_duplicate", "probability": 0.5})
    venue.admin("faults", {"kind": "ws_reorder", "probability": 0.5})
    time.sleep(secs)
    assert len(feed.quotes) > before + 5
    times = [quote.received_ms for quote in feed.quotes[before:]]
    assert times == sorted(times)


def test_a_stale_snapshot_is_not_published(venue: PaperVenue, feed: Feed, finding: Finding) -> None:
    secs = finding.hold(
        "snapshot of the past, then a cut",
        LOOK_BACK_MS / 1000 + 0.5,
        10.0,
        "the snapshot is refused, the stream's first mids count",
    )
    venue.admin("faults", {"kind": "stale", "match": INFO})
    body = {"type": "metaAndAssetCtxs", "dex": ""}
    requests.post(f"{venue.url}/info", json=body, timeout=5)  # the reply that will be repeated
    time.sleep(secs)
    cut(venue)
    finding.recovery_ms = feed.recovered(now_ms(), 8)


@pytest.mark.parametrize("coins", [["BTC"], None])
def test_a_market_that_stands_still(
    venue: PaperVenue, feed: Feed, finding: Finding, coins: list[str] | None
) -> None:
    what = "one market stands still" if coins else "all markets stand still"
    secs = finding.hold(what, 0.8, 10.0, "its price ages: what does not move is not told")
    venue.admin("faults", {"kind": "freeze", "params": {"coins": coins}})
    time.sleep(secs)
    lift(venue)
    finding.recovery_ms = feed.recovered(now_ms(), 8)


def test_a_clock_five_seconds_off_makes_nothing_look_fresh_or_old(
    venue: PaperVenue, feed: Feed, finding: Finding
) -> None:
    finding.hold("the venue's clock 5 s off, and a cut", 0, 0, "ages are on our own clock")
    venue.admin("faults", {"kind": "clock_skew", "params": {"ms": 5_000}})
    cut(venue)
    finding.recovery_ms = feed.recovered(now_ms(), 8)
    newest = feed.quotes[-1]
    assert abs(newest.venue_ms - newest.received_ms - 5_000) < 500
    assert abs(now_ms() - newest.received_ms) < 1_000


def fail_reads(venue: PaperVenue, status: int) -> None:
    for kind in ALL_READS:
        match = {"path": "/info", "type": kind}
        venue.admin("faults", {"kind": "http", "match": match, "params": {"status": status}})


def test_server_errors_while_the_stream_is_cut(
    venue: PaperVenue, feed: Feed, finding: Finding
) -> None:
    secs = finding.hold(
        "all reads answered 503, and a cut", 3.0, 30.0, "no snapshot, so nothing is called fresh"
    )
    fail_reads(venue, 503)
    quotes = len(feed.quotes)
    time.sleep(0.5)
    assert len(feed.quotes) > quotes  # reads fail, the stream goes on
    cut(venue)
    time.sleep(secs - 0.5)
    assert feed.age_ms() > 1_500  # no snapshot, so nothing is called fresh
    lift(venue)
    finding.recovery_ms = feed.recovered(now_ms(), 10)
    assert finding.recovery_ms < (25_000 if FULL else 8_000)


def test_a_storm_of_429_does_not_reach_the_stream(
    venue: PaperVenue, feed: Feed, finding: Finding
) -> None:
    secs = finding.hold(
        "all reads answered 429", 1.5, 20.0, "the stream goes on, reads back off for all"
    )
    fail_reads(venue, 429)
    quotes = len(feed.quotes)
    time.sleep(secs)  # cross-checks meet it, and back off
    assert len(feed.quotes) > quotes + 5
    assert feed.age_ms() < 500


@pytest.mark.parametrize("channel", ["bbo", "trades"])
def test_other_channels_follow_the_market_as_closely(
    venue: PaperVenue, truth: Truth, channel: str
) -> None:
    with Feed(settings_of(venue, channel)) as other:
        before = len(other.quotes)
        time.sleep(2.5)
        # After a trade, mids are silent for a second: half of the time tells something at least.
        assert len(other.quotes) >= before + 3
        assert other.age_ms() < 1_500
        assert max(truth.errors_bps(other.quotes)) < 1.0
