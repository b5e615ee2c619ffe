"""A small world to reconcile: an account, the local reading, observers and a gateway.

MariaDB and Redis are real; observers and gateway are real HTTP servers on loopback whose
behaviour a test can spoil. The gateway journals through the real store, so that plan epochs,
open intents and fills are those of the platform.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import Engine

from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.payloads import AccountSnapshot, Asset, Fill, PositionSnapshot
from shared.exchange.precision import plain
from shared.market_data.quotes import Quote
from shared.orders.intents import OrderRequest
from shared.orders.replies import Verdict
from shared.orders.states import OrderState
from shared.storage.orders import FillStore, OrderRecord, OrderStore
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.storage.tables import iteration_shards, plan_epochs
from shared.testing.clock import FrozenClock
from shared.testing.http_server import LocalServer, Reply, Request
from shared.testing.shard_sums import want
from worker.services.balance import update_balance
from worker.services.gateway_client import GatewayClient
from worker.services.inputs import InputReader
from worker.services.observers import ObserverClient
from worker.services.reconciliation import Reconciler

SYMBOLS = ("BTC", "ETH", "SOL")
PRICES = {"BTC": Decimal(50_000), "ETH": Decimal(2_000), "SOL": Decimal(100)}
TOKEN = "test-token-" + "x" * 32
CLI_TOKEN = "test-gateway-token-" + "x" * 32
"""What commands read from the tests' secrets.yml."""

Answer = tuple[int, Any]


def reply_of(answer: Answer | None) -> Reply:
    """The reply of a status and its content; of None, a connection that ends without one."""
    if answer is None:
        return Reply(cut=True)
    status, content = answer
    return Reply(status, content) if isinstance(content, bytes) else Reply.json(content, status)


