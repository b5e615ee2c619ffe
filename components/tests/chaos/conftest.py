"""A small platform in this process: gateway, observers and reconciliation over real servers.

Everything is the real part: MariaDB, Redis, the paper exchange, the gateway and the observers
behind HTTP. In one process, so that a test can take one safeguard away and leave the rest alone.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import requests
import uvicorn
from sqlalchemy import Engine, text

from chaos.checker import Violation, check
from chaos.records import Records
from chaos.venue import VenueAdmin
from exchange_observer.app import make_app
from exchange_observer.reader import AccountRoute
from exchange_observer.service import Observer
from order_gateway.app import create_app
from order_gateway.wiring import Gateway
from order_gateway.wiring import build as build_gateway
from shared.clock import SystemClock
from shared.config import Secrets, Settings, load_settings
from shared.database import UnitOfWork
from shared.exchange.errors import VenueError
from shared.market_data.quotes import Quote
from shared.orders.intents import OrderRequest
from shared.storage.execution_state import ExecutionStateStore
from shared.storage.orders import OrderRecord
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.testing.paper_venue import ADMIN_TOKEN, PaperVenue
from shared.testing.schema import SchemaSnapshot
from shared.testing.servers import free_port, wait_until
from shared.testing.shard_sums import want
from worker import wiring
from worker.reconciliation_engine import reconciler
from worker.services.alert_watch import WatchLimits, watch
from worker.services.balance import update_balance
from worker.services.reconciliation import Report

SYMBOLS = ("BTC", "ETH")
START_SECS = 60.0


@dataclass
class SmallPlatform:
    """What a test does with it; ``violations`` are those that a test has not seen yet."""

    wired: wiring.Wiring
    gateway: Gateway
    records: Records
    owner: Engine
    wanted: dict[str, float] = field(default_factory=dict)
    known: set[Violation] = field(default_factory=set)

    @property
    def admin(self) -> VenueAdmin:
        return self.records.admin

    def execute(self, name: str, leg: str = "hand") -> OrderRecord:
        """An order by hand, straight at the gateway's use case."""
        return self.gateway.service.execute(
            OrderRequest(
                f"hand:{name}", "BTC", "buy", Decimal("0.01"), "market", "Ioc", None, False, "hand",
                None, leg,
            )
        )  # fmt: skip

    def read_account(self) -> None:
        """What the beat does every second."""
        wired = self.wired
        update_balance(wired.exchange, wired.engine, wired.redis, wired.clock)

    def want(self, **directions: float) -> None:
        """Let the runs ask for these directions."""
        self.wanted = directions
        want(self.wired.engine, self.wanted, _now_ms())

    def reconcile(self) -> Report:
        return reconciler(self.wired, lambda: None).reconcile()

    def told_of_a_halt(self, since_ms: int) -> bool:
        """Whether people were told, after what the beat does every few seconds."""
        wired = self.wired
        watch(wired.engine, wired.alerts, WatchLimits.of(wired.settings), wired.clock)
        return self.records.has_alert(since_ms)

    def settled(self, secs: float = 20) -> None:
        """Wait until nothing is open and every fill is recorded."""

        def nothing_open() -> bool:
            with UnitOfWork(self.wired.engine) as uow:
                executions = ExecutionStateStore(uow.conn).read(SYMBOLS, 0).executions
            return not any(x.open_intent or x.unrecorded for x in executions.values())

        wait_until(nothing_open, secs, "every order to be settled")

    def violations(self) -> set[str]:
        """Rules broken since the last call that stay broken for a while."""
        lasting = set(check(self.records.history())) - self.known
        deadline = time.monotonic() + 3
        while lasting and time.monotonic() < deadline:
            time.sleep(0.2)
            lasting &= set(check(self.records.history()))
        self.known |= lasting
        return {violation.rule for violation in lasting}

    @contextmanager
    def without_unique(self, *keys: str) -> Iterator[None]:
        """The journal without some of its unique keys; afterwards it is empty and has them."""
        with self.owner.begin() as conn:
            for key in keys:
                conn.execute(text(f"ALTER TABLE order_execution_log DROP INDEX {key}"))
        try:
            yield
        finally:
            with self.owner.begin() as conn:
                conn.execute(text("DELETE FROM order_execution_log"))
                for key in keys:
                    conn.execute(text(f"ALTER TABLE order_execution_log ADD UNIQUE {key} ({key})"))
            self.known |= set(check(self.records.history()))


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory, secrets: Secrets) -> Iterator[VenueAdmin]:
    """A paper exchange that takes faults, with a funded account for the test wallet."""
    wallet = secrets.exchanges.hyperliquid.walletAddress.lower()
    folder = tmp_path_factory.mktemp("venue")
    with PaperVenue(folder, {wallet: "100000"}, "--no-rate-limit") as paper:
        yield VenueAdmin(paper.url, ADMIN_TOKEN)


