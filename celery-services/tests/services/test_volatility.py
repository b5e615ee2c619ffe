"""Volatility from candles, or from samples while those are few."""

from __future__ import annotations

import numpy as np
import pytest
import redis
from sqlalchemy import Engine, delete

from shared.config import load_settings
from shared.database import UnitOfWork
from shared.exchange.payloads import Asset
from shared.market_data.candle import Candle
from shared.market_data.tick_inputs import TickInputStore, TickRow, empty_samples
from shared.native_servers import PROJECT_ROOT
from shared.storage import redis_keys
from shared.storage.candles import CandleStore
from shared.storage.products import ProductStore
from shared.storage.tables import market_data
from shared.storage.volatility import VolatilityStore
from shared.testing.clock import FrozenClock
from worker.services.volatility import MIN_BARS, update_volatility

MINUTE = 60_000
NOW = 1_700_000_000_000 // MINUTE * MINUTE
INTERVAL = 5_000


class Bench:
    def __init__(self, engine: Engine, client: redis.Redis) -> None:
        environ = {"T3__reconciliation_engine__symbols": "[BTC, ETH]"}
        self.settings = load_settings(PROJECT_ROOT / "config.yml", environ)
        self.engine, self.client = engine, client
        self.store = VolatilityStore(client)

    def bars(self, symbol: str, count: int) -> None:
        with UnitOfWork(self.engine) as uow:
            CandleStore(uow.conn).save(
                symbol,
                "1m",
                [
                    Candle(NOW - (count - i) * MINUTE, p, p * 1.01, p * 0.99, p, 1.0)
                    for i, p in enumerate(100 * np.exp(0.001 * (np.arange(count) % 2)))
                ],
            )
            uow.commit()

    def ticks(self, count: int) -> None:
        with UnitOfWork(self.engine) as uow:
            product = ProductStore(uow.conn).sync(
                [Asset("BTC", 0, 5, 40, only_isolated=False, delisted=False)]
            )["BTC"]
            store = TickInputStore(uow.conn)
            for i in range(count):
                rows = empty_samples([product.id])
                rows["ok"] = i % 10 != 3
                rows["mid"] = rows["mark"] = 100 * np.exp(0.0005 * (i % 2))
                tick = NOW // INTERVAL * INTERVAL - (count - 1 - i) * INTERVAL
                store.insert(TickRow(INTERVAL, tick, "v", "live", rows, NOW))
            uow.commit()

    def run(self):
        return update_volatility(self.settings, self.engine, self.store, FrozenClock(NOW))


@pytest.fixture
def bench(engine: Engine, redis_client: redis.Redis) -> Bench:
    return Bench(engine, redis_client)


def test_candles_give_volatility_and_range_with_age_and_time_to_live(bench: Bench) -> None:
    bench.bars("BTC", 120)
    found = bench.run()
    assert set(found) == {"BTC"}
    assert found["BTC"].per_sqrt_hour == pytest.approx(0.001 * np.sqrt(60), rel=1e-6)
    shown = bench.client.hgetall(redis_keys.volatility("BTC"))
    assert float(shown["per_sqrt_hour"]) == found["BTC"].per_sqrt_hour
    assert float(shown["range_high"]) == pytest.approx(100 * np.exp(0.001) * 1.01)
    assert int(shown["as_of_ms"]) == NOW
    assert 0 < bench.client.ttl(redis_keys.volatility("BTC")) <= redis_keys.VOLATILITY_TTL_SECS
    assert bench.store.per_sqrt_hour(["BTC", "ETH"]) == {"BTC": found["BTC"].per_sqrt_hour}


def test_an_empty_memory_table_is_no_reason_not_to_know(bench: Bench) -> None:
    bench.bars("BTC", 120)
    before = bench.run()
    with UnitOfWork(bench.engine) as uow:
        uow.conn.execute(delete(market_data))
        uow.commit()
    assert bench.run() == before


def test_few_candles_leave_it_to_the_samples(bench: Bench) -> None:
    bench.bars("BTC", MIN_BARS - 1)
    bench.ticks(200)
    found = bench.run()["BTC"]
    assert found.samples < 200
    # Of 199 steps, the two at each of 20 left-out samples cancel out.
    assert found.per_sqrt_hour == pytest.approx(0.0005 * np.sqrt(720 * 159 / 199), rel=1e-6)


def test_what_cannot_be_known_is_not_written(bench: Bench) -> None:
    assert bench.run() == {}
    assert bench.client.keys("volatility:*") == []


@pytest.mark.parametrize("text", ["nan", "inf", "0.0", "-0.1"])
def test_a_senseless_stored_value_is_unknown(bench: Bench, text: str) -> None:
    bench.client.hset(redis_keys.volatility("BTC"), "per_sqrt_hour", text)
    assert bench.store.per_sqrt_hour(["BTC"]) == {}
