"""The paper exchange as its users meet it: orders over HTTP, events over WebSockets, long replays.

The venue is always one process of its own; all clients together are another.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import orjson

from paper_exchange.command_line import build, parser
from paper_exchange.exchange import Exchange
from paper_exchange.universe import default_universe
from shared.benchmarks.figure import Figure

CLIENT_KEYS: Final = tuple(f"0x{i:064x}" for i in range(0xB1, 0xB5))
ETH, SIZE = 1, "0.01"
ORDERS_PER_CLIENT: Final = 1_200
WARM_UP_ORDERS: Final = 100

WS_CLIENTS: Final = 50
WS_COINS: Final = tuple(asset.name for asset in default_universe().markets)
STEP_MS: Final = 100
WS_SECS: Final = 12.0
WS_SKIP_SECS: Final = 2.0
MIN_RECEIVED: Final = 0.97

START_MS: Final = 1_767_225_600_000
UPDATES: Final = 1_000_000
REPLAY_MINUTES: Final = 2 * 1_440
POINTS_PER_CANDLE: Final = 4


@contextmanager
def venue(*arguments: str, addresses: tuple[str, ...] = ()) -> Iterator[str]:
    """A venue on a free port with its state in a file; yields its URL."""
    with tempfile.TemporaryDirectory() as folder:
        accounts = Path(folder, "accounts.json")
        entries = [{"address": name, "deposit_usdc": 1_000_000} for name in addresses]
        accounts.write_bytes(orjson.dumps(entries))
        process = subprocess.Popen(
            [
                sys.executable, "-m", "paper_exchange", "--port=0", "--no-rate-limit",
                f"--accounts={accounts}", f"--state={folder}/paper.db", *arguments,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            if process.stdout is None:
                raise RuntimeError("the venue has no output")
            yield process.stdout.readline().removeprefix("ready ").strip()
        finally:
            process.terminate()
            process.wait(20)


# --- orders -------------------------------------------------------------------------------


def _requests_of(key: str, count: int) -> list[bytes]:
    """HTTP requests with signed orders, made beforehand: signing is the clients' work.

    Orders buy and sell in turns, at once and in full, so each one moves money and a position.
    """
    from eth_account import Account
    from hyperliquid.utils.signing import sign_l1_action

    wallet, first_nonce = Account.from_key(key), time.time_ns() // 1_000_000
    requests = []
    for i in range(count):
        wire = {"a": ETH, "b": i % 2 == 0, "p": "2950" if i % 2 == 0 else "2650", "s": SIZE,
                "r": False, "t": {"limit": {"tif": "Ioc"}}}  # fmt: skip
        action: dict[str, Any] = {"type": "order", "orders": [wire], "grouping": "na"}
        signature = sign_l1_action(wallet, action, None, first_nonce + i, None, True)
        body = orjson.dumps({"action": action, "nonce": first_nonce + i, "signature": signature})
        head = f"POST /exchange HTTP/1.1\r\nHost: paper\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)
    return requests


async def _reply(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return await reader.readexactly(length)


async def _send_all(url: str, requests: list[bytes]) -> float:
    """Send requests one after the other on one connection; returns when the warm-up was over."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    warm = 0.0
    for i, request in enumerate(requests):
        if i == WARM_UP_ORDERS:
            warm = time.perf_counter()
        writer.write(request)
        reply = await _reply(reader)
        if b'"filled"' not in reply:
            raise RuntimeError(f"an order was not accepted: {reply.decode()}")
    writer.close()
    return warm


async def _order_rate(url: str, clients: list[list[bytes]]) -> float:
    warm = await asyncio.gather(*(_send_all(url, requests) for requests in clients))
    counted = len(clients) * (ORDERS_PER_CLIENT - WARM_UP_ORDERS)
    return counted / (time.perf_counter() - max(warm))


def paper_orders_per_s() -> Figure:
    """Orders signed, verified, matched, filled, committed and answered by one venue process.

    Four clients, each on one kept connection, send the next order when the last is answered; the
    prices of all markets keep moving meanwhile.
    """
    from eth_account import Account

    addresses = tuple(Account.from_key(key).address for key in CLIENT_KEYS)
    with venue(addresses=addresses) as url:
        clients = [_requests_of(key, ORDERS_PER_CLIENT) for key in CLIENT_KEYS]
        rate = asyncio.run(_order_rate(url, clients))
    return Figure("paper_orders_per_s", rate, "orders/s", goal=300.0)


# --- WebSocket ----------------------------------------------------------------------------