@dataclass
class World:
    """The account as it is, and how each reader sees it."""

    clock: FrozenClock
    sizes: dict[str, Decimal] = field(default_factory=dict)
    value: Decimal = Decimal(100_000)
    fill_share: Decimal = Decimal(1)
    fail_gateway: Callable[[dict[str, Any]], Answer | None] | None = None
    lenses: dict[str, Callable[[dict[str, Any]], Answer | None]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    tids: int = 0
    venue_ahead_ms: int = 0
    audit: Callable[[str], Answer | None] = lambda _: (200, [])

    def account(self) -> AccountSnapshot:
        held = {
            symbol: PositionSnapshot(
                symbol, size, PRICES[symbol], Decimal(0), Decimal(0),
                abs(size) * PRICES[symbol], 5, False, None,
            )
            for symbol, size in self.sizes.items()
            if size
        }  # fmt: skip
        total = sum((p.notional for p in held.values()), Decimal(0))
        return AccountSnapshot(
            "",
            held,
            self.value,
            self.value,
            Decimal(0),
            total,
            Decimal(0),
            self.clock.now_ms() + self.venue_ahead_ms,
        )

    def report(self, observer_id: str) -> dict[str, Any]:
        return {
            "observer_id": observer_id,
            "timestamp": self.clock.now_ms(),
            "venue_time": self.clock.now_ms() + self.venue_ahead_ms,
            "dexes": [""],
            "complete": True,
            "positions": {
                symbol: {"size": plain(size), "entry_price": plain(PRICES[symbol])}
                for symbol, size in self.sizes.items()
                if size
            },
        }


@dataclass
class Account:
    """Reader of the world for ``update_balance``."""

    world: World
    dexes: tuple[str, ...] = ("",)

    def whole_account(self) -> AccountSnapshot:
        return self.world.account()


class Gateway:
    """Journals through the real store and fills at once, as much as the world lets it."""

    def __init__(self, world: World, engine: Engine) -> None:
        self._world = world
        self._engine = engine

    def answer(self, request: Request) -> Reply:
        tokens = (f"Bearer {TOKEN}", f"Bearer {CLI_TOKEN}")
        if request.headers.get("authorization") not in tokens:
            return Reply.json({"error": "unauthorized"}, 401)
        if request.path.startswith("/audit?"):
            return reply_of(self._world.audit(request.path))
        assert request.path == "/execute_order"
        order = request.json()
        self._world.asked.append(order)
        self._world.headers.append(request.headers)
        return reply_of((self._world.fail_gateway or self.execute)(order))

    def send(self, order: dict[str, Any]) -> OrderRecord:
        """Journal an order as sent; the venue takes it for a millisecond."""
        now_ms, size = self._world.clock.now_ms(), Decimal(order["size"])
        request = OrderRequest(
            order["intent_id"], order["symbol"], order["side"], size, "market", "Ioc", None,
            order["reduce_only"], "reconcile", order["plan_epoch"], order["leg"],
        )  # fmt: skip
        price = PRICES[request.symbol]
        with UnitOfWork(self._engine) as uow:
            orders = OrderStore(uow.conn)
            cloid = "0x" + hashlib.sha256(request.intent_id.encode()).hexdigest()[:32]
            record = orders.insert_pending(
                request, cloid=cloid, size=size, limit_price=price, now_ms=now_ms
            )
            uow.commit()
            orders.mark_sent(
                record, nonce=now_ms, expires_after_ms=now_ms + 1, body_sha256="0", now_ms=now_ms
            )
            uow.commit()
            return orders.find(request.intent_id) or record

    def end(
        self, intent_id: str, state: OrderState, filled: Decimal = Decimal(0), after_ms: int = 0
    ) -> None:
        """What became of an order, settled this long after now."""
        price = None if filled == 0 else Decimal(1)
        with UnitOfWork(self._engine) as uow:
            orders = OrderStore(uow.conn)
            record = orders.find(intent_id)
            assert record is not None
            now_ms = self._world.clock.now_ms() + after_ms
            orders.apply(record, Verdict(state, state.value, None, filled, price), now_ms=now_ms)
            uow.commit()

    def lose(self, order: dict[str, Any]) -> Answer:
        """Send an order whose reply is lost."""
        record = self.send(order)
        self.end(record.intent_id, OrderState.UNKNOWN)
        return 200, {"intent_id": record.intent_id, "state": "UNKNOWN", "filled_size": "0"}

    def not_out(self, order: dict[str, Any]) -> Answer:
        """An order whose connection is refused."""
        record = self.send(order)
        self.end(record.intent_id, OrderState.NOT_PLACED)
        return 200, {"intent_id": record.intent_id, "state": "NOT_PLACED", "filled_size": "0"}

    def execute(self, order: dict[str, Any]) -> Answer:
        world, now_ms = self._world, self._world.clock.now_ms()
        record = self.send(order)
        cloid, price, size = record.cloid, PRICES[record.symbol], record.size
        signed = size if record.side == "buy" else -size
        filled = signed * world.fill_share
        with UnitOfWork(self._engine) as uow:
            orders = OrderStore(uow.conn)
            world.tids += 1
            FillStore(uow.conn).add(
                [
                    Fill(
                        symbol=record.symbol, price=price, size=abs(filled), side=record.side,
                        time_ms=now_ms, start_position=world.sizes.get(record.symbol, Decimal(0)),
                        direction="Open Long", closed_pnl=Decimal(0), oid=world.tids, crossed=True,
                        fee=Decimal(0), fee_token="USDC", tid=world.tids, cloid=cloid,
                    )
                ]
            )  # fmt: skip
            state = OrderState.FILLED if filled == signed else OrderState.PARTIAL
            orders.apply(
                record, Verdict(state, "filled", world.tids, abs(filled), price), now_ms=now_ms
            )
            uow.commit()
        world.sizes[record.symbol] = world.sizes.get(record.symbol, Decimal(0)) + filled
        return 200, {
            "intent_id": record.intent_id, "cloid": cloid, "state": state.value,
            "filled_size": plain(abs(filled)), "avg_price": plain(price), "reason": "filled",
        }  # fmt: skip


@dataclass
class Scene:
    """Everything a test touches."""

    world: World
    engine: Engine
    client: redis.Redis
    reconciler: Reconciler
    inputs: InputReader
    gateway: Gateway
    requested: list[int]
    restart: Callable[[Settings], Reconciler]
    settings: Settings
    adjusted: Callable[..., Settings]

    def want(self, **directions: float) -> None:
        """Let one shard ask for Σ w d by symbol; desired_run_count is 100, factor 0.5."""
        want(self.engine, directions, self.world.clock.now_ms(), runs=50)

    def journal(self, symbols: Iterable[str]) -> None:
        """Let the journal have begun: what is held of these symbols is not from before it."""
        with UnitOfWork(self.engine) as uow:
            uow.conn.execute(
                plan_epochs.insert(), [{"symbol": s, "epoch": 0, "advanced_ms": 1} for s in symbols]
            )
            uow.commit()

    def list_symbols(self, count: int) -> tuple[str, ...]:
        """Have the venue list this many more coins, all at 100 USD."""
        symbols = tuple(f"C{n}" for n in range(count))
        PRICES.update(dict.fromkeys(symbols, Decimal(100)))
        with UnitOfWork(self.engine) as uow:
            ProductStore(uow.conn).sync(
                Asset(symbol, n, 2, 40, False, False) for n, symbol in enumerate(symbols)
            )
            uow.commit()
        self.journal(symbols)
        return symbols

    def freshen(self, without_price: Collection[str] = ()) -> None:
        """A second later: prices have come in, sums are committed, the account is read."""
        self.world.clock.advance(1_000)
        now_ms = self.world.clock.now_ms()
        PriceStore(self.client).publish(
            [
                Quote(s, price, price, now_ms, now_ms, "ws")
                for s, price in PRICES.items()
                if s not in without_price
            ]
        )
        with UnitOfWork(self.engine) as uow:
            uow.conn.execute(iteration_shards.update().values(sums_tick=now_ms))
            uow.commit()
        update_balance(Account(self.world), self.engine, self.client, self.world.clock)

    def cycle(self, times: int = 1) -> None:
        for _ in range(times):
            self.freshen()
            self.reconciler.reconcile()


@pytest.fixture
def scene(engine: Engine, redis_client: redis.Redis, settings: Settings) -> Iterator[Scene]:
    """Two observers, a gateway and an empty account of 100,000 USD."""
    world = World(FrozenClock())
    gateway = Gateway(world, engine)
    servers = [LocalServer(gateway.answer)]
    for name in ("one", "two"):

        def observe(_: Request, observer: str = name) -> Reply:
            report = world.report(observer)
            lens = world.lenses.get(observer)
            return Reply.json(report) if lens is None else reply_of(lens(report))

        servers.append(LocalServer(observe))
    requested: list[int] = []

    def adjusted(**changes: Any) -> Settings:
        r = settings.reconciliation_engine.model_copy(
            update={
                "symbols": SYMBOLS,
                "observer_nodes": tuple(s.url for s in servers[1:]),
                "order_gateway_url": servers[0].url,
                "observer_timeout_secs": 0.3,
                "gateway_timeout_secs": 1.0,
                **changes,
            }
        )
        p = settings.providence.model_copy(update={"desired_run_count": 100})
        return settings.model_copy(update={"reconciliation_engine": r, "providence": p})

    def inputs(own: Settings) -> InputReader:
        r = own.reconciliation_engine
        return InputReader(
            settings=own,
            engine=engine,
            prices=PriceStore(redis_client),
            observers=ObserverClient(r.observer_nodes, r.observer_timeout_secs),
            clock=world.clock,
        )

    def start(own: Settings) -> Reconciler:
        r = own.reconciliation_engine
        return Reconciler(
            settings=own,
            engine=engine,
            inputs=inputs(own),
            gateway=GatewayClient(r.order_gateway_url, SecretStr(TOKEN), r.gateway_timeout_secs),
            request_reading=lambda: requested.append(1),
        )

    with UnitOfWork(engine) as uow:
        ProductStore(uow.conn).sync(
            Asset(s, n, d, 40, False, False)
            for n, (s, d) in enumerate(zip(SYMBOLS, (5, 4, 2), strict=True))
        )
        uow.commit()
    own = adjusted()
    found = Scene(
        world, engine, redis_client, start(own), inputs(own), gateway, requested,
        start, own, adjusted,
    )  # fmt: skip
    found.journal(SYMBOLS)
    yield found
    for server in servers:
        server.stop()
