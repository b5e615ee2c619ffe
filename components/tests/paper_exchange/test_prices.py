"""Generated and replayed prices, the book around them, candles."""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paper_exchange.__main__ import build, parser
from paper_exchange.book import depth, mid_price, quote_around
from paper_exchange.candles import Candle, CandleSeries, bar_start_ms, close_time_ms
from paper_exchange.canonical import canonicalise
from paper_exchange.decimals import price_problem
from paper_exchange.engine import execute
from paper_exchange.feed import Feed
from paper_exchange.prices import GeneratedSource, PathParams, Regime, advance_block, start_state
from paper_exchange.replay import DataFileError, ReplaySource, load_recording, split_argument
from paper_exchange.settings import deposit
from paper_exchange.universe import default_universe

START = 1_800_000_000_000
MINUTE = 60_000
PARAMS = PathParams.of(3, "BTC", 80_000.0, 0.026)
HEADER = ("timestamp_ms", "open", "high", "low", "close", "volume")


def test_the_same_seed_gives_the_same_prices_however_they_are_taken() -> None:
    whole = GeneratedSource(PARAMS, 80_000.0).take(2_000)[0]
    source = GeneratedSource(PARAMS, 80_000.0)
    pieces = np.concatenate([source.take(n)[0] for n in (1, 599, 600, 37, 763)])
    assert np.array_equal(whole, pieces)
    other = GeneratedSource(PathParams.of(4, "BTC", 80_000.0, 0.026), 80_000.0).take(2_000)[0]
    assert not np.array_equal(whole, other)


def test_generated_prices_visit_every_regime_with_plausible_volatility() -> None:
    state, seen, returns = start_state(PARAMS.reference_log_px), set(), []
    for block in range(2_000):
        before = state.log_px
        _, state = advance_block(state, PARAMS, block)
        seen.add(state.regime)
        returns.append(state.log_px - before)
    assert seen == set(Regime)
    daily = float(np.std(returns)) * np.sqrt(1_440)
    assert 0.010 < daily < 0.060


def test_history_joins_the_live_prices_without_a_seam() -> None:
    feed = Feed(default_universe().markets, 1, START, {}, 1.0)
    times = feed.history_times(1_000, 50, START)
    assert times[-1] == START
    assert len(times) == 50
    before = feed.mids(times, ["BTC"])["BTC"]
    for _ in feed.advance(START + 5_000):
        pass
    later = feed.history_times(1_000, 55, START + 5_000)
    assert later[:50] == times
    assert feed.mids(later, ["BTC"])["BTC"][:50] == before
    values = np.array([float(px) for px in feed.mids(later, ["BTC"])["BTC"]])
    assert np.abs(np.diff(np.log(values))).max() < 0.002


def test_frozen_coins_stand_still_and_others_move() -> None:
    feed = Feed(default_universe().markets, 1, START, {}, 1.0)
    feed.frozen_now = lambda: {"BTC"}
    steps = list(feed.advance(START + 3_000))
    assert len({prices["BTC"] for _, prices in steps}) == 1
    assert len({prices["ETH"] for _, prices in steps}) > 20


def test_a_long_sleep_holds_the_price() -> None:
    feed = Feed(default_universe().markets, 1, START, {}, 1.0)
    before = feed.price("BTC")
    steps = list(feed.advance(START + 3_600_000))
    assert len(steps) == 600
    assert abs(steps[0][1]["BTC"] / before - 1) < 0.001
    assert feed.time_ms == START + 3_600_000


@pytest.mark.parametrize("asset", default_universe().assets, ids=lambda a: a.name)
@pytest.mark.parametrize("factor", [0.01, 0.37, 1.0, 1.193, 11.0])
def test_every_quoted_price_is_a_valid_order_price(asset: Any, factor: float) -> None:
    quote = quote_around(asset.reference_px * factor, asset)
    assert quote.bid < quote.ask
    assert abs(float(mid_price(quote, asset)) / (asset.reference_px * factor) - 1) < 0.002
    for is_ask in (False, True):
        levels = list(depth(asset, quote, is_ask, 1))
        prices = [level.px for level in levels]
        assert prices == sorted(set(prices), reverse=not is_ask)
        assert levels == list(depth(asset, quote, is_ask, 1))
        for px in prices:
            price = mid_price(type(quote)(px, px), asset)
            assert price_problem(price, asset.price_decimals) is None


# --- replay -------------------------------------------------------------------------------


