"""Candles and funding against a real MariaDB, a real Redis, and a venue in the test's hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest
import redis
from sqlalchemy import Engine, delete

from shared import time_budget
from shared.config import Settings, load_settings
from shared.database import UnitOfWork
from shared.exchange.errors import VenueServerError
from shared.exchange.payloads import Asset, FundingRate
from shared.market_data.candle import Candle
from shared.native_servers import PROJECT_ROOT
from shared.storage import redis_keys
from shared.storage.candles import CandleStore
from shared.storage.funding import FundingStore
from shared.storage.products import ProductStore
from shared.storage.tables import candles, market_data
from shared.testing.clock import FrozenClock
from worker.services.market_data import FetchReport, MarketDataFetcher

MINUTE = 60_000
HOUR = 60 * MINUTE
NOW = 1_700_000_000_000 // HOUR * HOUR + 30 * MINUTE + 5_000
KEEP = 50


class Market:
    """A venue with candles and funding; a test takes things out of it."""

    def __init__(self) -> None:
        self.symbols = ["BTC", "ETH"]
        self.hidden: set[tuple[str, int]] = set()
        self.failing: set[str] = set()
        self.rates: dict[str, list[FundingRate]] = {}
        self.asked: list[tuple[str, str, int, int]] = []
        self.delisted: set[str] = set()
        self.running = 0
        self.most_running = 0
        self.delay_secs = 0.0
        self.time_left: set[float] = set()
        self._lock = threading.Lock()

    def markets(self) -> Mapping[str, Asset]:
        return {
            s: Asset(s, i, 5, 40, only_isolated=False, delisted=s in self.delisted)
            for i, s in enumerate(self.symbols)
        }

    def candles(
        self, symbol: str, timeframe: str, since_ms: int, until_ms: int
    ) -> Sequence[Candle]:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.asked.append((symbol, timeframe, since_ms, until_ms))
            self.time_left.add(time_budget.left_secs())
        time.sleep(self.delay_secs)
        with self._lock:
            self.running -= 1
        if symbol in self.failing:
            raise VenueServerError("info:candleSnapshot: the venue answered 500")
        step = MINUTE if timeframe == "1m" else HOUR
        return [
            bar(open_ms)
            for open_ms in range(since_ms // step * step, until_ms + 1, step)
            if (symbol, open_ms) not in self.hidden
        ]

    def funding_history(
        self, symbol: str, start_ms: int, end_ms: int | None = None
    ) -> Sequence[FundingRate]:
        return [rate for rate in self.rates.get(symbol, []) if rate.time_ms >= start_ms]


def bar(open_ms: int) -> Candle:
    price = 100.0 + open_ms // MINUTE % 7
    return Candle(open_ms, price, price + 1, price - 1, price, 5.0)


class Bench:
    def __init__(self, engine: Engine, client: redis.Redis) -> None:
        environ = {
            "T3__reconciliation_engine__symbols": "[BTC, ETH]",
            "T3__market_data__timeframes": "[1m, 1h]",
            "T3__market_data__memory_candles": str(KEEP),
        }
        self.settings: Settings = load_settings(PROJECT_ROOT / "config.yml", environ)
        self.engine, self.client = engine, client
        self.clock = FrozenClock(NOW)
        self.venue = Market()

    def run(self) -> FetchReport:
        self.venue.asked.clear()
        return MarketDataFetcher(
            self.settings, self.venue, self.engine, self.client, self.clock
        ).run()

    def opens(self, symbol: str = "BTC", timeframe: str = "1m", memory: bool = False) -> list[int]:
        with UnitOfWork(self.engine) as uow:
            store = CandleStore(uow.conn)
            read = store.recent if memory else store.bars
            return [b.open_ms for b in read(symbol, timeframe, 0, 2**62)]

    def funding(self, symbol: str = "BTC"):
        with UnitOfWork(self.engine) as uow:
            return FundingStore(uow.conn).latest(2**62).get(symbol)


@pytest.fixture
def bench(engine: Engine, redis_client: redis.Redis) -> Bench:
    return Bench(engine, redis_client)


NEWEST = NOW // MINUTE * MINUTE - MINUTE


def test_the_first_fetch_fills_the_kept_span_with_complete_bars(bench: Bench) -> None:
    report = bench.run()
    assert report.failures == []
    assert report.bars == 4 * KEEP
    expected = list(range(NEWEST - (KEEP - 1) * MINUTE, NEWEST + 1, MINUTE))
    assert bench.opens() == expected
    assert bench.opens(memory=True) == expected
    assert bench.opens(timeframe="1h")[-1] == NOW // HOUR * HOUR - HOUR
    assert bench.client.get(redis_keys.last_fetch("BTC", "1m")) == str(NEWEST)


def test_later_fetches_ask_only_for_what_is_new(bench: Bench) -> None:
    bench.run()
    assert bench.run().bars == 0
    assert bench.venue.asked == []
    bench.clock.advance(3 * MINUTE)
    report = bench.run()
    assert report.bars == 6
    assert ("BTC", "1m", NEWEST + MINUTE, NEWEST + 3 * MINUTE) in bench.venue.asked
    assert len(bench.venue.asked) == 2
    assert len(bench.opens(memory=True)) == KEEP
    assert len(bench.opens()) == KEEP + 3


def test_a_bar_that_has_just_closed_waits_for_its_last_trades(bench: Bench) -> None:
    bench.clock.ms = NOW // MINUTE * MINUTE + 500
    bench.run()
    assert bench.opens()[-1] == NEWEST - MINUTE


def test_a_gap_is_filled_when_the_venue_has_the_bars_again(bench: Bench) -> None:
    missing = {NEWEST - 10 * MINUTE, NEWEST - 9 * MINUTE, NEWEST - 3 * MINUTE}
    bench.venue.hidden = {("BTC", open_ms) for open_ms in missing}
    report = bench.run()
    assert report.gaps == 2
    assert not missing & set(bench.opens())
    bench.venue.hidden = set()
    bench.client.flushall()
    report = bench.run()
    assert report.gaps == 0
    assert missing <= set(bench.opens())


def test_a_lost_redis_costs_a_look_at_the_gaps_and_no_new_download(bench: Bench) -> None:
    bench.run()
    bench.client.flushall()
    assert bench.run().bars == 0
    assert bench.venue.asked == []


def test_a_restarted_database_gets_its_memory_table_back(bench: Bench) -> None:
    bench.run()
    with UnitOfWork(bench.engine) as uow:
        uow.conn.execute(delete(market_data))
        uow.commit()
    report = bench.run()
    assert report.refilled == 4 * KEEP
    assert bench.venue.asked == []
    assert bench.opens(memory=True) == bench.opens()


def test_bars_removed_from_the_middle_are_found_after_a_restart(bench: Bench) -> None:
    bench.run()
    with UnitOfWork(bench.engine) as uow:
        uow.conn.execute(delete(candles).where(candles.c.open_ms == NEWEST - 5 * MINUTE))
        uow.commit()
    bench.client.flushall()
    assert bench.run().bars == 2  # BTC and ETH
    assert NEWEST - 5 * MINUTE in bench.opens()


def test_one_failing_symbol_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.venue.failing = {"BTC"}
    report = bench.run()
    assert len(report.failures) == 2
    assert "500" in report.failures[0]
    assert bench.opens("BTC") == []
    assert len(bench.opens("ETH")) == KEEP
    bench.venue.failing = set()
    assert bench.run().failures == []
    assert len(bench.opens("BTC")) == KEEP


def test_every_request_shares_the_time_of_the_task(bench: Bench) -> None:
    with time_budget.within(600.0):
        bench.run()
    assert len(bench.venue.time_left) > 1
    assert max(bench.venue.time_left) <= 600.0


def test_requests_in_flight_stay_within_the_limit(bench: Bench) -> None:
    bench.venue.delay_secs = 0.05
    bench.venue.symbols = ["BTC", "ETH"]
    bench.run()
    assert 1 < bench.venue.most_running <= bench.settings.market_data.concurrency_limit


def test_runs_at_the_same_time_give_the_same_tables(bench: Bench) -> None:
    bench.venue.delay_secs = 0.02
    threads = [threading.Thread(target=bench.run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.opens()) == len(set(bench.opens())) == KEEP


def test_products_follow_the_listings_and_keep_their_ids(bench: Bench) -> None:
    bench.run()
    with UnitOfWork(bench.engine) as uow:
        before = ProductStore(uow.conn).all()
    bench.venue.symbols = ["ETH", "BTC", "NEW"]
    bench.venue.delisted = {"ETH"}
    bench.run()
    with UnitOfWork(bench.engine) as uow:
        after = ProductStore(uow.conn).all()
    assert {s: p.id for s, p in before.items()} == {s: after[s].id for s in before}
    assert (after["ETH"].active, after["BTC"].active, after["NEW"].active) == (False, True, True)
    assert (after["ETH"].asset_index, after["BTC"].asset_index) == (0, 1)
    bench.venue.symbols = ["BTC"]
    bench.run()
    with UnitOfWork(bench.engine) as uow:
        assert not ProductStore(uow.conn).all()["NEW"].active


def rate(hours_ago: int, value: str, symbol: str = "BTC") -> FundingRate:
    return FundingRate(symbol, Decimal(value), NOW // HOUR * HOUR - hours_ago * HOUR + 47)


def test_funding_begins_at_zero_and_accumulates_what_a_long_receives(bench: Bench) -> None:
    bench.venue.rates = {"BTC": [rate(1, "0.5"), rate(0, "0.00001")]}
    assert bench.run().funding_points == 1
    first = bench.funding()
    assert first is not None
    assert (first.index_usd, first.rate) == (0.0, 1e-5)
    assert bench.run().funding_points == 0
    bench.clock.advance(2 * HOUR)
    bench.venue.rates["BTC"] += [rate(-1, "0.0001"), rate(-2, "-0.0003")]
    assert bench.run().funding_points == 2
    last = bench.funding()
    assert last is not None
    hour = NOW // HOUR * HOUR
    expected = -0.0001 * bar(hour + HOUR).open + 0.0003 * bar(hour + 2 * HOUR).open
    assert last.index_usd == pytest.approx(expected, rel=1e-12)
    shown = bench.client.hgetall(redis_keys.funding("BTC"))
    assert float(shown["index"]) == last.index_usd
    assert int(shown["as_of_ms"]) == hour + 2 * HOUR + 47


def test_funding_survives_an_empty_redis(bench: Bench) -> None:
    bench.venue.rates = {"BTC": [rate(0, "0.0001")]}
    bench.run()
    bench.client.flushall()
    bench.run()
    assert float(bench.client.hget(redis_keys.funding("BTC"), "rate")) == 0.0001


def test_funding_of_an_hour_without_a_price_waits(bench: Bench) -> None:
    bench.venue.rates = {"BTC": [rate(0, "0.0001")]}
    bench.run()
    bench.clock.advance(HOUR)
    bench.venue.rates["BTC"].append(rate(-1, "0.0002"))
    bench.venue.failing = {"BTC"}
    assert bench.run().funding_points == 0
    bench.venue.failing = set()
    assert bench.run().funding_points == 1
