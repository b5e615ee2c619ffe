"""The audit of the price feed."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest
import redis
from prometheus_client import REGISTRY
from sqlalchemy import Engine
from structlog.testing import capture_logs

from shared.config import load_settings
from shared.database import UnitOfWork
from shared.exchange.errors import VenueTimeout
from shared.exchange.payloads import Asset
from shared.exchange_manager import VenueHealth
from shared.market_data.quotes import Quote
from shared.market_data.tick_inputs import TickInputStore, TickRow, unpack
from shared.native_servers import PROJECT_ROOT
from shared.storage.products import ProductStore
from shared.storage.streams import PriceStore
from shared.testing.clock import FrozenClock
from worker.services.feed import FeedAudit, audit

NOW = 1_700_000_000_000
INTERVAL = 5_000


class Venue:
    def __init__(self) -> None:
        self.prices = {"BTC": Decimal(100), "ETH": Decimal(10)}
        self.offset_ms = 15
        self.failing = False

    def mids(self, dex: str = "") -> Mapping[str, Decimal]:
        if self.failing:
            raise VenueTimeout("info:allMids: no reply in time")
        return self.prices

    def health(self) -> VenueHealth:
        return VenueHealth(self.offset_ms, 10, None, NOW)


class Bench:
    def __init__(self, engine: Engine, client: redis.Redis) -> None:
        environ = {"T3__reconciliation_engine__symbols": "[BTC, ETH]"}
        self.settings = load_settings(PROJECT_ROOT / "config.yml", environ)
        self.engine, self.store = engine, PriceStore(client)
        self.venue, self.clock = Venue(), FrozenClock(NOW)
        for symbol, price in self.venue.prices.items():
            self.quote(symbol, price, NOW - 200)
        self.rows(range(NOW - 10 * INTERVAL, NOW + 1, INTERVAL))

    def quote(self, symbol: str, mid: Decimal, received_ms: int) -> None:
        self.store.publish([Quote(symbol, mid, mid, received_ms, received_ms, "ws")])

    def rows(self, ticks: range, source="live") -> None:
        with UnitOfWork(self.engine) as uow:
            store = TickInputStore(uow.conn)
            for tick in ticks:
                store.insert(TickRow(INTERVAL, tick, "v", source, unpack(b""), tick))
            uow.commit()

    def audit(self, since_ms: int = 0) -> tuple[FeedAudit, set[str]]:
        with capture_logs() as logs:
            found = audit(self.settings, self.venue, self.engine, self.store, self.clock, since_ms)
        return found, {entry["event"] for entry in logs}


@pytest.fixture
def bench(engine: Engine, redis_client: redis.Redis) -> Bench:
    return Bench(engine, redis_client)


def test_a_healthy_feed_raises_nothing(bench: Bench) -> None:
    found, events = bench.audit()
    assert found == FeedAudit(clock_offset_ms=15, polled=True)
    assert events == set()


def test_a_stale_and_an_absent_price_are_reported(bench: Bench) -> None:
    bench.clock.advance(10_000)
    bench.quote("BTC", Decimal(100), NOW + 9_000)
    found, events = bench.audit()
    assert found.stale == {"ETH": 10_200}
    assert "price_stale" in events
    bench.store._client.delete("price:ETH")
    assert bench.audit()[0].stale == {"ETH": None}


def test_a_symbol_frozen_in_the_stream_shows_against_the_poll(bench: Bench) -> None:
    bench.venue.prices["BTC"] = Decimal(102)
    bench.venue.prices["ETH"] = Decimal("10.05")
    found, events = bench.audit()
    assert found.diverging == {"BTC": (Decimal(100), Decimal(102))}
    assert "price_diverges" in events


def test_a_stale_price_is_not_called_diverging(bench: Bench) -> None:
    bench.clock.advance(60_000)
    bench.venue.prices["BTC"] = Decimal(200)
    found, _ = bench.audit()
    assert found.diverging == {}
    assert set(found.stale) == {"BTC", "ETH"}


def test_gaps_between_the_oldest_and_the_newest_sample_are_listed(bench: Bench) -> None:
    bench.rows(range(NOW + 3 * INTERVAL, NOW + 4 * INTERVAL, INTERVAL))
    bench.rows(range(NOW + INTERVAL, NOW + 2 * INTERVAL, INTERVAL), source="missing")
    bench.clock.advance(3 * INTERVAL)
    found, events = bench.audit()
    assert found.gaps == [NOW + INTERVAL, NOW + 2 * INTERVAL]
    assert "sample_gaps" in events


def test_a_sampler_that_fell_behind_is_reported(bench: Bench) -> None:
    bench.clock.advance(10 * INTERVAL)
    assert "sampler_behind" in bench.audit()[1]


def test_a_clock_that_was_set_back_behind_the_samples_is_reported(bench: Bench) -> None:
    bench.clock.advance(-3_600_000)
    assert "clock_set_back" in bench.audit()[1]


def test_a_platform_that_starts_after_a_day_is_not_behind_yet(bench: Bench) -> None:
    bench.clock.advance(86_400_000)
    began = bench.clock.now_ms() - INTERVAL
    assert "sampler_behind" not in bench.audit(began)[1]
    bench.clock.advance(3 * INTERVAL)
    assert "sampler_behind" in bench.audit(began)[1]


def test_an_empty_series_is_reported(bench: Bench, engine: Engine) -> None:
    environ = {
        "T3__reconciliation_engine__symbols": "[BTC, ETH]",
        "T3__celery__schedules__providence_iteration_scheduler": "7.0",
    }
    bench.settings = load_settings(PROJECT_ROOT / "config.yml", environ)
    assert "no_samples" in bench.audit()[1]


def test_a_clock_that_differs_from_the_venues_is_reported(bench: Bench) -> None:
    bench.venue.offset_ms = -5_000
    found, events = bench.audit()
    assert found.clock_offset_ms == -5_000
    assert "clock_differs_from_venue" in events


def test_a_venue_that_cannot_be_polled_does_not_hide_the_rest(bench: Bench) -> None:
    bench.venue.failing = True
    bench.clock.advance(60_000)
    found, events = bench.audit()
    assert not found.polled
    assert set(found.stale) == {"BTC", "ETH"}
    assert "feed_not_cross_checked" in events


def test_a_delisted_symbol_is_named_and_counted(bench: Bench) -> None:
    name, labels = "t3_prices_rejected_total", {"symbol": "ETH", "reason": "delisted"}
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    with UnitOfWork(bench.engine) as uow:
        ProductStore(uow.conn).sync(
            [
                Asset("BTC", 0, 5, 40, only_isolated=False, delisted=False),
                Asset("ETH", 1, 4, 25, only_isolated=False, delisted=True),
            ]
        )
        uow.commit()
    found, events = bench.audit()
    assert found.delisted == ["ETH"]
    assert events == {"symbol_delisted"}
    assert REGISTRY.get_sample_value(name, labels) == before + 1
