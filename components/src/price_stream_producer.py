"""Prices by WebSocket, into Redis: mids or trades by the channel that is configured, and marks.

A connection counts only after its snapshot: messages that arrived before the REST snapshot was
complete may be older than it and are dropped, and a snapshot that two reads do not tell alike is
not used. Silence of the data channels for `stream_watchdog_secs` ends the connection. So does a
symbol that stands still in the stream while polls (`stream_cross_check_secs`) see it move; its
price is withheld until the stream moves on. Between connections the pause doubles, with jitter.

Run: `python -m price_stream_producer`
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import orjson
import redis
import structlog
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from shared import instruments, service
from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.database import make_redis
from shared.exchange.breaker import NoBreaker
from shared.exchange.errors import DecodeError, VenueError
from shared.exchange.payloads import Asset
from shared.exchange_manager import ExchangeManager
from shared.market_data.cross_check import CrossCheck
from shared.market_data.intake import MarketView, QuoteIntake, tradable
from shared.market_data.price_channels import Mark, Mids, Price, PriceChannels, VenueComplaint
from shared.market_data.quotes import PriceGuard, Quote
from shared.ports import Clock
from shared.storage.streams import PriceStore

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECS = 0.5
LONGEST_PAUSE_SECS = 10.0
STEADY_AFTER_SECS = 60.0
_OPEN_TIMEOUT_SECS = 10.0
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_QUEUE_LIMIT = 20_000
SNAPSHOT_SPAN_MS = 1_000
_SNAPSHOT_ATTEMPTS = 3
SNAPSHOT_TOLERANCE = Decimal("0.0002")
"""Largest |mid / mid − 1| between the two reads of a snapshot; one that is further off is old."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    """One frame, with our clock when it arrived."""

    text: str | bytes
    received_ms: int


class SilentStream(Exception):
    """The data channels said nothing for longer than the watchdog allows."""


class FrozenSymbol(Exception):
    """A symbol stands still in the stream while the venue's price moves."""


