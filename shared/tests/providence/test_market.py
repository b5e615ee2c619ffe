"""Samples to markets: look-backs, gaps, and independence of the path."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from shared.providence.entropy import sliding_entropy
from shared.providence.market import MarketSeries, warm_up_samples
from shared.providence.step import Grid, TickMarket
from shared.tests.providence.samples import (
    INTERVAL_MS,
    make_samples,
    make_space,
    markets,
    random_walk,
)

GRID = Grid.of(make_space())


def _bytes(market: TickMarket) -> list[bytes | int]:
    return [v if isinstance(v, int) else np.ascontiguousarray(v).tobytes() for v in market]


def _gappy(ticks: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    price = random_walk(rng, ticks, 2)
    ok = rng.random(price.shape) > 0.004
    return price, ok


def test_rows_are_the_cells_and_look_backs_of_the_grid() -> None:
    price, ok = _gappy(400)
    seen = list(markets(GRID, make_samples(price, ok=ok)))
    entropy = np.stack([m.entropy for m in seen])
    for row, cell in enumerate(GRID.cells):
        for s in range(2):
            expected = sliding_entropy(price[:, s], *cell, ok[:, s])
            assert entropy[:, row, s].tobytes() == expected.tobytes()
    for m, lookback in enumerate(GRID.lookbacks):
        for t in (0, lookback - 1, lookback, 17, 399):
            known = t >= lookback and ok[t - lookback]
            expected = np.where(known, price[t - lookback], np.nan)
            np.testing.assert_array_equal(seen[t].past[m], expected)


def test_one_by_one_in_pieces_and_from_a_cold_start_are_the_same_bits() -> None:
    price, ok = _gappy(300)
    samples = make_samples(price, ok=ok)
    whole = [_bytes(m) for m in markets(GRID, samples)]
    single, pieces = (MarketSeries(GRID, 2, INTERVAL_MS) for _ in range(2))
    assert whole == [_bytes(single.push(*(part[t] for part in samples))) for t in range(len(price))]
    cuts = [0, 1, 7, 150, 300]
    assert whole == [
        _bytes(m)
        for a, b in pairwise(cuts)
        for m in pieces.push_many(type(samples)(*(part[a:b] for part in samples)))
    ]
    warm = warm_up_samples(GRID)
    assert warm == 39
    for t in (39, 120, 299):
        cold = markets(GRID, type(samples)(*(part[t - warm : t + 1] for part in samples)))
        assert _bytes(list(cold)[-1]) == whole[t]


def test_left_out_tick_is_a_gap() -> None:
    price = random_walk(np.random.default_rng(1), 100, 1)
    samples = make_samples(price)
    series = MarketSeries(GRID, 1, INTERVAL_MS)
    ticks = [series.push(*(part[t] for part in samples)) for t in range(100) if t != 50]
    assert np.isfinite(ticks[49].entropy).all()
    after = np.stack([m.entropy[0, 0] for m in ticks[50:]])  # window of 20
    assert np.isnan(after[:19]).all()
    assert np.isfinite(after[19:]).all()
    assert np.isnan(ticks[52].past[0, 0])


def test_bad_numbers_are_not_ok() -> None:
    price = np.full((4, 1), 100.0)
    price[1], price[2] = np.nan, -1.0
    assert [bool(m.ok[0]) for m in markets(GRID, make_samples(price))] == [True, False, False, True]


def test_ticks_must_follow_on() -> None:
    series = MarketSeries(GRID, 1, INTERVAL_MS)
    samples = make_samples(np.full((3, 1), 100.0))
    list(series.push_many(samples))
    with pytest.raises(ValueError, match="tick 15000 is not after the last one, 15000"):
        series.push(15_000, [1.0], [True], [0.0], [0.1])
    with pytest.raises(ValueError, match="ticks are not 5000 ms apart"):
        series.push_many(samples._replace(tick_ms=np.array([20_000, 25_000, 35_000])))
    with pytest.raises(ValueError, match=r"samples have shape \(1, 2\); allowed is \(1, 1\)"):
        MarketSeries(GRID, 1, INTERVAL_MS).push(5_000, [1.0, 2.0], [True] * 2, [0.0] * 2, [0.1] * 2)
    with pytest.raises(ValueError, match="interval_ms is 0"):
        MarketSeries(GRID, 1, 0)
