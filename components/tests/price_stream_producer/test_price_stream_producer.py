"""The stream producer against a WebSocket that misbehaves on request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import REGISTRY
from websockets import ConnectionClosed
from websockets.asyncio.server import Server, ServerConnection, serve

from price_stream_producer import StreamProducer
from shared.clock import SystemClock
from shared.config import load_settings
from shared.exchange.errors import VenueTimeout
from shared.exchange.payloads import Asset, AssetContext
from shared.exchange_manager import VenueHealth
from shared.market_data.intake import QuoteIntake
from shared.market_data.quotes import PriceGuard, Quote
from shared.native_servers import PROJECT_ROOT

ASSETS = {
    symbol: Asset(symbol, index, 5, 40, only_isolated=False, delisted=False)
    for index, symbol in enumerate(("BTC", "ETH"))
}
OFFSET_MS = -4_000


class Sink:
    """Remembers quotes with the time they were published."""

    def __init__(self) -> None:
        self.quotes: list[Quote] = []
        self.batches = 0

    def publish(self, quotes: Sequence[Quote]) -> None:
        self.batches += 1
        self.quotes += quotes

    def latest(self, symbols: Iterable[str]) -> Mapping[str, Quote]:
        return {}

    def mids(self, symbol: str) -> list[int]:
        return [int(quote.mid) for quote in self.quotes if quote.symbol == symbol]


class Venue:
    """REST side: snapshot prices a test can change, slow down or take away."""

    def __init__(self) -> None:
        self.mid = {"BTC": 100, "ETH": 10}
        self.polled: dict[str, int] = {}
        self.delay_secs = 0.0
        self.failing = 0
        self.snapshots = 0

    def check_health(self) -> VenueHealth:
        return VenueHealth(OFFSET_MS, 5, None, 0)

    def contexts(self, dex: str = "", **_: object) -> tuple[AssetContext, ...]:
        assert dex == ""
        self.snapshots += 1
        if self.failing > 0:
            self.failing -= 1
            raise VenueTimeout("info:metaAndAssetCtxs: no reply in time")
        prices = {symbol: Decimal(mid) for symbol, mid in self.mid.items()}
        found = tuple(
            AssetContext(asset, prices[symbol], prices[symbol], prices[symbol], Decimal(0))
            for symbol, asset in ASSETS.items()
        )
        time.sleep(self.delay_secs)
        return found

    def mids(self, dex: str = "", **_: object) -> Mapping[str, Decimal]:
        assert dex == ""
        return {symbol: Decimal(mid) for symbol, mid in (self.mid | self.polled).items()}


Play = Callable[[ServerConnection, int], Awaitable[None]]


class Scene:
    """A WebSocket server that plays, the producer under test, and what came out."""

    def __init__(
        self, play: Play, watchdog_secs: float = 1.0, cross_check_secs: float = 60.0
    ) -> None:
        self.play = play
        self.venue, self.sink = Venue(), Sink()
        self.subscriptions: list[dict[str, Any]] = []
        self.connections = 0
        self.pauses: list[float] = []
        self._watchdog_secs = watchdog_secs
        self._cross_check_secs = cross_check_secs

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Event]:
        async with serve(self._handle, "127.0.0.1", 0) as server:
            stop = asyncio.Event()
            task = asyncio.create_task(self._producer(server).run(stop))
            try:
                yield stop
            finally:
                stop.set()
                await asyncio.wait_for(task, 5)

    def _producer(self, server: Server) -> StreamProducer:
        port = next(iter(server.sockets)).getsockname()[1]
        environ = {
            "T3__paper_exchange__url": f"http://127.0.0.1:{port}",
            "T3__exchanges__hyperliquid__stream_watchdog_secs": str(self._watchdog_secs),
            "T3__exchanges__hyperliquid__stream_cross_check_secs": str(self._cross_check_secs),
        }
        settings = load_settings(PROJECT_ROOT / "config.yml", environ)
        intake = QuoteIntake(self.sink, PriceGuard(0.5))
        return StreamProducer(
            settings,
            ASSETS,
            self.venue,  # type: ignore[arg-type]
            intake,
            SystemClock(),
            jitter=self._short_pause,
        )

    def _short_pause(self, low: float, high: float) -> float:
        self.pauses.append(high)
        return 0.02

    async def _handle(self, socket: ServerConnection) -> None:
        self.connections += 1
        number = self.connections
        for _ in range(1 + len(ASSETS)):
            self.subscriptions.append(json.loads(await socket.recv())["subscription"])
        with contextlib.suppress(ConnectionClosed):
            await self.play(socket, number)


def mids(**prices: object) -> str:
    return json.dumps(
        {"channel": "allMids", "data": {"mids": {k: str(v) for k, v in prices.items()}}}
    )


def context(coin: str, mark: object, mid: object | None) -> str:
    ctx = {
        "funding": "0.0",
        "openInterest": "1.0",
        "oraclePx": str(mark),
        "markPx": str(mark),
        "midPx": None if mid is None else str(mid),
    }
    return json.dumps({"channel": "activeAssetCtx", "data": {"coin": coin, "ctx": ctx}})


async def until(condition: Callable[[], bool], secs: float = 8.0) -> None:
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.01)


def reconnects(reason: str) -> float:
    name = "t3_price_stream_reconnects_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


def rejected(symbol: str, reason: str) -> float:
    labels = {"symbol": symbol, "reason": reason}
    return REGISTRY.get_sample_value("t3_prices_rejected_total", labels) or 0.0


def test_the_snapshot_comes_first_then_the_stream() -> None:
    async def play(socket: ServerConnection, _: int) -> None:
        await asyncio.sleep(0.2)
        await socket.send(context("ETH", 13, 11))
        await socket.send(mids(BTC=101, ETH=12, DOGE=1))
        await socket.send(context("ETH", 13, 11))  # of a moment ago: mids are newer
        await socket.send(mids(ETH=12))
        await socket.wait_closed()

    async def scenario() -> Scene:
        scene = Scene(play)
        async with scene.running():
            await until(lambda: scene.sink.mids("ETH")[-1:] == [12])
        return scene

    scene = asyncio.run(scenario())
    assert scene.sink.mids("BTC") == [100, 101]
    assert scene.sink.mids("ETH") in ([10, 11, 12], [10, 11, 12, 12], [10, 12], [10, 12, 12])
    newest = [quote for quote in scene.sink.quotes if quote.symbol == "ETH"][-1]
    assert newest.mark == 13
    assert newest.venue_ms - newest.received_ms == OFFSET_MS
    assert {"type": "allMids"} in scene.subscriptions
    assert {"type": "activeAssetCtx", "coin": "ETH"} in scene.subscriptions


def test_frames_that_arrived_before_the_snapshot_was_complete_are_not_used() -> None:
    sent = asyncio.Event()

    async def play(socket: ServerConnection, _: int) -> None:
        for price in range(90, 95):
            await socket.send(mids(BTC=price))
        sent.set()
        await asyncio.sleep(0.6)
        await socket.send(mids(BTC=101))
        await socket.wait_closed()

    async def scenario() -> Scene:
        scene = Scene(play)
        scene.venue.delay_secs = 0.3
        async with scene.running():
            await sent.wait()
            await until(lambda: scene.sink.mids("BTC")[-1:] == [101])
        return scene

    assert asyncio.run(scenario()).sink.mids("BTC") == [100, 101]


def test_a_silent_stream_is_left_for_a_new_one_with_a_new_snapshot() -> None:
    async def play(socket: ServerConnection, number: int) -> None:
        await asyncio.sleep(0.1)
        await socket.send(mids(BTC=100 + number))
        if number == 1:
            await socket.wait_closed()
        while True:
            await asyncio.sleep(0.1)
            await socket.send(mids(BTC=100 + number))

    async def scenario() -> tuple[Scene, float]:
        scene = Scene(play, watchdog_secs=1.0)
        before = reconnects("watchdog")
        async with scene.running():
            await until(lambda: 101 in scene.sink.mids("BTC"))
            scene.venue.mid["BTC"] = 105
            await until(lambda: 102 in scene.sink.mids("BTC"))
        return scene, reconnects("watchdog") - before

    scene, lost = asyncio.run(scenario())
    assert scene.connections == 2
    assert lost == 1
    told = scene.sink.mids("BTC")
    assert told.index(105) < told.index(102)
    assert scene.subscriptions.count({"type": "allMids"}) == 2


def test_pongs_and_acknowledgements_do_not_hide_a_silent_stream() -> None:
    async def play(socket: ServerConnection, number: int) -> None:
        while True:
            await asyncio.sleep(0.05)
            await socket.send(json.dumps({"channel": "pong"}))

    async def scenario() -> Scene:
        scene = Scene(play, watchdog_secs=1.0)
        async with scene.running():
            await until(lambda: scene.connections >= 2)
        return scene

    assert asyncio.run(scenario()).connections >= 2


def test_a_cut_stream_is_rejoined_and_pauses_grow() -> None:
    async def play(socket: ServerConnection, number: int) -> None:
        if number < 5:
            socket.transport.abort()
            return
        while True:
            await asyncio.sleep(0.05)
            await socket.send(mids(BTC=107))

    async def scenario() -> Scene:
        scene = Scene(play)
        async with scene.running():
            await until(lambda: 107 in scene.sink.mids("BTC"))
        return scene

    scene = asyncio.run(scenario())
    assert scene.connections == 5
    assert scene.pauses == [0.5, 1.0, 2.0, 4.0]


def test_nothing_is_published_while_the_snapshot_cannot_be_read() -> None:
    async def play(socket: ServerConnection, number: int) -> None:
        while True:
            await asyncio.sleep(0.02)
            await socket.send(mids(BTC=100 + number))
            await socket.send(context("BTC", 100, 100 + number))

    async def scenario() -> Scene:
        scene = Scene(play)
        scene.venue.failing = 2
        async with scene.running():
            await until(lambda: 103 in scene.sink.mids("BTC"))
        return scene

    scene = asyncio.run(scenario())
    assert scene.venue.snapshots == 3
    assert set(scene.sink.mids("BTC")) == {100, 103}


def test_bad_prices_and_malformed_frames_are_counted_and_left_out() -> None:
    async def play(socket: ServerConnection, _: int) -> None:
        await asyncio.sleep(0.2)
        for frame in (
            "not json",
            "[]",
            json.dumps({"channel": "allMids", "data": {"mids": {"BTC": 5}}}),
            json.dumps({"channel": "activeAssetCtx", "data": {"coin": "BTC", "ctx": {}}}),
            mids(BTC="NaN"),
            mids(BTC=0),
            mids(BTC=-3),
            mids(BTC=1_000),
        ):
            await socket.send(frame)
            await asyncio.sleep(0.05)
        await socket.send(mids(BTC=103))
        await socket.wait_closed()

    async def scenario() -> Scene:
        scene = Scene(play, watchdog_secs=5.0)
        async with scene.running():
            await until(lambda: 103 in scene.sink.mids("BTC"))
        return scene

    malformed, zero, jump = (
        rejected("*", "malformed"),
        rejected("BTC", "not_positive"),
        rejected("BTC", "jump"),
    )
    scene = asyncio.run(scenario())
    assert scene.sink.mids("BTC") == [100, 103]
    assert scene.connections == 1
    assert rejected("*", "malformed") - malformed == 5
    assert rejected("BTC", "not_positive") - zero == 2
    assert rejected("BTC", "jump") - jump == 1


def test_an_empty_book_says_nothing_about_the_price() -> None:
    async def play(socket: ServerConnection, _: int) -> None:
        await asyncio.sleep(0.2)
        await socket.send(context("BTC", 99, None))
        await asyncio.sleep(0.1)
        await socket.send(mids(BTC=101))
        await socket.wait_closed()

    async def scenario() -> Scene:
        scene = Scene(play, watchdog_secs=5.0)
        async with scene.running():
            await until(lambda: 101 in scene.sink.mids("BTC"))
        return scene

    quotes = [q for q in asyncio.run(scenario()).sink.quotes if q.symbol == "BTC"]
    assert [(int(q.mid), int(q.mark)) for q in quotes] == [(100, 100), (101, 99)]


def test_a_mark_that_has_gone_stale_ends_the_quotes() -> None:
    async def play(socket: ServerConnection, _: int) -> None:
        price = 100
        while True:
            await asyncio.sleep(0.05)
            price += 1
            await socket.send(mids(BTC=price))

    async def scenario() -> tuple[int, int]:
        scene = Scene(play, watchdog_secs=1.0)
        async with scene.running():
            await until(lambda: len(scene.sink.mids("BTC")) > 5)
            await asyncio.sleep(1.2)
            told = len(scene.sink.mids("BTC"))
            await asyncio.sleep(0.5)
            return told, len(scene.sink.mids("BTC"))

    before, after = asyncio.run(scenario())
    assert before == after


def test_a_symbol_frozen_in_the_stream_is_withheld_until_it_moves_again() -> None:
    thawed = asyncio.Event()

    async def play(socket: ServerConnection, _: int) -> None:
        price = 10
        while True:
            await asyncio.sleep(0.05)
            price += 1
            await socket.send(mids(BTC=103 if thawed.is_set() else 100, ETH=10 + price % 3))

    async def scenario() -> tuple[Scene, int, int]:
        scene = Scene(play, watchdog_secs=5.0, cross_check_secs=0.2)
        flagged, eth_flagged = (rejected(symbol, "frozen") for symbol in ("BTC", "ETH"))
        async with scene.running():
            await until(lambda: len(scene.sink.mids("BTC")) > 3)
            scene.venue.mid["BTC"] = 101  # the market moves on, the stream does not
            await until(lambda: rejected("BTC", "frozen") == flagged + 1)
            await until(lambda: scene.connections == 2 and 101 in scene.sink.mids("BTC"))
            told = len(scene.sink.mids("BTC"))
            others = len(scene.sink.mids("ETH"))
            await until(lambda: len(scene.sink.mids("ETH")) > others + 10)
            withheld = len(scene.sink.mids("BTC")) - told
            thawed.set()
            await until(lambda: scene.sink.mids("BTC")[-1] == 103)
        assert rejected("ETH", "frozen") == eth_flagged
        return scene, told, withheld

    before = reconnects("frozen")
    scene, told, withheld = asyncio.run(scenario())
    assert withheld == 0
    assert scene.sink.mids("BTC")[told - 1] == 101  # the snapshot of the new connection
    assert set(scene.sink.mids("BTC")[told:]) == {103}
    assert scene.connections == 2
    assert reconnects("frozen") - before == 1


def test_a_price_that_stands_still_everywhere_is_not_frozen() -> None:
    async def play(socket: ServerConnection, _: int) -> None:
        while True:
            await asyncio.sleep(0.05)
            await socket.send(mids(BTC=100, ETH=10))

    async def scenario() -> Scene:
        scene = Scene(play, watchdog_secs=5.0, cross_check_secs=0.2)
        async with scene.running():
            await until(lambda: len(scene.sink.mids("BTC")) > 18)
        return scene

    assert asyncio.run(scenario()).connections == 1


def test_a_snapshot_that_two_reads_do_not_tell_alike_is_not_published() -> None:
    async def play(socket: ServerConnection, _: int) -> None:
        await asyncio.sleep(0.3)
        await socket.send(mids(BTC=102))
        await socket.send(context("BTC", 102, 102))
        await socket.wait_closed()

    async def scenario() -> Scene:
        scene = Scene(play, watchdog_secs=5.0)
        scene.venue.polled["BTC"] = 102
        async with scene.running():
            await until(lambda: 102 in scene.sink.mids("BTC"))
        return scene

    before = rejected("BTC", "stale_snapshot")
    scene = asyncio.run(scenario())
    assert set(scene.sink.mids("BTC")) == {102}
    assert {quote.mark for quote in scene.sink.quotes if quote.symbol == "BTC"} == {102}
    assert scene.sink.mids("ETH") == [10]
    assert rejected("BTC", "stale_snapshot") - before == 1


def test_a_stop_ends_a_waiting_and_a_streaming_producer() -> None:
    async def play(socket: ServerConnection, number: int) -> None:
        await socket.wait_closed()

    async def scenario(play: Play) -> float:
        scene = Scene(play, watchdog_secs=60.0)
        async with scene.running():
            await until(lambda: scene.venue.snapshots > 0)
            started = time.monotonic()
        return time.monotonic() - started

    assert asyncio.run(scenario(play)) < 2.0


@pytest.mark.parametrize("frames", [2_000])
def test_a_burst_is_published_in_few_batches_and_ends_at_the_newest(frames: int) -> None:
    async def play(socket: ServerConnection, _: int) -> None:
        await asyncio.sleep(0.3)
        for number in range(frames):
            await socket.send(mids(BTC=f"{100 + number / frames:.4f}"))
        await socket.send(mids(BTC=120))
        await socket.wait_closed()

    async def scenario() -> Scene:
        scene = Scene(play, watchdog_secs=20.0)
        async with scene.running():
            await until(lambda: 120 in scene.sink.mids("BTC"))
        return scene

    scene = asyncio.run(scenario())
    assert scene.sink.mids("BTC")[-1] == 120
    assert scene.sink.batches < frames
