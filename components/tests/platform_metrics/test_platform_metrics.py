"""The platform's state in numbers: of real servers, without them, and as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
import redis
import requests
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, insert
from sqlalchemy.exc import OperationalError

from platform_metrics import from_host, from_mariadb, from_redis
from platform_metrics.service import StateReader
from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.buckets import Limits, RedisBucket
from shared.market_data.quotes import Quote
from shared.orders.intents import OrderRequest
from shared.orders.replies import Verdict
from shared.orders.states import OrderState
from shared.state_metrics import Reading, StateCollector
from shared.storage.balances import Balance, BalanceStore
from shared.storage.orders import OrderStore
from shared.storage.risk_state import RiskStateStore
from shared.storage.run_store import MariaRunStore
from shared.storage.streams import PriceStore
from shared.storage.tables import backups, config_versions, reconciliation_log
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld
from shared.testing.servers import wait_until

NOW_MS = 1_750_000_000_000


def _known(value: str) -> dict[str, object]:
    return {"status": "Known", "value": value, "as_of_ms": NOW_MS}


def _look(symbol: str, *, known: bool) -> dict[str, object]:
    unknown = {"status": "Unknown", "reason": "no quorum"}
    return {
        "at_ms": NOW_MS - 4_000,
        "symbol": symbol,
        "decision": "hold" if known else "unknown",
        "intent_id": None,
        "gap_usd": 12.5 if known else None,
        "detail": {
            "quorum": {"position": _known("-0.5") if known else unknown},
            "price_usd": _known("2000"),
            "target": {"notional_usd": _known("-990")},
            "runs": {"status": "Known", "value": {"qualifying": 7, "weighted_direction": -3.5}},
        },
    }


def _read(engine: Engine, settings: Settings) -> Reading:
    with UnitOfWork(engine) as uow:
        return from_mariadb.read(uow.conn, settings, NOW_MS)


def test_an_empty_database_says_what_it_can(engine: Engine, settings: Settings) -> None:
    reading = _read(engine, settings)
    assert reading["t3_kill_switch_engaged"] == {(): 0.0}
    assert reading["t3_desired_runs"] == {(): settings.providence.desired_run_count}
    assert set(reading["t3_unknown_order_age_seconds"].values()) == {0.0}
    for absent in ("t3_account_value_usd", "t3_newest_tick_age_seconds", "t3_position_usd"):
        assert absent not in reading


def test_account_risk_and_looks(engine: Engine, settings: Settings) -> None:
    with UnitOfWork(engine) as uow:
        amounts = (Decimal(990), Decimal(800), Decimal(190), Decimal(1_900))
        BalanceStore(uow.conn).add(Balance(*amounts, NOW_MS - 2_000, NOW_MS - 1_500))
        risk = RiskStateStore(uow.conn)
        risk.set_pause("ETH", True, NOW_MS, reason="refused", actor="reconciliation")
        uow.conn.execute(
            insert(reconciliation_log), [_look("BTC", known=False), _look("ETH", known=True)]
        )
        uow.commit()
    reading = _read(engine, settings)
    assert reading["t3_account_value_usd"] == {(): 990.0}
    assert reading["t3_account_age_seconds"] == {(): 1.5}
    assert reading["t3_venue_clock_offset_seconds"] == {(): -0.5}
    assert reading["t3_symbol_halted"]["ETH",] == 1
    assert reading["t3_symbol_halted"]["BTC",] == 0
    assert reading["t3_position_known"] == {("BTC",): 0.0, ("ETH",): 1.0}
    # Not known is absent, never 0.
    assert reading["t3_position_usd"] == {("ETH",): -1_000.0}
    assert reading["t3_target_usd"]["ETH",] == -990
    assert reading["t3_reconciliation_gap_usd"] == {("ETH",): 12.5}
    assert reading["t3_reconciliation_age_seconds"]["BTC",] == 4
    assert reading["t3_qualifying_runs"]["ETH",] == 7


def test_an_order_in_doubt_ages(engine: Engine, settings: Settings) -> None:
    request = OrderRequest(
        "BTC:0:open", "BTC", "buy", Decimal(1), "market", "Ioc", None, False, "reconcile", 0, "open"
    )
    with UnitOfWork(engine) as uow:
        orders = OrderStore(uow.conn)
        record = orders.insert_pending(
            request, cloid="0x" + "1" * 32, size=Decimal(1), limit_price=Decimal(5), now_ms=1
        )
        sent_ms = NOW_MS - 70_000
        orders.mark_sent(record, nonce=1, expires_after_ms=2, body_sha256="0", now_ms=sent_ms)
        sent = orders.find(record.intent_id)
        assert sent is not None
        orders.apply(sent, Verdict(OrderState.UNKNOWN, "timeout"), now_ms=sent_ms + 1)
        uow.commit()
    reading = _read(engine, settings)
    assert reading["t3_unknown_order_age_seconds"]["BTC",] == 70
    assert reading["t3_open_orders"]["UNKNOWN",] == 1


def test_the_newest_backup_counts_and_before_it_the_first_configuration(
    engine: Engine, settings: Settings
) -> None:
    assert "t3_backup_age_seconds" not in _read(engine, settings)
    with engine.begin() as conn:
        first = {"version": "1", "content": {}, "created_ms": NOW_MS - 9_000}
        conn.execute(insert(config_versions), first)
    assert _read(engine, settings)["t3_backup_age_seconds"] == {(): 9.0}
    with engine.begin() as conn:
        ages = (7_000, 2_000)
        conn.execute(insert(backups), [{"finished_ms": NOW_MS - age} for age in ages])
    assert _read(engine, settings)["t3_backup_age_seconds"] == {(): 2.0}


def test_ticks_shards_and_population(engine: Engine, settings: Settings) -> None:
    world = RunWorld(length=1, warm=260, interval_ms=settings.interval_ms, gaps=False)
    with engine.begin() as conn:
        world.store(conn)
    MariaRunStore(engine.begin, FrozenClock()).create_shards(
        range(2), world.ticks[0], settings.interval_ms
    )
    reading = _read(engine, settings)
    assert reading["t3_newest_tick_age_seconds"] == {(): (NOW_MS - world.ticks[-1]) / 1000}
    # A shard without runs is not behind, however old its last tick is.
    assert reading["t3_shards"] == {(): 0.0}
    assert "t3_shard_lag_seconds" not in reading
    assert sum(reading["t3_active_runs"].values()) == 0


def test_queues_prices_budget_and_breaker(redis_client: redis.Redis, settings: Settings) -> None:
    redis_client.rpush("low_priority", "a", "b")
    mid = Decimal(5)
    PriceStore(redis_client).publish([Quote("BTC", mid, mid, NOW_MS, NOW_MS - 2_500, "ws")])
    per_minute = settings.exchanges.hyperliquid.rate_budget_per_minute
    RedisBucket(redis_client, "direct", Limits(per_minute)).penalise()
    redis_client.hset("breaker:127.0.0.1:direct", "state", "half-open")
    reading = from_redis.read(redis_client, settings, NOW_MS)
    assert reading["t3_queue_messages"]["low_priority",] == 2
    assert reading["t3_queue_messages"]["high_priority",] == 0
    assert reading["t3_price_age_seconds"]["BTC",] == 2.5
    assert reading["t3_price_age_seconds"]["ETH",] == 3_600
    assert reading["t3_venue_budget_left_ratio"]["direct",] < 0.1
    assert reading["t3_venue_breaker_state"] == {("127.0.0.1:direct",): 1.0}


def test_a_disk_that_cannot_be_asked_is_a_source_that_fails(tmp_path: Path) -> None:
    ((free,),) = (values.values() for values in from_host.read(str(tmp_path)).values())
    assert 0 < free < 1
    registry, collector = CollectorRegistry(), StateCollector()
    registry.register(collector)
    gone = {"host": lambda: from_host.read(str(tmp_path / "gone"))}
    StateReader(gone, collector, 1.0).look("host")
    assert registry.get_sample_value("t3_source_readable", {"source": "host"}) == 0
    assert registry.get_sample_value("t3_disk_free_ratio") is None


def test_a_source_that_fails_takes_its_part_back(settings: Settings) -> None:
    collector, registry = StateCollector(), CollectorRegistry()
    registry.register(collector)
    answers: list[Reading | Exception] = [
        {"t3_position_usd": {("BTC",): 5.0}},
        OperationalError("SELECT 1", {}, Exception("gone")),
        {"t3_position_usd": {("BTC",): 6.0}},
    ]

    def read() -> Reading:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader = StateReader({"mariadb": read}, collector, 1.0)
    seen = []
    for _ in range(3):
        reader.look("mariadb")
        seen.append(
            (
                registry.get_sample_value("t3_position_usd", {"symbol": "BTC"}),
                registry.get_sample_value("t3_source_readable", {"source": "mariadb"}),
            )
        )
    assert seen == [(5.0, 1.0), (None, 0.0), (6.0, 1.0)]


def test_what_nobody_expected_ends_the_service() -> None:
    def broken() -> Reading:
        raise LookupError("a bug")

    stop = threading.Event()
    with pytest.raises(LookupError, match="a bug"):
        StateReader({"mariadb": broken}, StateCollector(), 1.0).run(stop)


def test_as_a_process_it_serves_and_stops(
    engine: Engine,
    redis_client: redis.Redis,
    service_environ: Mapping[str, str],
    tmp_path: Path,
) -> None:
    environ = {
        **service_environ,
        "T3__observability__metrics_port": "0",
        "T3__observability__metrics_targets": str(tmp_path),
        "T3__observability__state_interval_secs": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "platform_metrics"], env=environ, stderr=subprocess.DEVNULL
    )
    target = tmp_path / "platform_metrics.json"

    def scraped() -> str:
        if not target.exists():
            return ""
        (entry,) = json.loads(target.read_text(encoding="utf-8"))
        return requests.get(f"http://{entry['targets'][0]}/metrics", timeout=5).text

    try:
        readable = 't3_source_readable{source="mariadb"} 1.0'
        wait_until(lambda: readable in scraped(), 30, "the first reading")
        assert 't3_queue_messages{queue="high_priority"} 0.0' in scraped()
        assert "t3_disk_free_ratio 0." in scraped()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not target.exists()
    finally:
        process.kill()
        process.wait()
