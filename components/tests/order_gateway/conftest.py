"""A gateway process on real MariaDB and Redis, against the paper exchange behind a faulty wire."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from sqlalchemy import Engine

from shared.config import Secrets, Settings
from shared.database import make_engine, make_redis
from shared.storage import redis_keys
from shared.testing.http_server import LocalServer, Reply, Request
from shared.testing.paper_venue import PaperVenue
from shared.testing.schema import SchemaSnapshot
from shared.testing.servers import free_port, wait_until

EXPIRES_SECS = 2
MARGIN_SECS = 1
START_TIMEOUT_SECS = 40
SYMBOLS = ("BTC", "ETH", "SOL")


@dataclass
class Wire:
    """What lies between gateway and venue. ``fault`` is asked once per ``/exchange`` order.

    It returns ``pass``, ``swallow_reply`` (the venue gets the order, its reply is lost),
    ``swallow_request`` (the venue gets nothing), ``delay`` (the reply comes a second later),
    ``hang`` (it does not come for long), or a status code to answer instead.
    """

    venue_url: str
    fault: Callable[[], str] = lambda: "pass"
    orders_seen: int = 0
    hung: threading.Event = field(default_factory=threading.Event)
    accounts_open: threading.Event = field(default_factory=threading.Event)
    """While it is not set, nobody is told what the account holds."""
    account_mode: str = "default"
    """How the account keeps its balances."""
    url: str = ""

    def __post_init__(self) -> None:
        self.accounts_open.set()

    def carry(self, request: Request) -> Reply:
        fault = "pass"
        if request.path == "/info" and request.json()["type"] == "clearinghouseState":
            self.accounts_open.wait(30)
        if request.path == "/info" and request.json()["type"] == "userAbstraction":
            return Reply.json(self.account_mode)
        if request.path == "/exchange" and request.json()["action"]["type"] == "order":
            self.orders_seen += 1
            fault = self.fault()
        if fault.isdigit():
            return Reply(int(fault), "null")
        if fault == "swallow_request":
            return Reply(cut=True)
        reply = requests.post(self.venue_url + request.path, data=request.body, timeout=10)
        if fault == "hang":
            self.hung.set()
            return Reply(hang_secs=30, cut=True)
        if fault == "swallow_reply":
            return Reply(cut=True)
        hang_secs = 1.0 if fault == "delay" else 0.0
        return Reply(reply.status_code, reply.content, hang_secs)


@pytest.fixture(scope="session")
def venue_url(tmp_path_factory: pytest.TempPathFactory, secrets: Secrets) -> Iterator[str]:
    """A paper exchange with a funded account for the test wallet."""
    wallet = secrets.exchanges.hyperliquid.walletAddress.lower()
    # these tests ask it far more than a platform does
    with PaperVenue(
        tmp_path_factory.mktemp("paper"), {wallet: "100000"}, "--no-rate-limit"
    ) as venue:
        yield venue.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs and audit trail of a module's gateway."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def wire(venue_url: str) -> Iterator[Wire]:
    """The wire, without a fault at first."""
    wire = Wire(venue_url)
    with LocalServer(wire.carry) as server:
        wire.url = server.url
        yield wire


class Venue:
    """The venue's own books, asked directly."""

    def __init__(self, url: str, wallet: str) -> None:
        self.url = url
        self.wallet = wallet

    def info(self, kind: str, **params: Any) -> Any:
        reply = requests.post(f"{self.url}/info", json={"type": kind, **params}, timeout=10)
        reply.raise_for_status()
        return reply.json()

    def position(self, symbol: str) -> float:
        state = self.info("clearinghouseState", user=self.wallet)
        found = [p["position"] for p in state["assetPositions"]]
        return next((float(p["szi"]) for p in found if p["coin"] == symbol), 0.0)

    def orders_with(self, cloid: str) -> list[int]:
        """Venue order ids that carry a client order id."""
        history = self.info("historicalOrders", user=self.wallet)
        return sorted({e["order"]["oid"] for e in history if e["order"].get("cloid") == cloid})

    def fills_of(self, cloid: str) -> list[dict[str, Any]]:
        fills = self.info("userFills", user=self.wallet)
        return [f for f in fills if f.get("cloid") == cloid]

    def mid(self, symbol: str) -> float:
        return float(self.info("allMids")[symbol])


