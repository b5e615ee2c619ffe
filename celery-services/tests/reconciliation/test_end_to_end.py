"""Reconciliation against the real gateway, real observers and the paper exchange."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from sqlalchemy import Engine, select

from shared.clock import SystemClock
from shared.config import Secrets, Settings, load_settings
from shared.database import UnitOfWork, make_redis
from shared.exchange.errors import VenueError
from shared.market_data.quotes import Quote
from shared.reconciliation.intents import Decision
from shared.storage.products import ProductStore
from shared.storage.reconciliation_log import ReconciliationLog
from shared.storage.streams import PriceStore
from shared.storage.tables import order_execution_log
from shared.testing.servers import free_port, wait_until
from shared.testing.shard_sums import want
from worker.reconciliation_engine import reconciler
from worker.services.balance import update_balance
from worker.services.reconciliation import Report
from worker.wiring import Wiring

SYMBOLS = ("BTC", "ETH")
START_SECS = 60


@dataclass
class Processes:
    """Services of the platform, run as a person would run them."""

    folder: Path
    environ: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", *command], env=dict(self.environ), stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop_all(self) -> None:
        """The last started first, as the supervisor does: none has to wait for its venue."""
        for process in reversed(self.running.values()):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3_000:]


@dataclass
class Platform:
    """The running services, and what a test does with them."""

    processes: Processes
    wired: Wiring
    ports: dict[str, int]
    stop: threading.Event = field(default_factory=threading.Event)
    wanted: dict[str, float] = field(default_factory=dict)

    def venue(self, kind: str, **more: Any) -> Any:
        url = self.wired.settings.venue.rest_url
        reply = requests.post(f"{url}/info", json={"type": kind, **more}, timeout=10)
        reply.raise_for_status()
        return reply.json()

    def position(self, symbol: str) -> Decimal:
        wallet = self.wired.secrets.exchanges.hyperliquid.walletAddress
        held = self.venue("clearinghouseState", user=wallet)["assetPositions"]
        sizes = {p["position"]["coin"]: Decimal(p["position"]["szi"]) for p in held}
        return sizes.get(symbol, Decimal(0))

    def keep_alive(self) -> None:
        """What producer, sampler, workers and beat do meanwhile: prices, sums, readings."""
        prices = PriceStore(self.wired.redis)
        while not self.stop.wait(0.25):
            mids = self.venue("allMids")
            now_ms = time.time_ns() // 1_000_000
            prices.publish(
                [
                    Quote(s, Decimal(mids[s]), Decimal(mids[s]), now_ms, now_ms, "ws")
                    for s in SYMBOLS
                ]
            )
            want(self.wired.engine, self.wanted, now_ms)
            self.read_account()

    def read_account(self) -> None:
        try:
            update_balance(
                self.wired.exchange, self.wired.engine, self.wired.redis, self.wired.clock
            )
        except VenueError:
            return  # the next one, as in the task

    def want(self, **directions: float) -> None:
        self.wanted = directions
        time.sleep(0.6)

    def reconcile(self) -> Report:
        return reconciler(self.wired, self.read_account).reconcile()

    def reconcile_until_held(self, secs: float = 45) -> None:
        """Reconcile until every symbol is at its target or too near to trade."""

        def held() -> bool:
            looked = self.reconcile().looked
            return all(x.verdict.decision is Decision.HOLD for x in looked)

        try:
            wait_until(held, secs, "every symbol to be at its target")
        except TimeoutError as error:
            with UnitOfWork(self.wired.engine) as uow:
                reasons = [
                    (r.symbol, r.decision, r.detail["reason"], r.detail["reply"])
                    for r in ReconciliationLog(uow.conn).newest()
                ]
            raise AssertionError(f"{reasons}\n{self.processes.log('gateway')}") from error

    def journal(self) -> list[tuple[str, str, str]]:
        with UnitOfWork(self.wired.engine) as uow:
            log = order_execution_log
            rows = uow.conn.execute(
                select(log.c.intent_id, log.c.side, log.c.state).order_by(log.c.id)
            )
            return [(row.intent_id, row.side, row.state) for row in rows]

    def venue_orders(self) -> list[str]:
        """Client order ids of everything the venue ever took from the wallet."""
        wallet = self.wired.secrets.exchanges.hyperliquid.walletAddress
        history = self.venue("historicalOrders", user=wallet)
        return sorted(
            {entry["order"]["oid"]: entry["order"]["cloid"] for entry in history}.values()
        )

    def journal_cloids(self) -> list[str]:
        with UnitOfWork(self.wired.engine) as uow:
            return sorted(uow.conn.execute(select(order_execution_log.c.cloid)).scalars())

    def answers(self, name: str, path: str) -> bool:
        try:
            url = f"http://127.0.0.1:{self.ports[name]}{path}"
            return requests.get(url, timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    def start_observer(self, name: str) -> None:
        port = str(self.ports[name])
        arguments = ["--observer-id", name, "--port", port, "--interval", "0.3"]
        self.processes.start(name, "exchange_observer", *arguments)


@pytest.fixture
def platform(
    engine: Engine,
    redis_client: redis.Redis,
    service_environ: Mapping[str, str],
    secrets: Secrets,
    tmp_path: Path,
) -> Iterator[Platform]:
    names = ("paper", "gateway", "observer_1", "observer_2")
    ports = {name: free_port() for name in names}
    url = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    environ = {
        **service_environ,
        "T3__paper_exchange__url": url["paper"],
        "T3__order_gateway__port": str(ports["gateway"]),
        "T3__risk__audit_trail": str(tmp_path / "audit.jsonl"),
        "T3__risk__max_orders_per_minute": "10000",
        "T3__order_gateway__resolve_interval_secs": "0.2",
        "T3__reconciliation_engine__symbols": json.dumps(list(SYMBOLS)),
        "T3__reconciliation_engine__order_gateway_url": url["gateway"],
        "T3__reconciliation_engine__observer_nodes": json.dumps(
            [url["observer_1"], url["observer_2"]]
        ),
        "T3__reconciliation_engine__max_snapshot_age_secs": "5",
        "T3__providence__desired_run_count": "100",
    }
    processes = Processes(tmp_path, environ)
    accounts = tmp_path / "accounts.json"
    wallet = secrets.exchanges.hyperliquid.walletAddress
    accounts.write_text(json.dumps([{"address": wallet, "deposit_usdc": 100_000}]))
    processes.start(
        "paper", "paper_exchange", "--port", str(ports["paper"]), "--accounts", str(accounts),
        "--no-rate-limit",
    )  # fmt: skip
    settings: Settings = load_settings(environ=environ)
    wired = Wiring(
        settings=settings, secrets=secrets, engine=engine, redis=redis_client,
        redis_raw=make_redis(settings, secrets, decode=False), clock=SystemClock(),
        worker=f"test:{os.getpid()}",
    )  # fmt: skip
    platform = Platform(processes, wired, ports)
    thread = threading.Thread(target=platform.keep_alive)
    try:
        wait_until(lambda: _listens(platform), START_SECS, "the paper exchange")
        with UnitOfWork(engine) as uow:
            ProductStore(uow.conn).sync(wired.exchange.markets().values())
            uow.commit()
        thread.start()
        processes.start("gateway", "order_gateway")
        for name in ("observer_1", "observer_2"):
            platform.start_observer(name)
        for name in ("observer_1", "observer_2"):
            wait_until(
                lambda name=name: platform.answers(name, "/3T-observer.json"), START_SECS, name
            )
        wait_until(lambda: platform.answers("gateway", "/ready"), START_SECS, "the gateway")
        yield platform
    finally:
        platform.stop.set()
        if thread.is_alive():
            thread.join()
        processes.stop_all()
        wired.exchange.close()


def _listens(platform: Platform) -> bool:
    try:
        return isinstance(platform.venue("exchangeStatus"), dict)
    except requests.ConnectionError:
        return False


@pytest.mark.timeout(300)
def test_the_account_follows_through_every_transition_with_exactly_its_orders(
    platform: Platform,
) -> None:
    platform.want(BTC=20.0, ETH=-20.0)
    platform.reconcile_until_held()
    assert platform.position("BTC") > 0 > platform.position("ETH")
    assert [(i, s) for i, s, _ in sorted(platform.journal())] == [
        ("BTC:0:open", "buy"),
        ("ETH:0:open", "sell"),
    ]

    platform.want(BTC=-20.0, ETH=0.0)
    platform.reconcile_until_held()
    assert platform.position("BTC") < 0
    assert platform.position("ETH") == 0
    legs = [(i, s) for i, s, _ in platform.journal()][2:]
    assert sorted(legs) == [
        ("BTC:1:close", "sell"),
        ("BTC:2:open", "sell"),
        ("ETH:1:close", "buy"),
    ]

    platform.want(BTC=0.0, ETH=0.0)
    platform.reconcile_until_held()
    assert platform.position("BTC") == 0
    assert {state for _, _, state in platform.journal()} == {"FILLED"}
    assert platform.venue_orders() == platform.journal_cloids()

    _without_quorum(platform)
    _with_one_observer_dead(platform)
    _taken_out_of_the_configuration(platform)


def _without_quorum(platform: Platform) -> None:
    for name in ("observer_1", "observer_2"):
        platform.processes.kill(name)
    platform.want(BTC=20.0)
    before = platform.journal()
    for _ in range(3):
        report = platform.reconcile()
        assert {x.verdict.decision for x in report.looked} == {Decision.UNKNOWN}
    assert platform.journal() == before
    assert platform.position("BTC") == 0


def _with_one_observer_dead(platform: Platform) -> None:
    platform.start_observer("observer_1")
    wait_until(
        lambda: platform.answers("observer_1", "/3T-observer.json"), START_SECS, "observer_1"
    )
    platform.reconcile_until_held()
    assert platform.position("BTC") > 0
    assert platform.venue_orders() == platform.journal_cloids()


def _taken_out_of_the_configuration(platform: Platform) -> None:
    own = platform.wired.settings.reconciliation_engine.model_copy(update={"symbols": ("ETH",)})
    settings = platform.wired.settings.model_copy(update={"reconciliation_engine": own})
    platform.wired = replace(platform.wired, settings=settings)

    def closed() -> bool:
        platform.reconcile()
        return platform.position("BTC") == 0

    wait_until(closed, START_SECS, "the position of a symbol that is not configured to be closed")
    assert platform.journal()[-1] == ("BTC:5:close", "sell", "FILLED")
    assert platform.venue_orders() == platform.journal_cloids()
