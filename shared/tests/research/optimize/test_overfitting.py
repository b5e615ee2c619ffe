"""Published numbers of Bailey & López de Prado; cross-validation against a plain reading."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.research.optimize.overfitting import (
    Moments,
    backtest_overfitting,
    deflated_sharpe,
    expected_maximum_sharpe,
    moments,
    probabilistic_sharpe,
)
from shared.research.tables import FloatArray

DAILY = math.sqrt(250)
PAPER = Moments(count=1250, sharpe=2.5 / DAILY, skewness=-3.0, kurtosis=10.0)


def test_deflated_sharpe_of_the_papers_example() -> None:
    """2014, 'A numerical example': annual Sharpe 2.5, five years, 100 trials of variance 1/2."""
    luck = expected_maximum_sharpe(100, 0.5 / 250)
    assert luck == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(PAPER, luck) == pytest.approx(0.9004, abs=5e-5)


def test_papers_example_passes_with_46_trials_or_88_normal_ones() -> None:
    fewer = probabilistic_sharpe(PAPER, expected_maximum_sharpe(46, 0.5 / 250))
    assert fewer == pytest.approx(0.9505, abs=5e-5)
    normal = Moments(1250, 2.5 / DAILY, 0.0, 3.0)
    assert probabilistic_sharpe(normal, expected_maximum_sharpe(88, 0.5 / 250)) > 0.95
    assert probabilistic_sharpe(normal, expected_maximum_sharpe(90, 0.5 / 250)) < 0.951


def test_expected_maximum_is_that_of_draws() -> None:
    rng = np.random.default_rng(1)
    drawn = 0.3 * rng.standard_normal((20_000, 50)).max(axis=1)
    assert expected_maximum_sharpe(50, 0.09) == pytest.approx(drawn.mean(), rel=0.02)


def test_one_trial_has_nothing_to_deflate() -> None:
    assert expected_maximum_sharpe(1, 0.5) == 0.0
    rng = np.random.default_rng(2)
    own = moments(rng.normal(0.001, 0.01, 500))
    assert deflated_sharpe(own, np.array([own.sharpe])) == probabilistic_sharpe(own)


def test_moments_of_known_returns() -> None:
    found = moments(np.array([1.0, 2.0, 3.0, 10.0]))
    assert found.sharpe == pytest.approx(4.0 / math.sqrt(50.0 / 3.0))
    assert found.skewness == pytest.approx((-27 - 8 - 1 + 216) / 4 / 12.5**1.5)
    assert found.kurtosis == pytest.approx((81 + 16 + 1 + 1296) / 4 / 12.5**2)


def test_account_that_never_traded_is_unknown_not_good() -> None:
    still = moments(np.zeros(100))
    assert math.isnan(still.sharpe)
    assert math.isnan(probabilistic_sharpe(still))
    assert math.isnan(deflated_sharpe(still, np.array([math.nan, 0.1])))


@pytest.mark.parametrize(("trials", "variance"), [(0, 0.1), (3, -0.1)])
def test_impossible_trials_are_refused(trials: int, variance: float) -> None:
    with pytest.raises(ValueError, match="allowed is"):
        expected_maximum_sharpe(trials, variance)


def plain(returns: FloatArray, blocks: int) -> list[float]:
    """The logits by the paper's six steps, one split after another."""
    size = len(returns) // blocks
    parts = [returns[i * size : (i + 1) * size] for i in range(blocks)]
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        train = np.concatenate([parts[i] for i in chosen])
        test = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        best = int(np.argmax(train.mean(axis=0) / train.std(axis=0, ddof=1)))
        ratio = test.mean(axis=0) / test.std(axis=0, ddof=1)
        rank = int((ratio <= ratio[best]).sum())
        omega = rank / (returns.shape[1] + 1)
        logits.append(math.log(omega / (1 - omega)))
    return logits


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), trials=st.integers(2, 9), blocks=st.sampled_from([2, 4, 6]))
def test_cross_validation_equals_a_plain_reading(seed: int, trials: int, blocks: int) -> None:
    returns = np.random.default_rng(seed).normal(0.0, 1.0, (blocks * 7, trials))
    found = backtest_overfitting(returns, blocks)
    assert found is not None
    expected = plain(returns, blocks)
    np.testing.assert_allclose(found.logits, expected, atol=1e-12)
    assert found.probability == np.mean(np.array(expected) <= 0.0)
    assert found.splits == math.comb(blocks, blocks // 2)


def test_a_trial_that_is_truly_better_is_not_overfit() -> None:
    returns = np.random.default_rng(3).normal(0.0, 0.01, (800, 20))
    returns[:, 7] += 0.01
    found = backtest_overfitting(returns)
    assert found is not None
    assert found.splits == 12_870
    assert found.probability == 0.0
    assert found.loss_probability == 0.0


def test_noise_is_overfit_half_of_the_time() -> None:
    rng = np.random.default_rng(4)
    found = [backtest_overfitting(rng.normal(0.0, 1.0, (320, 20)), 8) for _ in range(40)]
    assert np.mean([f.probability for f in found if f]) == pytest.approx(0.5, abs=0.12)


def test_winners_that_turn_into_losers_are_always_overfit() -> None:
    """Each trial has one good block of its own and pays for it in all others."""
    returns = np.full((64, 8), -0.1) + np.random.default_rng(5).normal(0.0, 0.01, (64, 8))
    for trial in range(8):
        returns[trial * 8 : trial * 8 + 8, trial] += 1.0
    found = backtest_overfitting(returns, 8)
    assert found is not None
    assert found.probability == 1.0
    assert found.loss_probability == 1.0


def test_too_little_to_split_is_none_and_odd_blocks_are_refused() -> None:
    assert backtest_overfitting(np.ones((100, 1))) is None
    assert backtest_overfitting(np.ones((20, 5)), 16) is None
    with pytest.raises(ValueError, match="even"):
        backtest_overfitting(np.ones((100, 5)), 5)
