"""From the socket to Redis, and from Redis to a committed sample, on real servers."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import redis
from websockets.asyncio.server import ServerConnection, serve

from price_sampler import PriceSampler
from price_stream_producer import StreamProducer
from shared.benchmarks.figure import Figure
from shared.benchmarks.live_platform import live_platform
from shared.clock import SystemClock
from shared.config import Settings, load_settings
from shared.database import UnitOfWork, make_redis
from shared.exchange.payloads import Asset, AssetContext
from shared.exchange_manager import VenueHealth
from shared.market_data.intake import QuoteIntake
from shared.market_data.quotes import PriceGuard, Quote
from shared.native_servers import PROJECT_ROOT
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.storage.volatility import VolatilityStore
from shared.testing.clock import FrozenClock
from shared.testing.servers import RedisServer

TICKS_PER_S = 2_000
SYMBOLS_PER_FRAME = 20
STREAM_SECS = 6.0
SAMPLED_SYMBOLS = 500
SAMPLED_TICKS = 20
_SYMBOLS = tuple(f"C{number}" for number in range(SYMBOLS_PER_FRAME))


class _TimedStore:
    """Publishes to Redis and remembers how long each tick took from its socket to its key."""

    def __init__(self, store: PriceStore) -> None:
        self._store = store
        self.sent: dict[int, float] = {}
        self.waits_ms: list[float] = []

    def publish(self, quotes: Sequence[Quote]) -> None:
        self._store.publish(quotes)
        now = time.perf_counter()
        for quote in quotes:
            sent = self.sent.get(int(quote.mid))
            if sent is not None:
                self.waits_ms.append((now - sent) * 1000)

    def latest(self, symbols: Iterable[str]) -> Mapping[str, Quote]:
        return self._store.latest(symbols)


class _Snapshot:
    """The REST side of the venue."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets = assets

    def check_health(self) -> VenueHealth:
        return VenueHealth(0, 1, None, 0)

    def contexts(self, dex: str = "", **_: object) -> tuple[AssetContext, ...]:
        price = Decimal(100_000)
        return tuple(
            AssetContext(asset, price, price, price, Decimal(0)) for asset in self._assets.values()
        )

    def mids(self, dex: str = "", **_: object) -> Mapping[str, Decimal]:
        return dict.fromkeys(self._assets, Decimal(100_000))


def _assets(symbols: Iterable[str]) -> dict[str, Asset]:
    return {
        symbol: Asset(symbol, index, 5, 40, only_isolated=False, delisted=False)
        for index, symbol in enumerate(symbols)
    }


async def _stream(client: redis.Redis, store: _TimedStore) -> None:
    done = asyncio.Event()

    async def play(socket: ServerConnection) -> None:
        await asyncio.sleep(0.5)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        frames = round(STREAM_SECS * TICKS_PER_S / SYMBOLS_PER_FRAME)
        for number in range(frames):
            price = 100_000 + number
            mids = dict.fromkeys(_SYMBOLS, f"{price}")
            store.sent[price] = time.perf_counter()
            await socket.send(orjson.dumps({"channel": "allMids", "data": {"mids": mids}}).decode())
            due = begin + (number + 1) * SYMBOLS_PER_FRAME / TICKS_PER_S
            await asyncio.sleep(max(0.0, due - loop.time()))
        await asyncio.sleep(0.3)
        done.set()

    async with serve(play, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings = load_settings(
            PROJECT_ROOT / "config.yml",
            {
                "T3__paper_exchange__url": f"http://127.0.0.1:{port}",
                "T3__exchanges__hyperliquid__stream_cross_check_secs": "60",
            },
        )
        assets = _assets(_SYMBOLS)
        venue: Any = _Snapshot(assets)
        producer = StreamProducer(
            settings, assets, venue, QuoteIntake(store, PriceGuard(0.5)), SystemClock()
        )
        stop = asyncio.Event()
        running = asyncio.create_task(producer.run(stop))
        await done.wait()
        stop.set()
        await running


def tick_to_key_p99_ms() -> list[Figure]:
    """From the frame's way into the socket to ``price:{symbol}`` written, at 2,000 ticks/s."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as server,
        redis.Redis(port=server.port, password=server.password, decode_responses=True) as client,
    ):
        store = _TimedStore(PriceStore(client))
        asyncio.run(_stream(client, store))
    expected = STREAM_SECS * TICKS_PER_S
    waits = statistics.quantiles(store.waits_ms, n=100)
    return [
        Figure("tick_to_key_p99_ms", waits[98], "ms", goal=20.0, better="lower"),
        Figure("tick_to_key_p50_ms", waits[49], "ms", better="lower"),
        Figure(
            "ticks_published_share",
            min(1.0, len(store.waits_ms) / expected),
            "share",
        ),
    ]


def _sampler_settings(settings: Settings, symbols: Sequence[str]) -> Settings:
    engine = settings.reconciliation_engine.model_copy(update={"symbols": tuple(symbols)})
    return settings.model_copy(update={"reconciliation_engine": engine})


def sample_500_ms_per_tick() -> Figure:
    """One tick of 500 symbols: read from Redis, pack, commit with a flush to disk."""
    symbols = [f"C{number}" for number in range(SAMPLED_SYMBOLS)]
    rng = random.Random(1)
    with live_platform() as platform:
        client = make_redis(platform.settings, platform.secrets)
        with UnitOfWork(platform.engine) as uow:
            ProductStore(uow.conn).sync(_assets(symbols).values())
            uow.commit()
        settings = _sampler_settings(platform.settings, symbols)
        prices = PriceStore(client)
        clock = FrozenClock(1_700_000_000_000 // settings.interval_ms * settings.interval_ms)
        sampler = PriceSampler(settings, platform.engine, prices, VolatilityStore(client), clock)
        times = []
        for _ in range(SAMPLED_TICKS + 1):
            clock.advance(settings.interval_ms)
            price = Decimal(rng.randrange(100, 110))
            now_ms = clock.now_ms()
            prices.publish([Quote(s, price, price, now_ms, now_ms, "ws") for s in symbols])
            start = time.perf_counter()
            if sampler.catch_up() != 1:
                raise RuntimeError("the tick was not sampled")
            times.append((time.perf_counter() - start) * 1000)
    value = statistics.median(times[1:])
    return Figure("sample_500_ms_per_tick", value, "ms", goal=50.0, better="lower")
