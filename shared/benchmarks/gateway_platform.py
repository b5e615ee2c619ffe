"""An order gateway with all that it needs, as processes, for figures measured over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson
import redis
import requests
import yaml
from eth_account import Account

from shared.benchmarks.live_platform import LivePlatform, live_platform
from shared.database import make_redis
from shared.exchange.precision import OrderFilters, plain
from shared.market_data.quotes import Quote
from shared.native_servers import write_private
from shared.storage import redis_keys
from shared.storage.streams import PriceStore
from shared.testing.paper_venue import PaperVenue
from shared.testing.servers import free_port

KEY: Final = "0x" + "b7" * 32
TOKEN: Final = "bench-token-" + "x" * 32
SYMBOLS: Final = ("BTC", "ETH", "SOL", "HYPE", "XRP", "DOGE", "AVAX", "LINK")
ORDER_USD: Final = Decimal(60)
START_TIMEOUT_SECS: Final = 60.0
FEED_SECS: Final = 0.2


@dataclass(frozen=True)
class Answer:
    """One HTTP exchange; ``secs`` from the request's first byte to the reply's last."""

    status: int
    body: dict[str, Any]
    secs: float
    parts_ms: dict[str, float]


class Client:
    """One kept connection to the gateway, of one thread."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Ask for something; the status is the caller's to judge."""
        return self._call("POST", path, orjson.dumps(body))

    def get(self, path: str) -> Answer:
        """Read something."""
        return self._call("GET", path, None)

    def _call(self, method: str, path: str, content: bytes | None) -> Answer:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        start = time.perf_counter()
        self._connection.request(method, path, content, headers)
        reply = self._connection.getresponse()
        read = reply.read()
        secs = time.perf_counter() - start
        parts = _parts(reply.headers.get("Server-Timing", ""))
        return Answer(reply.status, orjson.loads(read), secs, parts)

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


@dataclass(frozen=True)
class GatewayPlatform:
    """A ready gateway on loopback, its process and the platform beneath it."""

    platform: LivePlatform
    port: int
    sizes: Mapping[str, str]
    """Coins of an order of ``ORDER_USD``, by symbol."""
    process: subprocess.Popen[bytes]
    environ: Mapping[str, str]
    """With which another process finds this gateway."""

    def cpu_secs(self) -> float:
        """User and system time that the gateway has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gateway_platform(**overrides: object) -> Iterator[GatewayPlatform]:
    """Servers, paper exchange, prices and a gateway that says it is ready.

    The shared request budget is refilled all the time: the venue's own would allow 20 orders a
    second, and it is the gateway that is measured.
    """
    with ExitStack() as stack:
        platform = stack.enter_context(live_platform())
        wallet = Account.from_key(KEY).address.lower()
        venue = PaperVenue(platform.folder / "venue", {wallet: "1000000"}, "--no-rate-limit")
        stack.enter_context(venue)
        client = make_redis(platform.settings, platform.secrets)
        stack.enter_context(_feed(client, venue.url))
        port = free_port()
        environ = {
            **platform.environ,
            "T3_SECRETS": str(_secrets(platform, wallet)),
            "T3__paper_exchange__url": venue.url,
            "T3__order_gateway__port": str(port),
            "T3__order_gateway__emergency_journal": str(platform.folder / "emergency.jsonl"),
            "T3__risk__audit_trail": str(platform.folder / "audit_trail.jsonl"),
            "T3__risk__max_orders_per_minute": "10000",
            "T3__reconciliation_engine__symbols": json.dumps(SYMBOLS),
            **{f"T3__{key}": str(value) for key, value in overrides.items()},
        }
        process = stack.enter_context(_process(environ, platform.folder / "gateway.log"))
        _wait_until_ready(port, process, platform.folder / "gateway.log")
        yield GatewayPlatform(platform, port, _sizes(venue.url), process, environ)


def _secrets(platform: LivePlatform, wallet: str) -> Path:
    content = yaml.safe_load(Path(platform.environ["T3_SECRETS"]).read_text())
    content["exchanges"] = {"hyperliquid": {"walletAddress": wallet, "privateKey": KEY}}
    content["order_gateway"] = {"token": TOKEN}
    path = platform.folder / "gateway-secrets.yml"
    write_private(path, yaml.safe_dump(content))
    return path


@contextmanager
def _process(environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "order_gateway"],
            env=environ, stdout=out, stderr=out, cwd=log.parent,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECS
    while True:
        client = Client(port)
        try:
            if client.get("/ready").status == 200:
                return
        except OSError:
            pass  # it does not listen yet
        finally:
            client.close()
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the gateway did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


@contextmanager
def _feed(client: redis.Redis, venue_url: str) -> Iterator[None]:
    """Fresh prices in Redis, as the price producer writes them, and a full request budget."""
    stop = threading.Event()
    store = PriceStore(client)
    host = venue_url.removeprefix("http://")

    def run() -> None:
        connection = http.client.HTTPConnection(host, timeout=10)
        while not stop.is_set():
            connection.request("POST", "/info", b'{"type":"allMids"}')
            mids = orjson.loads(connection.getresponse().read())
            now_ms = time.time_ns() // 1_000_000
            prices = [(symbol, Decimal(mids[symbol])) for symbol in SYMBOLS]
            store.publish([Quote(s, price, price, now_ms, now_ms, "ws") for s, price in prices])
            client.delete(redis_keys.rate_budget("direct"))
            stop.wait(FEED_SECS)
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def _sizes(venue_url: str) -> dict[str, str]:
    def info(kind: str) -> Any:
        return requests.post(f"{venue_url}/info", json={"type": kind}, timeout=10).json()

    mids = info("allMids")
    decimals = {asset["name"]: asset["szDecimals"] for asset in info("meta")["universe"]}
    return {
        symbol: plain(OrderFilters(decimals[symbol]).round_size(ORDER_USD / Decimal(mids[symbol])))
        for symbol in SYMBOLS
    }


def _parts(header: str) -> dict[str, float]:
    """``venue;dur=1.5, total;dur=4`` as ms by part."""
    pairs = (item.strip().split(";dur=") for item in header.split(",") if item)
    return {name: float(value) for name, value in pairs}
