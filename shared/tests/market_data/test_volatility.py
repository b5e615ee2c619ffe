"""Realised volatility and trading range."""

from __future__ import annotations

import numpy as np
import pytest

from shared.market_data.candle import Candle
from shared.market_data.volatility import HOUR_MS, from_candles, from_samples, realised

MINUTE = 60_000


def test_known_returns_give_the_known_volatility() -> None:
    # +1 % and -1 % in log, minute by minute: sqrt(60) * 1 % per square root of an hour.
    prices = 100 * np.exp(0.01 * (np.arange(121) % 2))
    measured = realised(np.arange(121) * MINUTE, prices)
    assert measured is not None
    assert measured[0] == pytest.approx(0.01 * np.sqrt(60), rel=1e-12)
    assert measured[1] == 120


def test_a_random_walk_is_measured_within_its_error() -> None:
    rng = np.random.default_rng(7)
    steps = rng.normal(0, 0.02 / np.sqrt(3600), 20_000)
    prices = 50_000 * np.exp(np.cumsum(steps))
    measured = realised(np.arange(20_000) * 1_000, prices)
    assert measured is not None
    assert measured[0] == pytest.approx(0.02, rel=0.02)


def test_gaps_do_not_bias() -> None:
    rng = np.random.default_rng(8)
    prices = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, 20_000)))
    times = np.arange(20_000) * MINUTE
    holes = prices.copy()
    holes[rng.random(20_000) < 0.3] = np.nan
    whole, holed = realised(times, prices), realised(times, holes)
    assert whole is not None
    assert holed is not None
    assert holed[0] == pytest.approx(whole[0], rel=0.03)
    assert holed[1] < whole[1]


@pytest.mark.parametrize(
    "prices",
    [np.full(100, 5.0), np.full(100, np.nan), np.linspace(1, 2, 10), np.zeros(0)],
    ids=["no movement", "nothing known", "too few", "empty"],
)
def test_what_cannot_be_measured_is_unknown(prices: np.ndarray) -> None:
    times = np.arange(len(prices)) * MINUTE
    assert realised(times, prices) is None
    assert from_samples(times, prices) is None


def test_candles_tell_range_and_time() -> None:
    bars = [Candle(i * MINUTE, 100.0, 103.0 + i, 99.0 - i, 101.0 + i % 2, 1.0) for i in range(20)]
    estimate = from_candles(bars, MINUTE)
    assert estimate is not None
    assert (estimate.range_high, estimate.range_low) == (122.0, 80.0)
    assert estimate.as_of_ms == 20 * MINUTE
    assert estimate.samples == 19


def test_samples_with_gaps_tell_their_newest_time() -> None:
    prices = np.array([100.0, 101.0] * 10 + [np.nan])
    times = np.arange(21) * (HOUR_MS // 60)
    estimate = from_samples(times, prices)
    assert estimate is not None
    assert estimate.as_of_ms == times[-2]
    assert (estimate.range_high, estimate.range_low) == (101.0, 100.0)


@pytest.mark.parametrize(
    "prices",
    [(0.0, 1.0, 0.0, 1.0), (1.0, 1.0, 1.1, 1.0), (1.0, 0.9, 0.5, 1.0), (-1.0, 1.0, -2.0, 1.0)],
)
def test_impossible_bars_are_refused(prices: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="impossible bar"):
        Candle(0, *prices, 1.0)
    with pytest.raises(ValueError, match="impossible bar"):
        Candle(0, 1.0, 1.0, 1.0, 1.0, -1.0)
