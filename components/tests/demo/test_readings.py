"""What a demo shows is what MariaDB and Redis hold, and nothing older than its session."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, insert, update

from demo.readings import IterationCounter, OrderCounts, Readings
from shared.config import Secrets, Settings
from shared.database import make_engine
from shared.market_data.quotes import Quote
from shared.storage.streams import PriceStore
from shared.storage.tables import (
    balance_history,
    iteration_shards,
    order_execution_log,
    reconciliation_log,
    runs,
    tick_inputs,
)

START_MS = 1_750_000_000_000
INTERVAL_MS = 1_000


@pytest.fixture
def demo_settings(settings: Settings) -> Settings:
    """The test servers, ticking every second."""
    schedules = settings.celery.schedules.model_copy(update={"providence_iteration_scheduler": 1.0})
    celery = settings.celery.model_copy(update={"schedules": schedules})
    return settings.model_copy(update={"celery": celery})


@pytest.fixture
def readings(demo_settings: Settings, engine: Engine, redis_client: redis.Redis) -> Readings:
    return Readings(demo_settings, engine, redis_client, START_MS)


def add(engine: Engine, table: Any, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table), list(rows))


def tick(number: int, source: str = "live", created_ms: int = START_MS) -> dict[str, Any]:
    return {
        "interval_ms": INTERVAL_MS,
        "tick_ms": START_MS + number * INTERVAL_MS,
        "config_version": "v",
        "source": source,
        "payload": b"",
        "created_ms": created_ms,
    }


def shard(number: int, last_tick: int) -> dict[str, Any]:
    return {
        "id": number,
        "last_tick": START_MS + last_tick * INTERVAL_MS,
        "interval_ms": INTERVAL_MS,
        "sums": {},
    }


def run(shard_id: int, interpretation: str, pnl: float, status: str = "active") -> dict[str, Any]:
    return {
        "shard_id": shard_id,
        "product_id": 1,
        "symbol": "BTC",
        "status": status,
        "interpretation": interpretation,
        "spawn_tick": START_MS,
        "start_balance": 10_000.0,
        "live_pnl": pnl,
        "run_state": {},
        "created_ms": START_MS,
    }


def order(number: int, state: str, *, created_ms: int = START_MS, **changes: Any) -> dict[str, Any]:
    row = {
        "intent_id": f"S{number}:1:open",
        "cloid": f"0x{number:032x}",
        "symbol": f"S{number}",
        "plan_epoch": 1,
        "leg": "open",
        "origin": "reconcile",
        "side": "buy",
        "size": Decimal("0.5"),
        "order_type": "market",
        "tif": "Ioc",
        "reduce_only": False,
        "limit_price": Decimal(100),
        "state": state,
        "filled_size": Decimal("0.5") if state == "FILLED" else Decimal(0),
        "request": {},
        "created_ms": created_ms,
        "updated_ms": created_ms,
        "sent_ms": created_ms,
    }
    return row | changes


def test_an_empty_platform_reads_as_nothing(readings: Readings) -> None:
    snapshot = readings.read()
    assert snapshot.faults == ()
    assert (snapshot.ticks, snapshot.iterations, snapshot.runs_active) == (0, 0, 0)
    assert (snapshot.prices, snapshot.positions, snapshot.orders) == ((), (), ())
    assert snapshot.counts == OrderCounts(0, 0, 0)
    assert snapshot.queues == {"high_priority": 0, "low_priority": 0}


def test_prices_and_queues_come_from_redis(readings: Readings, redis_client: redis.Redis) -> None:
    quote = Quote("ETH", Decimal("2800.5"), Decimal("2800.4"), START_MS, START_MS, "ws")
    PriceStore(redis_client).publish([quote])
    redis_client.rpush("low_priority", "a", "b")
    snapshot = readings.read()
    (price,) = snapshot.prices
    assert (price.symbol, price.mid, price.source) == ("ETH", 2800.5, "ws")
    assert price.age_secs == pytest.approx((snapshot.at_ms - START_MS) / 1000)
    assert snapshot.queues == {"high_priority": 0, "low_priority": 2}


def test_sampled_ticks_of_this_session_count(readings: Readings, engine: Engine) -> None:
    add(
        engine,
        tick_inputs,
        tick(-2, created_ms=START_MS - 1),
        tick(-1, source="history"),
        tick(1),
        tick(2, source="missing"),
        tick(3, source="backfill"),
    )
    snapshot = readings.read()
    assert snapshot.ticks == 2
    assert snapshot.newest_tick_ms == START_MS + 3 * INTERVAL_MS


def test_iterations_are_sampled_ticks_times_active_runs(engine: Engine) -> None:
    add(engine, iteration_shards, shard(0, 0), shard(1, 0), shard(2, 0))
    add(
        engine,
        runs,
        run(0, "direct", 1.0),
        run(0, "direct", 1.0),
        run(1, "swing", 1.0),
        run(1, "swing", 1.0, status="completed"),
    )
    add(engine, tick_inputs, tick(1), tick(2, source="missing"), tick(3))
    counter = IterationCounter(INTERVAL_MS)
    with engine.begin() as connection:
        assert counter.read(connection) == 0
        connection.execute(
            update(iteration_shards)
            .where(iteration_shards.c.id == 0)
            .values(last_tick=START_MS + 3 * INTERVAL_MS)
        )
        connection.execute(
            update(iteration_shards)
            .where(iteration_shards.c.id == 1)
            .values(last_tick=START_MS + INTERVAL_MS)
        )
        # shard 0: two runs through ticks 1 and 3; shard 1: one run through tick 1
        assert counter.read(connection) == 5
        assert counter.read(connection) == 5
        assert counter.committed_tick_ms == START_MS + INTERVAL_MS


def test_the_population_is_told_by_interpretation(readings: Readings, engine: Engine) -> None:
    add(
        engine,
        runs,
        run(0, "direct", 2.0),
        run(0, "direct", 4.0),
        run(0, "swing", -1.0),
        run(0, "swing", 99.0, status="completed"),
    )
    snapshot = readings.read()
    found = {row.interpretation: (row.active, row.mean_pnl_usd) for row in snapshot.population}
    assert found == {"direct": (2, 3.0), "swing": (1, -1.0)}
    assert snapshot.runs_active == 3


def test_orders_of_this_session_count_and_any_in_doubt(readings: Readings, engine: Engine) -> None:
    before_ms = START_MS - 1
    add(
        engine,
        order_execution_log,
        order(1, "FILLED", created_ms=before_ms),
        order(2, "UNKNOWN", created_ms=before_ms),
        order(3, "FILLED"),
        order(4, "PARTIAL", filled_size=Decimal("0.1")),
        order(5, "CANCELLED"),
        order(6, "PENDING", sent_ms=None),
    )
    snapshot = readings.read()
    assert snapshot.counts == OrderCounts(sent=3, filled=2, unknown=1)
    assert [one.symbol for one in snapshot.orders] == ["S6", "S5", "S4", "S3", "S2", "S1"]


def test_the_last_look_at_each_symbol_is_shown(readings: Readings, engine: Engine) -> None:
    def look(symbol: str, at_ms: int, reason: str) -> dict[str, Any]:
        unknown = {"status": "Unknown", "reason": "no reading"}
        return {
            "at_ms": at_ms,
            "symbol": symbol,
            "decision": "unknown",
            "detail": {
                "reason": reason,
                "target": {"notional_usd": unknown},
                "quorum": {"position": unknown, "backers": [], "votes": []},
                "price_usd": unknown,
                "plan": None,
                "reply": None,
            },
        }

    add(
        engine,
        reconciliation_log,
        look("BTC", START_MS - 1, "before this session"),
        look("ETH", START_MS + 1, "first"),
        look("ETH", START_MS + 2, "second"),
    )
    (position,) = readings.read().positions
    assert (position.symbol, position.reason, position.quorum) == ("ETH", "second", "no reading")


def test_equity_is_in_order_of_time(readings: Readings, engine: Engine) -> None:
    values = [(START_MS - 1, 1), (START_MS, 100), (START_MS + 1, 101)]
    rows = [
        {
            "account_value": value,
            "withdrawable": value,
            "margin_used": 0,
            "total_notional": 0,
            "venue_ms": at_ms,
            "read_ms": at_ms,
        }
        for at_ms, value in values
    ]
    add(engine, balance_history, *rows)
    assert readings.read().equity == (100.0, 101.0)


def test_without_its_servers_the_last_reading_stays_and_the_faults_are_named(
    demo_settings: Settings, secrets: Secrets, redis_client: redis.Redis, engine: Engine
) -> None:
    add(engine, runs, run(0, "direct", 2.0))
    switched = _Switch(engine)
    readings = Readings(demo_settings, switched, redis_client, START_MS)  # type: ignore[arg-type]
    assert readings.read().runs_active == 1
    database = demo_settings.database.model_copy(update={"port": 1})
    dead = demo_settings.model_copy(update={"database": database})
    switched.engine = make_engine(dead, secrets)
    snapshot = readings.read()
    assert snapshot.runs_active == 1
    (fault,) = snapshot.faults
    assert fault.startswith("MariaDB cannot be read: ")


class _Switch:
    """An engine that can be replaced under its user."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def connect(self) -> Any:
        return self.engine.connect()
