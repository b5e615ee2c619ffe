"""The sampler's rules, on a real MariaDB and Redis, with time in the test's hand."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import pytest
import redis
from sqlalchemy import Engine

from price_sampler import LATE_MS, MAX_FILLED_GAP_MS, PriceSampler
from shared.config import Settings, load_settings
from shared.database import UnitOfWork
from shared.exchange.payloads import Asset
from shared.market_data.quotes import Quote
from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_inputs import TickInputStore, TickRow, config_version
from shared.market_data.volatility import VolatilityEstimate
from shared.native_servers import PROJECT_ROOT
from shared.storage import config_versions, redis_keys
from shared.storage.funding import FundingPoint, FundingStore
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.storage.volatility import VolatilityStore
from shared.testing.clock import FrozenClock

INTERVAL = 5_000
T0 = 1_700_000_000_000 // INTERVAL * INTERVAL
SYMBOLS = ("BTC", "ETH")
CONTEXT_LIFE_MS = 30_000
"""A sampler goes on with the list of products for this long."""


@pytest.fixture
def sampled() -> Settings:
    environ = {
        "T3__celery__schedules__providence_iteration_scheduler": "5.0",
        "T3__reconciliation_engine__symbols": "[BTC, ETH]",
        "T3__price_sampler__max_price_age_secs": "3.0",
    }
    return load_settings(PROJECT_ROOT / "config.yml", environ)


class Bench:
    """A sampler and the world around it."""

    def __init__(self, settings: Settings, engine: Engine, client: redis.Redis) -> None:
        self.settings, self.engine, self.client = settings, engine, client
        self.clock = FrozenClock(T0)
        self.prices = PriceStore(client)
        self.ids = self.list_symbols()
        self.sampler = self.new_sampler()

    def list_symbols(self, delisted: str | None = None) -> dict[str, int]:
        """Have the venue list the symbols, one of them as delisted; returns their ids."""
        listed = [
            Asset(symbol, index, 5, 40, only_isolated=False, delisted=symbol == delisted)
            for index, symbol in enumerate(SYMBOLS)
        ]
        with UnitOfWork(self.engine) as uow:
            known = ProductStore(uow.conn).sync(listed)
            uow.commit()
        return {symbol: product.id for symbol, product in known.items()}

    def new_sampler(self, history=None) -> PriceSampler:
        volatility = VolatilityStore(self.client)
        return PriceSampler(
            self.settings, self.engine, self.prices, volatility, self.clock, history
        )

    def quote(self, received_ms: int, mid: str = "100", symbols: tuple[str, ...] = SYMBOLS) -> None:
        self.prices.publish(
            [
                Quote(symbol, Decimal(mid), Decimal(mid), received_ms, received_ms, "ws")
                for symbol in symbols
            ]
        )

    def replayable(self, received_ms: int, mid: str, symbols: tuple[str, ...] = SYMBOLS) -> None:
        """An entry of the stream, filed by Redis at the time it was received."""
        payload = ",".join(f'"{s}": ["{mid}", "{mid}"]' for s in symbols)
        self.client.xadd(
            redis_keys.PRICES_STREAM,
            {
                "payload": "{" + payload + "}",
                "venue_ms": received_ms,
                "received_ms": received_ms,
                "source": "ws",
            },
            id=f"{received_ms}-*",
        )

    def rows(self) -> list[TickRow]:
        with UnitOfWork(self.engine) as uow:
            return TickInputStore(uow.conn).rows(INTERVAL, 0, 2**62)

    def told(self) -> list[tuple[int, str]]:
        """(tick relative to T0 in intervals, source) of every row."""
        return [((row.tick_ms - T0) // INTERVAL, row.source) for row in self.rows()]


@pytest.fixture
def bench(sampled: Settings, engine: Engine, redis_client: redis.Redis) -> Bench:
    return Bench(sampled, engine, redis_client)


def test_a_tick_is_sampled_with_its_context_and_configuration(bench: Bench) -> None:
    with UnitOfWork(bench.engine) as uow:
        FundingStore(uow.conn).append([FundingPoint("BTC", T0 - 1, 1e-5, 100.0, -0.75)])
        uow.commit()
    estimate = VolatilityEstimate(0.015, 110.0, 90.0, 100, T0)
    VolatilityStore(bench.client).save("ETH", estimate)
    bench.quote(T0 - 500, "123.5", ("BTC",))
    bench.quote(T0 - 4_000, "9", ("ETH",))
    bench.clock.ms = T0 + 20
    assert bench.sampler.catch_up() == 1
    (row,) = bench.rows()
    assert (row.tick_ms, row.source) == (T0, "live")
    assert row.samples["product_id"].tolist() == [bench.ids["BTC"], bench.ids["ETH"]]
    assert row.samples["ok"].tolist() == [1, 0]
    assert row.samples["mid"][0] == 123.5
    assert np.isnan(row.samples["mid"][1])
    assert row.samples["funding_index"].tolist() == [-0.75, 0.0]
    assert row.samples["volatility"][1] == 0.015
    content = TickConfig.of(bench.settings).to_json()
    assert row.config_version == config_version(content)


def test_the_same_tick_is_sampled_once(bench: Bench) -> None:
    bench.clock.ms = T0 + 20
    other = bench.new_sampler()
    assert bench.sampler.catch_up() == 1
    assert bench.sampler.catch_up() == 0
    assert other.catch_up() == 0
    assert bench.told() == [(0, "live")]


def test_missed_ticks_are_filled_by_when_their_quotes_arrived(bench: Bench) -> None:
    bench.clock.ms = T0 + 20
    bench.sampler.catch_up()
    bench.replayable(T0 + INTERVAL - 100, "101")
    bench.replayable(T0 + INTERVAL + 100, "102")
    bench.replayable(T0 + 3 * INTERVAL - 2_000, "103", ("BTC",))
    bench.quote(T0 + 4 * INTERVAL - 10, "104")
    bench.clock.ms = T0 + 4 * INTERVAL + 20
    assert bench.sampler.catch_up() == 4
    assert bench.told() == [
        (0, "live"),
        (1, "backfill"),
        (2, "missing"),
        (3, "backfill"),
        (4, "live"),
    ]
    rows = bench.rows()
    assert rows[1].samples["mid"].tolist() == [101.0, 101.0]
    assert len(rows[2].samples) == 0
    assert rows[3].samples["ok"].tolist() == [1, 0]
    assert rows[4].samples["mid"].tolist() == [104.0, 104.0]


def test_rows_are_never_rewritten_by_a_later_replay(bench: Bench) -> None:
    bench.clock.ms = T0 + 20
    bench.sampler.catch_up()
    bench.clock.ms = T0 + 2 * INTERVAL + 20
    bench.sampler.catch_up()
    before = [(row.tick_ms, row.source, row.samples.tobytes()) for row in bench.rows()]
    bench.replayable(T0 + INTERVAL - 100, "101")
    bench.clock.ms = T0 + 3 * INTERVAL + 20
    bench.sampler.catch_up()
    after = [(row.tick_ms, row.source, row.samples.tobytes()) for row in bench.rows()]
    assert after[: len(before)] == before
    assert bench.told()[1] == (1, "missing")


def test_a_late_sampler_does_not_take_later_prices_for_those_of_the_tick(bench: Bench) -> None:
    bench.replayable(T0 - 200, "100")
    bench.quote(T0 + LATE_MS + 1, "105")
    bench.clock.ms = T0 + LATE_MS + 1
    bench.sampler.catch_up()
    (row,) = bench.rows()
    assert row.source == "backfill"
    assert row.samples["mid"].tolist() == [100.0, 100.0]


def test_a_pause_of_days_is_left_as_a_gap(bench: Bench) -> None:
    bench.clock.ms = T0 + 20
    bench.sampler.catch_up()
    later = T0 + MAX_FILLED_GAP_MS + 10 * INTERVAL
    bench.clock.ms = later + 20
    assert bench.sampler.catch_up() == 1
    assert [row.tick_ms for row in bench.rows()] == [T0, later]


def test_a_new_interval_begins_a_new_series(bench: Bench) -> None:
    bench.clock.ms = T0 + 20
    bench.sampler.catch_up()
    environ = {"T3__celery__schedules__providence_iteration_scheduler": "1.0"}
    changed = load_settings(PROJECT_ROOT / "config.yml", environ)
    volatility = VolatilityStore(bench.client)
    faster = PriceSampler(changed, bench.engine, bench.prices, volatility, bench.clock)
    assert faster.catch_up() == 1
    assert faster.newest_tick() == T0
    assert bench.told() == [(0, "live")]


def past(ticks: Mapping[int, float]):
    calls = []

    def history(interval_ms: int, count: int) -> dict[int, dict[str, float]]:
        calls.append((interval_ms, count))
        return {tick: {"BTC": price, "NEW": 1.0} for tick, price in ticks.items()}

    return history, calls


def test_an_empty_series_starts_from_the_paper_venues_past(bench: Bench) -> None:
    history, calls = past({T0 - 2 * INTERVAL: 98.0, T0 - INTERVAL: 99.0, T0: 100.0})
    bench.clock.ms = T0 + 20
    sampler = bench.new_sampler(history)
    assert sampler.start_from_history(3) == 3
    assert calls == [(INTERVAL, 3)]
    assert bench.told() == [(-2, "history"), (-1, "history"), (0, "history")]
    row = bench.rows()[0]
    assert row.samples["ok"].tolist() == [1, 0]
    assert row.samples["mid"][0] == 98.0
    assert sampler.catch_up() == 0


def test_a_resumed_demo_fills_its_pause_from_the_venues_past(bench: Bench) -> None:
    bench.clock.ms = T0 + 20
    bench.sampler.catch_up()
    bench.replayable(T0 + 2 * INTERVAL - 100, "102")
    bench.quote(T0 + 4 * INTERVAL, "104")
    history, _ = past({T0 + 2 * INTERVAL: 77.0, T0 + 3 * INTERVAL: 103.0})
    bench.clock.ms = T0 + 4 * INTERVAL + 20
    bench.new_sampler(history).catch_up()
    assert bench.told() == [
        (0, "live"),
        (1, "missing"),
        (2, "backfill"),
        (3, "history"),
        (4, "live"),
    ]
    assert bench.rows()[2].samples["mid"][0] == 102.0  # what was really received goes first


def test_all_fresh_needs_every_symbol(bench: Bench) -> None:
    assert not bench.sampler.all_fresh()
    bench.quote(T0 - 100, "100", ("BTC",))
    assert not bench.sampler.all_fresh()
    bench.quote(T0 - 100, "100", ("ETH",))
    assert bench.sampler.all_fresh()
    bench.clock.ms = T0 + 10_000
    assert not bench.sampler.all_fresh()


def test_the_runs_of_a_delisted_symbol_end_at_the_tick_that_knows_it(bench: Bench) -> None:
    """It leaves the configuration of that tick, as if a person had taken it out."""
    named = []
    for at, delisted in enumerate((None, "ETH", None)):
        bench.list_symbols(delisted)
        bench.clock.ms = T0 + at * CONTEXT_LIFE_MS + 20
        bench.quote(bench.clock.ms - 10)
        bench.sampler.catch_up()
        with UnitOfWork(bench.engine) as uow:
            newest = TickInputStore(uow.conn).rows(INTERVAL, 0, 2**62)[-1]
            named.append(config_versions.content(uow.conn, newest.config_version)["symbols"])
    assert named == [["BTC", "ETH"], ["BTC"], ["BTC", "ETH"]]


def test_a_delisted_symbol_is_not_sampled_as_fresh_however_new_its_price(bench: Bench) -> None:
    bench.list_symbols(delisted="ETH")
    bench.quote(T0 - 100)
    bench.clock.ms = T0 + 20
    assert bench.sampler.catch_up() == 1
    (row,) = bench.rows()
    assert row.samples["ok"].tolist() == [1, 0]
    assert np.isnan(row.samples["mid"][1])