@pytest.fixture(scope="module")
def own_settings(
    service_environ: Mapping[str, str],
    venue: VenueAdmin,
    tmp_path_factory: pytest.TempPathFactory,
) -> Settings:
    """Settings of a platform that settles doubts within seconds."""
    folder = tmp_path_factory.mktemp("small")
    gateway, *observers = (free_port() for _ in range(3))
    nodes = [f"http://127.0.0.1:{port}" for port in observers]
    environ = {
        **service_environ,
        "T3__paper_exchange__url": venue.url,
        "T3__order_gateway__port": str(gateway),
        "T3__reconciliation_engine__order_gateway_url": f"http://127.0.0.1:{gateway}",
        "T3__reconciliation_engine__observer_nodes": json.dumps(nodes),
        "T3__reconciliation_engine__symbols": json.dumps(list(SYMBOLS)),
        "T3__exchanges__hyperliquid__rate_budget_per_minute": "100000",
        "T3__exchanges__hyperliquid__timeout_secs": "3",
        "T3__order_gateway__expires_after_secs": "2",
        "T3__order_gateway__evidence_margin_secs": "1",
        "T3__order_gateway__resolve_interval_secs": "0.2",
        "T3__order_gateway__emergency_journal": str(folder / "emergency.jsonl"),
        "T3__risk__audit_trail": str(folder / "audit.jsonl"),
        "T3__providence__desired_run_count": "100",
    }
    return load_settings(environ=environ)


@pytest.fixture(scope="module")
def platform(
    venue: VenueAdmin,
    own_settings: Settings,
    secrets: Secrets,
    _schema: SchemaSnapshot,
    _schema_owner: Engine,
) -> Iterator[SmallPlatform]:
    """Everything running, the account read, no order yet."""
    _schema.restore(_schema_owner)
    settings, wired = own_settings, wiring.build(own_settings, secrets)
    wired.redis.flushall()
    gateway = build_gateway(settings, secrets, lambda: None)
    wallet = secrets.exchanges.hyperliquid.walletAddress
    platform = SmallPlatform(
        wired, gateway, Records(wired.engine, venue, wallet, settings), _schema_owner
    )
    with UnitOfWork(wired.engine) as uow:
        markets = wired.exchange.markets()
        ProductStore(uow.conn).sync([markets[symbol] for symbol in SYMBOLS])
        uow.commit()
    with ExitStack() as running:
        running.enter_context(_repeated(lambda: _publish_prices(platform), 0.3))
        running.enter_context(_served(create_app(gateway), settings.order_gateway.port))
        for number, node in enumerate(settings.reconciliation_engine.observer_nodes, start=1):
            route = AccountRoute(venue.url, wallet, ("",), timeout_secs=3)
            observer = Observer(
                f"observer_{number}", route, SystemClock(), interval_secs=0.2, max_age_ms=5_000
            )
            running.enter_context(_served(make_app(observer), int(node.rpartition(":")[2])))
        wait_until(lambda: _is_ready(settings), START_SECS, "the gateway to be ready")
        platform.read_account()
        yield platform
    gateway.runtime.stop()
    gateway.trail.close()
    gateway.manager.close()
    wired.exchange.close()
    wired.close()


def _publish_prices(platform: SmallPlatform) -> None:
    """What the producer and the workers do: prices, and sums that stay young."""
    wired = platform.wired
    mids = wired.exchange.mids()
    now_ms = _now_ms()
    PriceStore(wired.redis).publish(
        [Quote(s, mids[s], mids[s], now_ms, now_ms, "ws") for s in SYMBOLS]
    )


@contextmanager
def _repeated(work: Callable[[], None], secs: float) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(secs):
            try:
                work()
            except VenueError:
                continue  # the next one

    work()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(10)


@contextmanager
def _served(app: Any, port: int) -> Iterator[None]:
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, START_SECS, f"port {port}")
    yield
    server.should_exit = True
    thread.join(15)


def _is_ready(settings: Settings) -> bool:
    url = settings.reconciliation_engine.order_gateway_url
    return requests.get(f"{url}/ready", timeout=5).status_code == 200


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
