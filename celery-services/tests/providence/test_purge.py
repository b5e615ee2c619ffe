"""What a purge deletes, and what a rebuild still needs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from redis import Redis
from sqlalchemy import Engine, func, insert, select, update

from shared.config import Secrets, Settings
from shared.storage import fill_days, tables
from shared.storage.fill_days import DAY_MS
from shared.storage.run_state_store import RedisRunStateStore
from shared.storage.run_store import MariaRunStore
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld
from worker import wiring
from worker.purge import purge_stale_runs
from worker.services.purge import DAYS_AHEAD, PurgeResult, Retention, make_days, purge

WORLD = RunWorld(length=60, gaps=False)
RETENTION = Retention(
    tick_input_ms=2 * DAY_MS,
    reconciliation_log_ms=4 * DAY_MS,
    balance_ms=5 * DAY_MS,
    market_data_ms=6 * DAY_MS,
    reach_ticks=20,
    memory_candles=50,
)
NOTHING = PurgeResult(0, 0, 0, 0, 0, 0)


@pytest.fixture
def runs(engine: Engine, raw_redis_client: Redis) -> MariaRunStore:
    store = MariaRunStore(engine.begin, FrozenClock())
    with engine.begin() as conn:
        WORLD.store(conn)
    store.create_shards([0, 1], WORLD.start_ms, 1000)
    born = store.spawn(
        WORLD.newborns(4),
        np.array([0, 0, 0, 0], dtype=np.int32),
        {p: s for s, p in WORLD.product_ids.items()},
        desired=4,
        tick_ms=WORLD.start_ms,
        interval_ms=1000,
        now_ms=WORLD.start_ms,
    )
    RedisRunStateStore(raw_redis_client).save(born)
    return store


def run_purge(engine: Engine, redis: Redis, now_ms: int) -> PurgeResult:
    return purge(engine.begin, RedisRunStateStore(redis), FrozenClock(now_ms), RETENTION)


def complete(engine: Engine, run_ids: list[int], tick: int) -> None:
    with engine.begin() as conn:
        conn.execute(
            update(tables.runs)
            .where(tables.runs.c.id.in_(run_ids))
            .values(status="completed", completed_tick=tick)
        )


def oldest_tick(engine: Engine) -> int:
    with engine.connect() as conn:
        return conn.execute(select(func.min(tables.tick_inputs.c.tick_ms))).scalar_one()


def test_fresh_rows_stay(engine: Engine, raw_redis_client: Redis, runs: MariaRunStore) -> None:
    result = run_purge(engine, raw_redis_client, WORLD.ticks[-1] + 1000)
    assert result == NOTHING


def test_ticks_that_a_standing_shard_needs_stay(
    engine: Engine, raw_redis_client: Redis, runs: MariaRunStore
) -> None:
    result = run_purge(engine, raw_redis_client, WORLD.ticks[-1] + 30 * DAY_MS)
    assert result.ticks == WORLD.warm - 21
    assert oldest_tick(engine) == WORLD.start_ms - 20_000


def test_old_ticks_go_when_no_run_needs_them(
    engine: Engine, raw_redis_client: Redis, runs: MariaRunStore
) -> None:
    complete(engine, [1, 2, 3, 4], WORLD.ticks[0])
    result = run_purge(engine, raw_redis_client, WORLD.ticks[-1] + 2 * DAY_MS)
    assert result.ticks == len(WORLD.rows_) - 1
    assert oldest_tick(engine) == WORLD.ticks[-1]


def test_keys_of_ended_runs_go(
    engine: Engine, raw_redis_client: Redis, runs: MariaRunStore
) -> None:
    complete(engine, [2, 3], WORLD.ticks[0])
    assert run_purge(engine, raw_redis_client, WORLD.ticks[-1]).run_states == 2
    there = RedisRunStateStore(raw_redis_client).load(np.array([1, 2, 3, 4]))[1]
    assert there.tolist() == [True, False, False, True]
    assert runs.births(np.array([1, 2, 3, 4]))["run_id"].tolist() == [1, 2, 3, 4]


def test_of_each_hour_of_old_balances_the_last_stays(
    engine: Engine, raw_redis_client: Redis
) -> None:
    now_ms, hour = 500 * DAY_MS, 3_600_000
    old, recent = now_ms - 6 * DAY_MS, now_ms - 4 * DAY_MS
    times = [old, old + 1, old + hour - 1, old + hour, old + 3 * hour + 5, recent, recent + 3_000]
    assert old % hour == 0
    zero = dict.fromkeys(("account_value", "withdrawable", "margin_used", "total_notional"), 0)
    with engine.begin() as conn:
        conn.execute(
            insert(tables.balance_history),
            [{**zero, "venue_ms": ms, "read_ms": ms} for ms in times],
        )
    assert run_purge(engine, raw_redis_client, now_ms).balances == 2
    with engine.connect() as conn:
        left = conn.scalars(select(tables.balance_history.c.venue_ms)).all()
    assert left == times[2:]
    assert run_purge(engine, raw_redis_client, now_ms) == NOTHING


def test_old_candles_and_funding_go_but_those_that_others_count_on(
    engine: Engine, raw_redis_client: Redis
) -> None:
    """The MEMORY table is refilled from 50 bars; a funding index counts on from the last point."""
    now_ms, hour = 500 * DAY_MS, 3_600_000
    bar = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    bars = [
        {"symbol": "BTC", "timeframe": frame, "open_ms": now_ms - age_ms, **bar}
        for frame, age_ms in (
            ("1m", 5 * DAY_MS), ("1m", 7 * DAY_MS), ("1h", 8 * DAY_MS),
            ("1d", 40 * DAY_MS), ("1d", 60 * DAY_MS),
        )
    ]  # fmt: skip
    points = [
        {"symbol": symbol, "time_ms": now_ms - age_ms, "rate": 0.0, "oracle_price": 1.0,
         "index_usd": -1.0}
        for symbol, age_ms in (("BTC", hour), ("BTC", 7 * DAY_MS), ("OLD", 9 * DAY_MS))
    ]  # fmt: skip
    with engine.begin() as conn:
        conn.execute(insert(tables.candles), bars)
        conn.execute(insert(tables.funding_rates), points)
    result = run_purge(engine, raw_redis_client, now_ms)
    assert (result.candles, result.funding) == (3, 1)
    with engine.connect() as conn:
        kept = conn.execute(select(tables.candles.c.timeframe, tables.candles.c.open_ms)).all()
        left = conn.execute(select(tables.funding_rates.c.symbol)).scalars().all()
    assert sorted(kept) == [("1d", now_ms - 40 * DAY_MS), ("1m", now_ms - 5 * DAY_MS)]
    assert left == ["BTC", "OLD"]


def test_ticks_of_every_interval_go(engine: Engine, raw_redis_client: Redis) -> None:
    other = RunWorld(length=5, warm=1, interval_ms=200, gaps=False)
    with engine.begin() as conn:
        WORLD.store(conn)
        other.store_rows(conn, other.rows_)
    assert run_purge(engine, raw_redis_client, WORLD.ticks[-1] + 3 * DAY_MS).ticks == len(
        WORLD.rows_
    ) + len(other.rows_)


def test_old_reasons_go(engine: Engine, raw_redis_client: Redis, runs: MariaRunStore) -> None:
    now_ms = WORLD.ticks[-1]
    with engine.begin() as conn:
        conn.execute(
            insert(tables.reconciliation_log),
            [
                {"at_ms": now_ms - days * DAY_MS, "symbol": "BTC", "decision": "hold", "detail": {}}
                for days in (1, 3, 5, 6)
            ],
        )
    assert run_purge(engine, raw_redis_client, now_ms).reasons == 2


def test_task_makes_days_ahead(
    engine: Engine, raw_redis_client: Redis, settings: Settings, secrets: Secrets
) -> None:
    wiring.use(wiring.build(settings, secrets))
    purge_stale_runs.run()
    wiring.use(None)
    with engine.connect() as conn:
        assert len(fill_days.days(conn)) == DAYS_AHEAD


def test_days_are_made_ahead_once(engine: Engine) -> None:
    today = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS
    for _ in range(2):
        make_days(engine.begin, FrozenClock(today + 1000))
        with engine.connect() as conn:
            ends = [day.end_ms for day in fill_days.days(conn)]
        assert ends == [today + n * DAY_MS for n in range(1, DAYS_AHEAD + 1)]
