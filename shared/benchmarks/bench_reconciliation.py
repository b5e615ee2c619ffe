"""The planner alone, over every transition of long, short and flat; and whole reconciliations."""

from __future__ import annotations

import logging
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from typing import Final

import orjson
import redis
import structlog
from pydantic import SecretStr
from sqlalchemy import Engine, insert

from shared.benchmarks.figure import Figure, median_secs
from shared.benchmarks.live_platform import LivePlatform, live_platform
from shared.clock import SystemClock
from shared.database import make_redis
from shared.exchange.payloads import AccountSnapshot, Asset, PositionSnapshot
from shared.exchange.precision import OrderFilters
from shared.market_data.quotes import Quote
from shared.reconciliation.intents import Decision
from shared.reconciliation.plan import PlanFilters, plan
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.storage.tables import iteration_shards, plan_epochs
from shared.testing.http_server import LocalServer, Reply, Request
from worker.services.balance import update_balance
from worker.services.gateway_client import GatewayClient
from worker.services.inputs import InputReader
from worker.services.observers import ObserverClient
from worker.services.reconciliation import Reconciler

ROUNDS = 400
ACTUAL = tuple(Decimal(size) for size in ("0", "0.02", "-0.02", "0.1", "-0.1"))
TARGETS_USD = tuple(Decimal(usd) for usd in ("0", "1000", "-1000", "5012.35", "-5012.35"))
PRICE = Decimal("50123.5")

SYMBOLS: Final = tuple(f"C{number}" for number in range(200))
PRICE_USD, SIZE = Decimal(100), Decimal(10)
TRADING, HOLDING = 12.0, 0.8
"""What one shard asks for per symbol: with 400 runs, a factor of a half and 1,000,000 USD these are
15,000 USD, more than the 1,000 USD that are held, and 1,000 USD, just what is held."""
RECONCILIATIONS: Final = 9


def plans_per_s() -> Figure:
    """Plans of one symbol per second on one core."""
    filters = PlanFilters(OrderFilters(sz_decimals=5), Decimal(50))

    def work() -> None:
        for _ in range(ROUNDS):
            for actual in ACTUAL:
                for target_usd in TARGETS_USD:
                    plan(actual, target_usd, PRICE, filters)

    plans = ROUNDS * len(ACTUAL) * len(TARGETS_USD)
    return Figure("plans_per_s", plans / median_secs(work), "plans/s", goal=100_000.0)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _World:
    """An account of 1,000,000 USD that holds ``SIZE`` of every coin, at ``PRICE_USD`` each."""

    dexes = ("",)

    def whole_account(self) -> AccountSnapshot:
        held = {
            symbol: PositionSnapshot(
                symbol, SIZE, PRICE_USD, Decimal(0), Decimal(0), SIZE * PRICE_USD, 5, False, None
            )
            for symbol in SYMBOLS
        }
        total = SIZE * PRICE_USD * len(SYMBOLS)
        value = Decimal(1_000_000)
        return AccountSnapshot("", held, value, value, Decimal(0), total, Decimal(0), _now_ms())

    def report(self, name: str, _: Request) -> Reply:
        position = {"size": str(SIZE), "entry_price": str(PRICE_USD)}
        report = {
            "observer_id": name, "timestamp": _now_ms(), "venue_time": _now_ms(),
            "dexes": [""], "complete": True, "positions": dict.fromkeys(SYMBOLS, position),
        }  # fmt: skip
        return Reply(body=orjson.dumps(report))

    def freshen(self, engine: Engine, client: redis.Redis, direction: float) -> None:
        """Prices, the account and what the runs ask for, all of now."""
        now_ms = _now_ms()
        PriceStore(client).publish(
            [Quote(symbol, PRICE_USD, PRICE_USD, now_ms, now_ms, "ws") for symbol in SYMBOLS]
        )
        with engine.begin() as conn:
            products = ProductStore(conn).all()
            asked = {
                "active": 2, "qualifying": 2, "weighted_direction": direction,
                "current_runs": 50, "current_wins": 30, "current_sum_win": 1.0,
                "current_sum_loss": 0.5, "history_runs": 0, "history_wins": 0,
                "history_sum_win": 0.0, "history_sum_loss": 0.0,
            }  # fmt: skip
            sums = {str(products[symbol].id): asked for symbol in SYMBOLS}
            conn.execute(iteration_shards.delete())
            conn.execute(
                insert(iteration_shards).values(
                    id=0, last_tick=now_ms, interval_ms=1_000, version=1, sums=sums,
                    sums_tick=now_ms, committed_ms=0, worker="",
                )
            )  # fmt: skip
        update_balance(self, engine, client, SystemClock())


def _filled(request: Request) -> Reply:
    order = request.json()
    reply = {"state": "FILLED", "filled_size": order["size"], "reason": "filled"}
    return Reply.json({**reply, "intent_id": order["intent_id"]})


def reconcile_200_s() -> list[Figure]:
    """One reconciliation of 200 symbols, each of which gets an order; and one without orders."""
    world = _World()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with ExitStack() as stack:
        platform = stack.enter_context(live_platform())
        observers = [
            stack.enter_context(LocalServer(partial(world.report, name))) for name in ("one", "two")
        ]
        gateway = stack.enter_context(LocalServer(_filled))
        client = make_redis(platform.settings, platform.secrets)
        with platform.engine.begin() as conn:
            ProductStore(conn).sync(
                Asset(symbol, n, 2, 40, only_isolated=False, delisted=False)
                for n, symbol in enumerate(SYMBOLS)
            )
            conn.execute(  # what is held is not from before the journal
                insert(plan_epochs),
                [{"symbol": symbol, "epoch": 0, "advanced_ms": 1} for symbol in SYMBOLS],
            )
        reconciler = _reconciler(platform, client, [o.url for o in observers], gateway.url)

        def measure(direction: float, decision: Decision) -> float:
            secs = []
            for _ in range(RECONCILIATIONS + 1):
                world.freshen(platform.engine, client, direction)
                start = time.perf_counter()
                report = reconciler.reconcile()
                secs.append(time.perf_counter() - start)
                decided = Counter(x.verdict.decision for x in report.looked)
                if decided != {decision: len(SYMBOLS)}:
                    raise RuntimeError(f"not every symbol was decided as {decision}: {decided}")
            return statistics.median(secs[1:])

        trading = measure(TRADING, Decision.TRADE)
        holding = measure(HOLDING, Decision.HOLD)
    return [
        Figure("reconcile_200_s", trading, "s", goal=1.0, better="lower"),
        Figure("reconcile_200_hold_s", holding, "s", better="lower"),
    ]


def _reconciler(
    platform: LivePlatform, client: redis.Redis, observers: Sequence[str], gateway: str
) -> Reconciler:
    engine_settings = platform.settings.reconciliation_engine.model_copy(
        update={
            "symbols": SYMBOLS,
            "observer_nodes": tuple(observers),
            "order_gateway_url": gateway,
            "max_total_exposure": 50.0,
        }
    )
    runs = platform.settings.providence.model_copy(update={"desired_run_count": 100})
    settings = platform.settings.model_copy(
        update={"reconciliation_engine": engine_settings, "providence": runs}
    )
    return Reconciler(
        settings=settings,
        engine=platform.engine,
        inputs=InputReader(
            settings=settings,
            engine=platform.engine,
            prices=PriceStore(client),
            observers=ObserverClient(observers, engine_settings.observer_timeout_secs),
            clock=SystemClock(),
        ),
        gateway=GatewayClient(gateway, SecretStr("x" * 40), engine_settings.gateway_timeout_secs),
        request_reading=lambda: None,
    )