class Listener(asyncio.Protocol):
    """A bare WebSocket client: notes for each book message how old the price step in it is."""

    def __init__(self) -> None:
        self.ages_ms: list[float] = []
        self.counting = False
        self._data = bytearray()
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"not a stream: {transport!r}")
        self._transport = transport
        transport.write(
            b"GET /ws HTTP/1.1\r\nHost: paper\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        now_ms = time.time() * 1000
        self._data += data
        if not self._is_open:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            del self._data[: end + 4]
            self._is_open = True
            for coin in WS_COINS:
                message = {"method": "subscribe", "subscription": {"type": "l2Book", "coin": coin}}
                self._transport.write(_client_frame(message))
        while (frame := self._next_frame()) is not None:
            at = frame.find(b'"time":')
            if self.counting and at >= 0 and b'"l2Book"' in frame[:30]:
                time_ms = int(frame[at + 7 : at + 20])
                # The step that the message tells of began at a full step of the wall clock.
                self.ages_ms.append(now_ms - time_ms // STEP_MS * STEP_MS)

    def _next_frame(self) -> bytes | None:
        data = self._data
        if len(data) < 4:
            return None
        length, start = data[1] & 127, 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            if len(data) < 10:
                return None
            length, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + length:
            return None
        frame = bytes(data[start : start + length])
        del data[: start + length]
        return frame


def _client_frame(message: dict[str, Any]) -> bytes:
    """A masked text frame of less than 126 bytes; the mask is zero."""
    body = orjson.dumps(message)
    return bytes([0x81, 0x80 | len(body)]) + b"\x00\x00\x00\x00" + body


async def _listen(url: str) -> list[Listener]:
    address, loop = urlsplit(url), asyncio.get_running_loop()
    listeners = []
    for _ in range(WS_CLIENTS):
        _, listener = await loop.create_connection(
            Listener, str(address.hostname), address.port or 0
        )
        listeners.append(listener)
    await asyncio.sleep(WS_SKIP_SECS)
    for listener in listeners:
        listener.counting = True
    await asyncio.sleep(WS_SECS)
    for listener in listeners:
        listener.counting = False
    return listeners


def paper_ws_p99_ms() -> Figure:
    """Age of a price step when its book message reaches the client: 99th percentile.

    Fifty clients subscribe to the books of ten symbols at one message per step (100 ms; the venue's
    own rate of one in 500 ms would be a fifth of the load). The age begins at the step's due time,
    so it holds the wait for the loop, the step of all markets, ten books of twenty levels, their
    encoding, and 500 frames of about 1.3 kB sent before the last one arrives.
    """
    with venue(f"--book-interval={STEP_MS}") as url:
        listeners = asyncio.run(_listen(url))
    ages = np.concatenate([listener.ages_ms for listener in listeners])
    expected = WS_CLIENTS * len(WS_COINS) * WS_SECS * 1000 / STEP_MS
    if len(ages) < MIN_RECEIVED * expected:
        raise RuntimeError(f"the rate was not held: {len(ages)} of {expected:.0f} messages")
    p99 = float(np.percentile(ages, 99))
    return Figure("paper_ws_p99_ms", p99, "ms", goal=50.0, better="lower")


# --- long runs ----------------------------------------------------------------------------


def _driven_exchange(*arguments: str) -> Exchange:
    options = ["--port=0", f"--start-time={START_MS}", "--admin-token=bench", *arguments]
    exchange, _ = build(parser().parse_args(options))
    return exchange


def _walk(exchange: Exchange, n_steps: int) -> None:
    for _ in range(n_steps):
        if exchange.clock.driven_ms is None:
            raise RuntimeError("the clock is not driven")
        exchange.clock.driven_ms += STEP_MS
        exchange.advance()


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def paper_memory_growth_mib() -> Figure:
    """Resident memory gained over a million price updates of ten markets, state in a file.

    A tenth of it is walked before, so that every ring and tape is full.
    """
    with tempfile.TemporaryDirectory() as folder:
        exchange = _driven_exchange(f"--state={folder}/paper.db")
        n_steps = UPDATES // len(exchange.feed.assets)
        _walk(exchange, n_steps // 10)
        before = _resident_mib()
        _walk(exchange, n_steps)
        growth = _resident_mib() - before
        exchange.store.close()
    return Figure("paper_memory_growth_mib", growth, "MiB", goal=16.0, better="lower")


def _candle_file(folder: str) -> Path:
    rng = np.random.default_rng(5)
    path = Path(folder, "BTC_1m.csv")
    close = 80_000 * np.exp(np.cumsum(rng.normal(0, 4e-4, REPLAY_MINUTES)))
    open_px = np.concatenate([[80_000.0], close[:-1]])
    high, low = np.maximum(open_px, close) * 1.0003, np.minimum(open_px, close) * 0.9997
    rows = ["timestamp_ms,open,high,low,close,volume"]
    rows += [
        f"{START_MS + i * 60_000},{o},{h},{lo},{c},1"
        for i, (o, h, lo, c) in enumerate(zip(open_px, high, low, close, strict=True))
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def paper_replay_x() -> Figure:
    """How many times faster than real time one-minute candles are replayed, nothing left out.

    The speed is such that a step of the venue is a quarter of a candle: it passes open, low, high
    and close, with all ten markets, matching, marks and candles at each of them.
    """
    speed = 60_000 / POINTS_PER_CANDLE / STEP_MS
    with tempfile.TemporaryDirectory() as folder:
        data = _candle_file(folder)
        exchange = _driven_exchange(f"--data={data}", f"--speed={speed}", f"--state={folder}/p.db")
        n_steps = (REPLAY_MINUTES - 1) * POINTS_PER_CANDLE
        start = time.perf_counter()
        _walk(exchange, n_steps)
        secs = time.perf_counter() - start
        exchange.store.close()
    return Figure("paper_replay_x", (REPLAY_MINUTES - 1) * 60 / secs, "x real time", goal=5_000.0)
