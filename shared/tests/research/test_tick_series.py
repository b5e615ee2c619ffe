"""Ticks see the newest price that was known, never a later one, and never one that is too old."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.market_data.volatility import realised
from shared.research import tick_series
from shared.research.errors import ResearchError
from shared.research.funding_files import FundingRates
from shared.research.price_files import PricePoints, Repairs
from shared.research.tick_series import TickSeries
from shared.tests.research.samples import FIRST_MS, MINUTE_MS, points, walk, walks


def ticks_of(symbol: str, times: list[int], price: list[float]) -> PricePoints:
    return PricePoints(
        symbol,
        Path(f"{symbol}.csv"),
        "",
        "ticks",
        len(times),
        None,
        np.array(times, dtype=np.int64),
        np.array(price),
        Repairs(),
    )


def test_candle_is_seen_at_its_end_and_not_after_a_gap() -> None:
    known = [FIRST_MS + k * MINUTE_MS for k in (0, 1, 2, 5)]
    series = TickSeries([points("BTC", [10.0, 11.0, 12.0, 13.0], known)], MINUTE_MS)
    samples = series.samples(0)
    assert len(series) == 6
    np.testing.assert_array_equal(samples.price[:, 0], [10, 11, 12, np.nan, np.nan, 13])
    assert samples.ok[:, 0].tolist() == [True, True, True, False, False, True]


def test_trade_counts_until_it_is_too_old() -> None:
    times = [FIRST_MS - 500, FIRST_MS + 1, FIRST_MS + 4_000]
    series = TickSeries(
        [ticks_of("BTC", times, [1.0, 2.0, 3.0])],
        1_000,
        max_tick_age_ms=2_000,
        to_ms=FIRST_MS + 9_000,
    )
    price = series.samples(0).price[:, 0]
    assert series.first_ms == FIRST_MS
    np.testing.assert_array_equal(price, [1.0, 2.0, 2.0, np.nan, 3.0])


def test_longer_ticks_take_the_last_candle_before_them() -> None:
    series = TickSeries([points("BTC", np.arange(1.0, 21.0))], 5 * MINUTE_MS)
    price = series.samples(0).price[:, 0]
    first = (series.first_ms - FIRST_MS) // MINUTE_MS
    assert price.tolist() == [1.0 + first + 5 * k for k in range(len(price))]


def test_blocks_are_the_same_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    series = TickSeries(walks(1_000, gaps=True), MINUTE_MS, volatility_ms=100 * MINUTE_MS)
    whole = series.samples(0)
    monkeypatch.setattr(tick_series, "BLOCK_TICKS", 300)
    pieces = [series.samples(block) for block in range(series.blocks)]
    assert len(pieces) == 4
    for name in ("tick_ms", "price", "ok", "funding_index"):
        joined = np.concatenate([getattr(piece, name) for piece in pieces])
        assert joined.tobytes() == getattr(whole, name).tobytes(), name
    volatility = np.concatenate([piece.volatility for piece in pieces])
    np.testing.assert_allclose(volatility, whole.volatility, rtol=1e-9)


def test_later_prices_change_nothing_before_them() -> None:
    whole = TickSeries(walks(900, gaps=True), MINUTE_MS).samples(0)
    cut = [
        points(
            p.symbol,
            p.price[p.known_ms <= FIRST_MS + 500 * MINUTE_MS],
            p.known_ms[p.known_ms <= FIRST_MS + 500 * MINUTE_MS],
        )
        for p in walks(900, gaps=True)
    ]
    early = TickSeries(cut, MINUTE_MS).samples(0)
    count = len(early.tick_ms)
    assert 490 < count < 510
    for name in ("price", "ok", "volatility", "funding_index"):
        assert getattr(whole, name)[:count].tobytes() == getattr(early, name).tobytes(), name


def test_volatility_is_the_realised_one_of_the_window() -> None:
    data = walks(700, gaps=True)
    samples = TickSeries(data, MINUTE_MS, volatility_ms=200 * MINUTE_MS).samples(0)
    for t in (200, 450, 699):
        for s in range(3):
            window = slice(t - 200, t + 1)
            expected = realised(samples.tick_ms[window], samples.price[window, s])
            assert expected is not None
            assert samples.volatility[t, s] == pytest.approx(expected[0], rel=1e-9)
    assert np.isnan(samples.volatility[:50]).all()
    flat = TickSeries([points("BTC", np.full(200, 7.0))], MINUTE_MS).samples(0)
    assert np.isnan(flat.volatility).all()


def test_funding_is_received_from_its_payment_on() -> None:
    rates = FundingRates(
        "BTC",
        Path("f.csv"),
        "",
        np.array([FIRST_MS + 30, FIRST_MS + 10 * MINUTE_MS + 30, FIRST_MS + 999 * MINUTE_MS]),
        np.array([0.001, -0.002, 0.5]),
    )
    price = walk(20)
    series = TickSeries([points("BTC", price)], MINUTE_MS, funding={"BTC": rates})
    index = series.samples(0).funding_index[:, 0]
    assert index[0] == 0.0
    assert index[1] == pytest.approx(-0.001 * price[0])
    assert index[10] == index[1]
    assert index[11] == pytest.approx(-0.001 * price[0] + 0.002 * price[10])
    assert index[-1] == index[11]


def test_what_cannot_be_laid_out_is_refused() -> None:
    data = points("BTC", walk(10))
    with pytest.raises(ResearchError, match="multiples of the candle"):
        TickSeries([data], 90_000)
    with pytest.raises(ResearchError, match="no tick of 60 s lies between"):
        TickSeries([data], MINUTE_MS, from_ms=FIRST_MS + 99 * MINUTE_MS)
    with pytest.raises(ResearchError, match="each once"):
        TickSeries([data, data], MINUTE_MS)