def candle_rows(count: int = 5) -> list[tuple[Any, ...]]:
    return [(START + i * MINUTE, 100 + i, 103 + i, 99 + i, 101 + i, 5) for i in range(count)]


def write_csv(path: Path, rows: Iterable[Iterable[Any]], header: Iterable[str] = HEADER) -> Path:
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def test_a_candle_passes_its_open_low_high_and_close(tmp_path: Path) -> None:
    rows = [(START, 100, 110, 90, 105, 1), (START + MINUTE, 105, 106, 80, 95, 1)]
    recording = load_recording("BTC", write_csv(tmp_path / "BTC_1m.csv.gz", rows))
    assert list(recording.prices) == [100, 90, 110, 105, 105, 106, 80, 95]
    source = ReplaySource(recording, speed=60.0)
    prices = source.take(20)[0]
    assert max(prices) == pytest.approx(110, abs=8)
    assert prices[-1] == pytest.approx(95, abs=0.01)


def test_replay_past_its_end_stays_at_the_last_price(tmp_path: Path) -> None:
    recording = load_recording("BTC", write_csv(tmp_path / "BTC_1m.csv", candle_rows(2)))
    source = ReplaySource(recording, speed=1_000.0)
    source.take(50)
    assert source.exhausted
    assert set(source.take(10)[0]) == {102.0}


def test_replay_maps_data_time_to_wall_time_at_its_speed(tmp_path: Path) -> None:
    recording = load_recording("BTC", write_csv(tmp_path / "BTC_1m.csv", candle_rows(5)))
    slow, fast = ReplaySource(recording, 1.0), ReplaySource(recording, 60.0)
    assert slow.take(600)[0][-1] == pytest.approx(fast.take(10)[0][-1])


def test_a_restarted_replay_goes_on_where_it_stopped(tmp_path: Path) -> None:
    recording = load_recording("BTC", write_csv(tmp_path / "BTC_1m.csv", candle_rows(5)))
    whole = ReplaySource(recording, 10.0)
    first = ReplaySource(recording, 10.0)
    first.take(100)
    second = ReplaySource(recording, 10.0, position_ms=first.position_ms)
    assert second.price == pytest.approx(whole.take(100)[0][-1])
    assert np.allclose(second.take(50)[0], whole.take(50)[0])


def test_parquet_ticks_and_bbo_are_read(tmp_path: Path) -> None:
    rows = candle_rows()
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(HEADER)})
    pq.write_table(table, tmp_path / "ETH.parquet")
    assert len(load_recording("ETH", tmp_path / "ETH.parquet").times) == 20
    ticks = write_csv(tmp_path / "t.csv", [(1, 5), (1, 6), (4, 7)], ("timestamp_ms", "price"))
    assert list(load_recording("ETH", ticks).prices) == [5, 6, 7]
    names = ("timestamp_ms", "bid_price", "bid_size", "ask_price", "ask_size")
    bbo = write_csv(tmp_path / "b.csv", [(1, 5, 1, 6, 1)], names)
    assert list(load_recording("ETH", bbo).prices) == [5.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:2] + r[3:], "row 4: gap of 120 s"),
        (lambda r: [*r[:2], r[1], *r[2:]], "row 4: duplicate timestamp"),
        (lambda r: [r[1], r[0], *r[2:]], "row 3: out of order"),
        (lambda r: [(r[0][0], 0, 103, 99, 101, 5), *r[1:]], "row 2: open must be above 0"),
        (lambda r: [(r[0][0], 100, 103, -1, 101, 5), *r[1:]], "row 2: low must be above 0"),
        (lambda r: [(r[0][0], 100, 103, "x", 101, 5), *r[1:]], "row 2: low is not a number"),
        (lambda r: [(r[0][0], 100, 99, 98, 97, 5), *r[1:]], "row 2: open or close lies outside"),
        (lambda _: [], "the file has no rows"),
    ],
)
def test_bad_candle_files_name_file_and_row(tmp_path: Path, change: Any, message: str) -> None:
    path = write_csv(tmp_path / "BTC.csv", change(candle_rows()))
    with pytest.raises(DataFileError) as error:
        load_recording("BTC", path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "BTC.csv.gz").write_bytes(b"not gzip")
    for path in (tmp_path / "BTC_none.csv", tmp_path / "BTC.csv.gz"):
        with pytest.raises(DataFileError, match="cannot read the data file"):
            load_recording("BTC", path)