@pytest.fixture(scope="module")
def venue(venue_url: str, secrets: Secrets) -> Venue:
    return Venue(venue_url, secrets.exchanges.hyperliquid.walletAddress.lower())


@pytest.fixture
def outside(venue: Venue, secrets: Secrets) -> Exchange:
    """The account's owner at work with the official client, past the gateway."""
    key = secrets.exchanges.hyperliquid.privateKey.get_secret_value()
    return Exchange(Account.from_key(key), venue.url)


class PriceFeed:
    """Writes the venue's mids to Redis, as the price producer does; can be frozen."""

    def __init__(self, client: redis.Redis, venue: Venue) -> None:
        self._client = client
        self._venue = venue
        self._stop = threading.Event()
        self.frozen = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self.frozen.is_set():
                self.write()
            self._stop.wait(0.2)

    def write(self, age_ms: int = 0) -> None:
        now = time.time_ns() // 1_000_000 - age_ms
        mids = self._venue.info("allMids")
        for symbol in SYMBOLS:
            fields = {"mid": mids[symbol], "mark": mids[symbol], "source": "ws"}
            stamps = {"venue_ms": now, "received_ms": now}
            self._client.hset(redis_keys.price(symbol), mapping={**fields, **stamps})

    def __enter__(self) -> PriceFeed:
        self.write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)


@pytest.fixture(scope="module")
def stream(settings: Settings, secrets: Secrets) -> Iterator[redis.Redis]:
    """A client on a Redis that was empty when the module began."""
    client = make_redis(settings, secrets)
    client.flushall()
    yield client
    client.connection_pool.disconnect()


@pytest.fixture(scope="module")
def running_feed(stream: redis.Redis, venue: Venue) -> Iterator[PriceFeed]:
    """Prices in Redis for the length of a module."""
    with PriceFeed(stream, venue) as feed:
        yield feed


@pytest.fixture
def feed(running_feed: PriceFeed) -> PriceFeed:
    """The module's price feed, not frozen and fresh."""
    running_feed.frozen.clear()
    running_feed.write()
    return running_feed


