"""Permutation entropy against published values, two libraries, and itself on other paths."""

from __future__ import annotations

import math
from typing import Any

import antropy
import numpy as np
import ordpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.providence import entropy as module
from shared.providence.entropy import SlidingEntropy, permutation_entropy, sliding_entropy

TOLERANCE = 1e-12


def _peers(x: NDArray[Any], order: int, delay: int) -> tuple[float, float]:
    return (
        float(antropy.perm_entropy(x, order=order, delay=delay, normalize=True)),
        float(ordpy.permutation_entropy(x, dx=order, taux=delay)),
    )


def test_published_example_of_bandt_and_pompe() -> None:
    # H(3) = -2 (2/5) log2(2/5) - (1/5) log2(1/5) = 1.522 bits for the series of their Eq. (2).
    bits = permutation_entropy([4, 7, 9, 10, 6, 11, 3], order=3) * math.log2(6)
    assert bits == pytest.approx(1.522, abs=5e-4)


def test_published_pattern_probabilities_of_the_logistic_map() -> None:
    # x -> 4x(1-x): patterns of length 3 have probability 1/3, 1/15, 4/15, 2/15, 1/5 and 0
    # (J. M. Amigo, "Permutation Complexity in Dynamical Systems", 2010; 321 is forbidden).
    x = np.empty(100_000)
    x[0] = 0.3
    for t in range(1, len(x)):
        x[t] = 4.0 * x[t - 1] * (1.0 - x[t - 1])
    known = [1 / 3, 1 / 15, 4 / 15, 2 / 15, 1 / 5]
    expected = -sum(p * math.log(p) for p in known) / math.log(6)
    assert permutation_entropy(x, 3) == pytest.approx(expected, abs=2e-3)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.integers(3, 6),
    delay=st.integers(1, 4),
    extra=st.integers(0, 300),
    decimals=st.sampled_from([0, 1, 12]),
)
def test_equals_antropy_and_ordpy(
    seed: int, order: int, delay: int, extra: int, decimals: int
) -> None:
    """From the shortest window on; few decimals make many ties."""
    size = (order - 1) * delay + 1 + extra
    x = np.round(np.random.default_rng(seed).normal(size=size), decimals)
    ours = permutation_entropy(x, order, delay)
    assert 0.0 <= ours <= 1.0
    for peer in _peers(x, order, delay):
        assert ours == pytest.approx(peer, abs=TOLERANCE)


@pytest.mark.parametrize("order", [3, 4, 5, 6])
def test_constant_rising_and_falling_series_have_no_entropy(order: int) -> None:
    for x in (np.full(50, 3.0), np.arange(50.0), -np.arange(50.0)):
        ours = permutation_entropy(x, order)
        assert ours == 0.0
        for peer in _peers(x, order, 1):
            assert ours == pytest.approx(peer, abs=TOLERANCE)


@pytest.mark.parametrize("order", [3, 4, 5])
def test_all_patterns_equally_often_is_one(order: int) -> None:
    x = np.random.default_rng(1).random(100_000)
    assert 0.995 < permutation_entropy(x, order) <= 1.0


def test_finite_window_bounds_entropy() -> None:
    # At d = 6, w = 60 there are 55 patterns: H <= ln 55 / ln 720 = 0.609.
    h = sliding_entropy(np.random.default_rng(3).random(5_000), 6, 1, 60)
    assert np.nanmax(h) <= math.log(55) / math.log(720) + TOLERANCE


def _recomputed(x: NDArray[Any], order: int, delay: int, window: int) -> NDArray[Any]:
    """Every window from scratch: patterns by sorting, counts by cumulative sums, natural logs."""
    span = (order - 1) * delay
    patterns = window - span
    rows = np.lib.stride_tricks.sliding_window_view(x, span + 1)[:, ::delay]
    ranks = np.argsort(rows, axis=1, kind="stable")
    codes = ranks @ (order ** np.arange(order))
    result = np.zeros(len(x) - window + 1)
    for code in np.unique(codes):
        seen = np.concatenate([[0], np.cumsum(codes == code)])
        share = (seen[patterns:] - seen[:-patterns]) / patterns
        result -= share * np.log(np.where(share > 0.0, share, 1.0))
    return result / math.log(math.factorial(order))