def test_symbols_are_found_in_file_names(tmp_path: Path) -> None:
    coins = [asset.name for asset in default_universe().assets]
    names = {
        "x/hyperliquid_perp_BTC_1m_2025.csv.gz": "BTC",
        "binance_ETHUSDT_1m.parquet": "ETH",
        "btc_perp_1m.csv": "BTC",
    }
    for name, coin in names.items():
        assert split_argument(name, coins) == (coin, Path(name))
    assert split_argument("SOL=any.csv", coins) == ("SOL", Path("any.csv"))
    unnamed = tmp_path / "prices.csv"
    with pytest.raises(DataFileError, match="there is no such file"):
        split_argument(str(unnamed), coins)
    unnamed.touch()
    with pytest.raises(DataFileError, match="SYMBOL=path"):
        split_argument(str(unnamed), coins)


def test_real_recordings_load(data_dir: Path) -> None:
    path = data_dir / "candles" / "hyperliquid_perp_BTC_1m_20250721_20250726.csv.gz"
    recording = load_recording("BTC", path)
    assert len(recording.times) == 4 * 6_808
    ticks = data_dir / "ticks" / "binance_usdm_perp_BTCUSDT_bbo_20240808.csv.gz"
    assert not load_recording("BTC", ticks).linear


# --- candles ------------------------------------------------------------------------------


def test_candles_have_no_holes_and_sum_up() -> None:
    series = CandleSeries()
    for minute, price in ((0, 100.0), (0, 105.0), (1, 104.0), (4, 90.0)):
        series.add_price(START + minute * MINUTE, price)
    minutes = series.window("1m", START, START + 4 * MINUTE)
    assert [c.open_ms for c in minutes] == [START + i * MINUTE for i in range(5)]
    assert (minutes[2].open, minutes[2].close) == (104.0, 104.0)
    (five,) = series.window("5m", START, START + 4 * MINUTE)
    assert (five.open, five.high, five.low, five.close) == (100.0, 105.0, 90.0, 90.0)


def test_bars_do_not_know_daylight_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = (1_710_054_000_000, 1_730_613_600_000)  # New York, March and November 2024
    hours = [at + i * 3_600_000 for at in changes for i in range(-48, 48)]

    def bars(zone: str) -> list[int]:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        return [bar_start_ms(at, interval) for at in hours for interval in ("4h", "1d", "1w", "1M")]

    try:
        assert bars("America/New_York") == bars("Europe/Berlin") == bars("UTC")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_fast_replay_passes_every_extreme_and_fills_orders_there(tmp_path: Path) -> None:
    rows = [(START + i * MINUTE, 100, 100, 100, 100, 5) for i in range(30)]
    rows[10] = (START + 10 * MINUTE, 100, 140, 60, 100, 5)
    path = write_csv(tmp_path / "SOL_1m.csv", rows)
    options = [f"--data={path}", "--speed=100000", f"--start-time={START}", "--admin-token=t"]
    exchange, store = build(parser().parse_args(["--port=0", *options]))
    owner = "0x" + "ab" * 20
    deposit(exchange.venue, owner, Decimal(1_000), START)
    wires = [
        {"a": 2, "b": is_buy, "p": px, "s": "1", "r": False, "t": {"limit": {"tif": "Gtc"}}}
        for is_buy, px in ((True, "61"), (False, "139"))
    ]
    action = canonicalise({"type": "order", "orders": wires, "grouping": "na"})
    execute(exchange.venue, exchange.venue.accounts[owner], action, START)
    assert len(exchange.venue.open_of(owner)) == 2
    exchange.clock.driven_ms = START + 1_000
    exchange.advance()
    assert exchange.venue.open_of(owner) == []
    assert [fill.px for fill in exchange.venue.fills[owner]] == [61, 139]
    last = exchange.venue.markets["SOL"].candles.last
    assert last is not None
    assert (last.high, last.low) == (140, 60)
    store.close()


def test_bars_begin_where_the_venue_begins_them() -> None:
    monday = 1_700_438_400_000
    assert bar_start_ms(monday + 3 * 86_400_000, "1w") == monday
    assert bar_start_ms(1_700_000_000_000, "1M") == 1_698_796_800_000
    assert close_time_ms(1_698_796_800_000, "1M") == 1_701_388_799_999
    payload = Candle(0, 0.13812, 0.1382, 0.138, 0.1381, 1500.0, 3).payload("DOGE", "1m", 0)
    assert (payload["T"], payload["o"], payload["v"]) == (59_999, "0.13812", "1500.0")
    assert Candle(0, *(4 * (83_757.4,))).payload("BTC", "1m", 5)["o"] == "83757.0"