class GatewayProcess:
    """``python -m order_gateway`` as a person would start it."""

    def __init__(self, environ: Mapping[str, str], folder: Path, token: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {**environ, "T3__order_gateway__port": str(self.port)}
        self.folder = folder
        self.token = token
        self.audit_file = folder / "audit_trail.jsonl"
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self, **overrides: str) -> None:
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "order_gateway"],
                env={**self.environ, **overrides},
                stdout=log,
                stderr=log,
            )

    def start(self, *, ready: bool = True, **overrides: str) -> None:
        self.spawn(**overrides)
        path = "/ready" if ready else "/health"
        wait_until(lambda: self._answers(path), START_TIMEOUT_SECS, f"the gateway's {path}")

    def _answers(self, path: str) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return requests.get(self.url + path, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def restart(self, **overrides: str) -> None:
        self.stop()
        self.start(**overrides)

    def sibling(self, folder: Path, **overrides: str) -> GatewayProcess:
        """Another gateway of the same settings, with its own port and audit trail."""
        paths = {
            "T3__risk__audit_trail": str(folder / "audit.jsonl"),
            "T3__order_gateway__emergency_journal": str(folder / "emergency.jsonl"),
        }
        environ = {**self.environ, **paths}
        return GatewayProcess({**environ, **overrides}, folder, self.token)

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def post(self, path: str, body: Any, timeout: float = 30) -> requests.Response:
        return requests.post(self.url + path, json=body, headers=self.headers, timeout=timeout)

    def execute(self, body: dict[str, Any]) -> dict[str, Any]:
        """The order that an accepted request became."""
        reply = self.post("/execute_order", body)
        assert reply.status_code == 200, reply.text
        order: dict[str, Any] = reply.json()
        return order

    def refusal(self, body: dict[str, Any]) -> dict[str, Any]:
        """Why a request was refused by a risk rule."""
        reply = self.post("/execute_order", body)
        assert reply.status_code == 403, reply.text
        blocked: dict[str, Any] = reply.json()
        return blocked

    def get(self, path: str, **params: Any) -> requests.Response:
        return requests.get(self.url + path, params=params, headers=self.headers, timeout=10)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def epoch(self, symbol: str) -> int:
        orders = self.get("/orders", symbol=symbol, limit=1).json()
        return orders[0]["plan_epoch"] + (0 if orders[0]["open"] else 1) if orders else 0

    def by_hand(self, name: str, symbol: str, side: str, size: str, **extra: Any) -> dict[str, Any]:
        """Body of an order by hand."""
        body = {"intent_id": f"hand:{name}", "symbol": symbol, "side": side, "size": size}
        return {**body, "type": "market", "origin": "hand", **extra}

    def order(self, cloid: str) -> dict[str, Any]:
        """The order as the journal has it."""
        reply = self.get(f"/orders/{cloid}")
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def settled(self, cloid: str, timeout_secs: float = 20) -> dict[str, Any]:
        """The order once it is no longer open."""
        wait_until(lambda: not self.order(cloid)["open"], timeout_secs, f"{cloid} to be settled")
        return self.order(cloid)

    def planned(self, symbol: str, side: str, size: str, **extra: Any) -> dict[str, Any]:
        """Body of a reconciliation order in the symbol's current plan epoch."""
        epoch = self.epoch(symbol)
        leg = "close" if extra.get("reduce_only") else "open"
        body = {"symbol": symbol, "side": side, "size": size, "type": "market"}
        names = {"intent_id": f"{symbol}:{epoch}:{leg}", "plan_epoch": epoch, "leg": leg}
        return {**body, **names, **extra}


@pytest.fixture(scope="module")
def gateway_environ(service_environ: Mapping[str, str], wire: Wire, folder: Path) -> dict[str, str]:
    """Settings of a gateway that settles doubts within seconds."""
    return {
        **service_environ,
        "T3__paper_exchange__url": wire.url,
        "T3__order_gateway__expires_after_secs": str(EXPIRES_SECS),
        "T3__order_gateway__evidence_margin_secs": str(MARGIN_SECS),
        "T3__order_gateway__resolve_interval_secs": "0.3",
        "T3__reconciliation_engine__symbols": json.dumps(list(SYMBOLS)),
        "T3__risk__audit_trail": str(folder / "audit_trail.jsonl"),
        "T3__risk__max_orders_per_minute": "1000",
        "T3__order_gateway__emergency_journal": str(folder / "emergency_journal.jsonl"),
        "T3__exchanges__hyperliquid__timeout_secs": "2",
    }


@pytest.fixture(scope="module")
def running_gateway(
    gateway_environ: dict[str, str],
    _schema: SchemaSnapshot,
    _schema_owner: Engine,
    running_feed: PriceFeed,
    secrets: Secrets,
    folder: Path,
) -> Iterator[GatewayProcess]:
    """One gateway for the tests of a module, on a database that was empty when it started."""
    _schema.restore(_schema_owner)
    token = secrets.order_gateway.token.get_secret_value()
    gateway = GatewayProcess(gateway_environ, folder, token)
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def tables(settings: Settings, secrets: Secrets) -> Engine:
    """The gateway's own tables as the application user sees them, with what is in them."""
    return make_engine(settings, secrets)


@pytest.fixture
def gateway(
    running_gateway: GatewayProcess, wire: Wire, feed: PriceFeed, stream: redis.Redis
) -> GatewayProcess:
    """The module's gateway: running, nothing open, no switch set, no fault on the wire."""
    wire.fault, wire.orders_seen = lambda: "pass", 0
    wire.hung.clear()
    stream.delete(redis_keys.rate_budget("direct"))
    if running_gateway.get("/risk").json()["kill_switch"]["engaged"]:
        lift = {"action": "lift", "reason": "the next test begins"}
        assert running_gateway.post("/risk/kill-switch", lift).status_code == 200
    assert not [o for o in running_gateway.get("/orders").json() if o["open"]]
    return running_gateway