@pytest.mark.parametrize(("order", "delay", "window"), [(3, 2, 50), (4, 1, 120)])
def test_incremental_equals_recomputed_on_a_million_samples(
    order: int, delay: int, window: int
) -> None:
    rng = np.random.default_rng(order)
    x = np.round(rng.normal(0.0, 1.0, 1_000_000).cumsum(), 1)
    sliding = sliding_entropy(x, order, delay, window)
    assert np.isnan(sliding[: window - 1]).all()
    np.testing.assert_allclose(
        sliding[window - 1 :], _recomputed(x, order, delay, window), rtol=0.0, atol=TOLERANCE
    )
    for t in [window - 1, *rng.integers(window, len(x), 200), len(x) - 1]:
        alone = permutation_entropy(x[t - window + 1 : t + 1], order, delay)
        assert alone == sliding[t], t  # to the bit, whatever came before


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.integers(3, 6),
    delay=st.integers(1, 3),
    extra=st.integers(0, 40),
    gaps=st.sampled_from([0.0, 0.01, 0.1]),
)
def test_columns_pushed_one_by_one_equal_each_series(
    seed: int, order: int, delay: int, extra: int, gaps: float
) -> None:
    rng = np.random.default_rng(seed)
    window = (order - 1) * delay + 1 + extra
    x = np.round(rng.normal(size=(200, 3)), 1)
    ok = rng.random(x.shape) >= gaps
    state = SlidingEntropy(order, delay, window, 3)
    pushed = np.array([state.push(x[t], ok[t]) for t in range(len(x))])
    for column in range(3):
        series = sliding_entropy(x[:, column], order, delay, window, ok[:, column])
        assert series.tobytes() == pushed[:, column].tobytes()
    for t in range(len(x)):
        for column in range(3):
            last = slice(max(t - window + 1, 0), t + 1)
            if t < window - 1 or not ok[last, column].all():
                assert math.isnan(pushed[t, column])
            else:
                assert pushed[t, column] == permutation_entropy(x[last, column], order, delay)


def test_live_state_takes_a_bad_number_as_a_gap() -> None:
    state = SlidingEntropy(3, 1, 4, 2)
    rows = np.arange(20.0).reshape(10, 2)
    rows[5, 0] = math.nan
    rows[6, 1] = math.inf
    out = state.push_many(rows, np.ones((10, 2), dtype=bool))
    assert np.isnan(out[:, 0]).tolist() == [True] * 3 + [False] * 2 + [True] * 4 + [False]
    assert np.isnan(out[:, 1]).tolist() == [True] * 3 + [False] * 3 + [True] * 4


def test_table_of_logarithms_is_rounded_not_guessed() -> None:
    table = module._xlogx_table(2_000)
    exact = np.array([0.0, *(c * math.log(c) for c in range(1, 2_001))])
    assert np.abs(table / 2.0**42 - exact).max() < 1e-11
    assert not table.flags.writeable


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_a_number(bad: float) -> None:
    x = np.arange(10.0)
    x[4] = bad
    with pytest.raises(ValueError, match=r"sample 4 is .*; allowed are finite numbers"):
        permutation_entropy(x, 3)
    with pytest.raises(ValueError, match="sample 4"):
        sliding_entropy(x, 3, 1, 5)
    ok = np.arange(10) != 4
    assert np.isfinite(sliding_entropy(x, 3, 1, 4, ok)[[3, 8, 9]]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.arange(9.0), 2, 1), "order is 2; allowed is 3 to 6"),
        ((np.arange(9.0), 7, 1), "order is 7; allowed is 3 to 6"),
        ((np.arange(9.0), 3, 0), "delay is 0"),
        ((np.arange(4.0), 3, 2), "window is 4; allowed is 5"),
        ((np.zeros((3, 3)), 3, 1), "the series has 2 dimensions"),
        ((np.zeros(100_001), 3, 1), "allowed is 3 to 100000"),
    ],
)
def test_refuses_impossible_parameters(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        permutation_entropy(*arguments)


def test_refuses_samples_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"allowed is \(T, 2\)"):
        SlidingEntropy(3, 1, 5, 2).push([1.0, 2.0, 3.0], [True, True, True])
    with pytest.raises(ValueError, match="ok has shape"):
        sliding_entropy(np.arange(9.0), 3, 1, 5, np.ones(8, dtype=bool))


def test_read_only_input_is_read_and_left_alone() -> None:
    x = np.random.default_rng(5).random(300)
    x.flags.writeable = False
    before = x.tobytes()
    assert permutation_entropy(x, 4) == permutation_entropy(x.copy(), 4)
    assert x.tobytes() == before