class StreamProducer:
    """Keeps one subscription alive and publishes what comes over it."""

    def __init__(
        self,
        settings: Settings,
        assets: dict[str, Asset],
        manager: ExchangeManager,
        intake: QuoteIntake,
        clock: Clock,
        *,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        hyperliquid = settings.exchanges.hyperliquid
        self._url = settings.venue.ws_url
        self._origin = hyperliquid.origin
        self._watchdog_secs = hyperliquid.stream_watchdog_secs
        self._assets = assets
        self._dexes = sorted({symbol.rpartition(":")[0] for symbol in assets})
        self._manager = manager
        self._intake = intake
        self._clock = clock
        self._jitter = jitter
        self._view = MarketView(frozenset(assets), round(self._watchdog_secs * 1000))
        self._offset_ms = 0
        self._channels = PriceChannels(hyperliquid.price_channel, assets)
        self._check = CrossCheck()
        self._check_secs = hyperliquid.stream_cross_check_secs

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until ``stop`` is set; every fault of the connection leads to the next one."""
        pause = FIRST_PAUSE_SECS
        while not stop.is_set():
            started_ms = self._clock.now_ms()
            reason = await self._one_connection(stop)
            if stop.is_set():
                return
            instruments.record_stream_reconnect(reason)
            if self._clock.now_ms() - started_ms > STEADY_AFTER_SECS * 1000:
                pause = FIRST_PAUSE_SECS
            wait_secs = self._jitter(pause / 2, pause)
            log.warning("price_stream_lost", reason=reason, pause_secs=round(wait_secs, 2))
            await _wait(stop, wait_secs)
            pause = min(pause * 2, LONGEST_PAUSE_SECS)

    async def _one_connection(self, stop: asyncio.Event) -> str:
        """Stream over one connection; returns why it ended."""
        try:
            async with connect(
                self._url,
                origin=Origin(self._origin) if self._origin else None,
                open_timeout=_OPEN_TIMEOUT_SECS,
                max_size=_MAX_MESSAGE_BYTES,
                proxy=None,
            ) as socket:
                await self._follow(socket, stop)
        except SilentStream:
            return "watchdog"
        except FrozenSymbol:
            return "frozen"
        except websockets.ConnectionClosed:
            return "closed"
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            log.debug("price_stream_refused", error=str(error))
            return "unreachable"
        except VenueError as error:
            log.debug("price_snapshot_failed", error=str(error))
            return "snapshot"
        except redis.RedisError as error:
            log.warning("price_store_away", reason=str(error))
            return "redis"
        return "stopped"

    async def _follow(self, socket: ClientConnection, stop: asyncio.Event) -> None:
        self._view.clear()
        self._channels.clear()
        for subscription in self._channels.subscriptions():
            message = {"method": "subscribe", "subscription": subscription}
            await socket.send(orjson.dumps(message).decode())
        queue: asyncio.Queue[_Arrival] = asyncio.Queue(_QUEUE_LIMIT)
        reader = asyncio.create_task(self._read(socket, queue))
        stopping = asyncio.create_task(stop.wait())
        checker = asyncio.create_task(self._cross_check())
        try:
            fresh_from_ms = await self._take_snapshot()
            last_data_ms = self._clock.now_ms()
            while not stop.is_set():
                silent_secs = (self._clock.now_ms() - last_data_ms) / 1000
                if silent_secs >= self._watchdog_secs:
                    raise SilentStream
                if checker.done():
                    checker.result()
                patience_secs = self._watchdog_secs - silent_secs
                batch = await self._next_batch(queue, (reader, stopping, checker), patience_secs)
                heard_ms = await self._publish(batch, fresh_from_ms)
                last_data_ms = max(last_data_ms, heard_ms)
        finally:
            for task in (reader, stopping, checker):
                task.cancel()
            await asyncio.gather(reader, stopping, checker, return_exceptions=True)

    async def _read(self, socket: ClientConnection, queue: asyncio.Queue[_Arrival]) -> None:
        async for text in socket:
            await queue.put(_Arrival(text, self._clock.now_ms()))

    async def _take_snapshot(self) -> int:
        """Read all prices by REST and publish them; returns our time when that was complete."""
        health = await asyncio.to_thread(self._manager.check_health)
        self._offset_ms = health.clock_offset_ms
        symbols: set[str] = set()
        asked_ms = span_ms = 0
        for attempt in range(_SNAPSHOT_ATTEMPTS):
            # One that had to wait or was repeated is read again: nobody knows of when it is.
            if attempt == 0 or span_ms > SNAPSHOT_SPAN_MS:
                asked_ms = self._clock.now_ms()
                symbols = await self._read_snapshot(asked_ms)
                span_ms = self._clock.now_ms() - asked_ms
        await asyncio.to_thread(self._intake.accept, self._quotes(symbols, asked_ms))
        log.info("price_stream_fresh", symbols=len(symbols), clock_offset_ms=self._offset_ms)
        return self._clock.now_ms()

    async def _read_snapshot(self, asked_ms: int) -> set[str]:
        """Take in what two reads of every dex tell alike; returns those symbols.

        Without a snapshot all are blind, so it goes before other reads of the market.
        """
        symbols: set[str] = set()
        for dex in self._dexes:
            contexts = await asyncio.to_thread(self._manager.contexts, dex, priority="reconcile")
            mids = await asyncio.to_thread(self._manager.mids, dex, priority="reconcile")
            for context in contexts:
                symbol = context.asset.symbol
                if symbol not in self._assets:
                    continue
                if not _alike(context.mid, mids.get(symbol)):
                    self._intake.flag(symbol, "stale_snapshot", asked_ms, str(context.mid))
                    continue
                symbols |= self._view.context_arrived(symbol, context.mid, context.mark, asked_ms)
        return symbols

    async def _cross_check(self) -> None:
        """Poll prices beside the stream; raises ``FrozenSymbol`` when one has frozen in it."""
        while True:
            await asyncio.sleep(self._check_secs)
            mids: dict[str, Decimal] = {}
            asked_ms = self._clock.now_ms()
            try:
                for dex in self._dexes:
                    mids |= await asyncio.to_thread(self._manager.mids, dex)
            except VenueError as error:
                log.debug("price_stream_not_cross_checked", error=str(error))
                continue
            frozen = self._check.polled(mids, asked_ms)
            for symbol in sorted(frozen):
                self._intake.flag(symbol, "frozen", asked_ms, str(mids[symbol]))
            if frozen:
                raise FrozenSymbol

    @staticmethod
    async def _next_batch(
        queue: asyncio.Queue[_Arrival],
        tasks: tuple[asyncio.Task[None], asyncio.Task[bool], asyncio.Task[None]],
        patience_secs: float,
    ) -> list[_Arrival]:
        """Everything that has arrived by now; waits for a first frame if nothing has.

        Empty when it is time to stop, when the cross-check has ended, or when nothing came for
        ``patience_secs``. A connection that ended raises what ended it, after its last frames
        were handed out. ``tasks`` read, wait for the stop, and cross-check.
        """
        reader, stopping, checker = tasks
        if queue.empty():
            getter = asyncio.create_task(queue.get())
            await asyncio.wait(
                {getter, reader, stopping, checker},
                timeout=max(0.0, patience_secs),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not getter.done():
                getter.cancel()
                if reader.done() and not stopping.done():
                    reader.result()
                    raise websockets.ConnectionClosedOK(None, None)
                return []
            batch = [getter.result()]
        else:
            batch = []
        while not queue.empty():
            batch.append(queue.get_nowait())
        return batch

    async def _publish(self, batch: list[_Arrival], fresh_from_ms: int) -> int:
        """Publish the prices of a batch; returns when the last of them arrived, 0 for none."""
        changed: set[str] = set()
        heard_ms = 0
        for arrival in batch:
            if arrival.received_ms < fresh_from_ms:
                continue
            try:
                symbols = self._take_in(arrival)
            except (DecodeError, orjson.JSONDecodeError) as error:
                self._intake.flag("*", "malformed", arrival.received_ms, str(error)[:200])
                continue
            if symbols is not None:
                changed |= symbols
                heard_ms = arrival.received_ms
        if changed:
            quotes = self._quotes(changed, heard_ms)
            await asyncio.to_thread(self._intake.accept, quotes)
        return heard_ms

    def _take_in(self, arrival: _Arrival) -> set[str] | None:
        """Symbols whose price a frame tells; None for frames without prices."""
        received_ms = arrival.received_ms
        news = self._channels.read(arrival.text, received_ms, self._offset_ms)
        match news:
            case Mids(mids, quiet):
                heard = {s for s, mid in mids.items() if self._check.heard(s, mid, received_ms)}
                return self._view.mids_arrived({s: mids[s] for s in heard & quiet})
            case Price(symbol, price):
                frozen = symbol in self._check.frozen
                return set() if frozen else self._view.mids_arrived({symbol: price})
            case Mark(symbol, mark, mid):
                return self._view.context_arrived(symbol, mid, mark, received_ms)
            case VenueComplaint(text):
                log.error("price_stream_error", message=text)
        return None

    def _quotes(self, symbols: set[str], received_ms: int) -> list[Quote]:
        pairs = self._view.pairs(symbols, received_ms)
        venue_ms = received_ms + self._offset_ms
        return [
            Quote(symbol, mid, mark, venue_ms, received_ms, "ws")
            for symbol, (mid, mark) in pairs.items()
        ]


def _alike(mid: Decimal | None, other: Decimal | None) -> bool:
    """Whether two reads of a price, one right after the other, may both be the present one."""
    if mid is None or not other or not mid.is_finite() or not other.is_finite():
        return True  # an empty book, or a price that the guard will judge
    return abs(mid / other - 1) <= SNAPSHOT_TOLERANCE


async def _wait(stop: asyncio.Event, secs: float) -> None:
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({waiter}, timeout=secs)
    waiter.cancel()


def prepare(
    settings: Settings, secrets: Secrets, stop: threading.Event
) -> tuple[ExchangeManager, QuoteIntake, dict[str, Asset]]:
    """Wait for Redis and the venue; the parts that both producers are made of."""
    client = make_redis(settings, secrets)
    service.wait_for("redis", client.ping, (redis.RedisError,), stop)
    # The producer's only loop backs off by itself; a breaker on top would keep it blind longer.
    manager = ExchangeManager(
        settings, secrets.exchanges.hyperliquid.walletAddress, client, breaker=NoBreaker()
    )
    listed = service.wait_for("venue", manager.markets, (VenueError,), stop)
    symbols, unknown = tradable(settings.reconciliation_engine.symbols, listed)
    intake = QuoteIntake(
        PriceStore(client), PriceGuard(settings.exchanges.hyperliquid.max_price_jump)
    )
    for symbol in unknown:
        intake.flag(symbol, "not_listed", SystemClock().now_ms(), "")
    intake.resume(symbols)
    return manager, intake, {symbol: listed[symbol] for symbol in symbols}


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    manager, intake, assets = prepare(settings, secrets, stop)
    producer = StreamProducer(settings, assets, manager, intake, SystemClock())
    try:
        asyncio.run(_until_signalled(producer, stop))
    finally:
        manager.close()


async def _until_signalled(producer: StreamProducer, stopped: threading.Event) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stopped.is_set():
        return
    await producer.run(stop)


def main() -> int:
    """Exit code of the process."""
    return service.run("price_stream_producer", body)


if __name__ == "__main__":
    sys.exit(main())
