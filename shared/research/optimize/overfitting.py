"""How much of a good backtest is luck: Sharpe ratios judged by the number of trials.

Returns are simple or log returns of equal spacing; Sharpe ratios here are per spacing, not per
year, and without a risk-free rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.research.tables import FloatArray

EULER_GAMMA: Final = 0.577215664901532860606512090082
SMALLEST_DEVIATION: Final = 1e-15
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Moments:
    """Of a series of returns; ``kurtosis`` is not the excess: a normal one has 3."""

    count: int
    sharpe: float
    skewness: float
    kurtosis: float


def moments(returns: FloatArray) -> Moments:
    """Sample size, Sharpe ratio (sample deviation), skewness and kurtosis; NaN where undefined."""
    count = len(returns)
    deviation = float(returns.std(ddof=1)) if count > 1 else 0.0
    if deviation <= SMALLEST_DEVIATION:
        return Moments(count, math.nan, math.nan, math.nan)
    centred = returns - returns.mean()
    variance = float((centred**2).mean())
    return Moments(
        count,
        float(returns.mean()) / deviation,
        float((centred**3).mean()) / variance**1.5,
        float((centred**4).mean()) / variance**2,
    )


def probabilistic_sharpe(observed: Moments, benchmark: float = 0.0) -> float:
    r"""Probability that the true Sharpe ratio exceeds ``benchmark``, 0 to 1; NaN if unknown.

    .. math::

        \mathrm{PSR}(SR^*) = \Phi\!\left(\frac{(\hat{SR} - SR^*)\sqrt{T - 1}}
        {\sqrt{1 - \hat\gamma_3 \hat{SR} + \frac{\hat\gamma_4 - 1}{4} \hat{SR}^2}}\right)

    Bailey & López de Prado, *The Sharpe ratio efficient frontier*, Journal of Risk 15(2), 2012.
    """
    ratio = observed.sharpe
    if not math.isfinite(ratio) or observed.count < 2 or math.isnan(benchmark):
        return math.nan
    spread = 1.0 - observed.skewness * ratio + (observed.kurtosis - 1.0) / 4.0 * ratio * ratio
    if spread <= 0.0:
        return math.nan
    return _NORMAL.cdf((ratio - benchmark) * math.sqrt((observed.count - 1) / spread))


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    r"""Largest Sharpe ratio to expect of ``trials`` independent ones whose true value is 0.

    .. math::

        SR_0 = \sqrt{V[\hat{SR}_n]} \left((1 - \gamma)\, \Phi^{-1}\!\left[1 - \tfrac1N\right]
        + \gamma\, \Phi^{-1}\!\left[1 - \tfrac{1}{N e}\right]\right)

    ``variance`` is that of the trials' Sharpe ratios, γ the Euler-Mascheroni constant. One trial
    has no choice to correct for: 0. Bailey & López de Prado 2014, equation 1.

    Raises
    ------
    ValueError
        If there is no trial, or the variance is negative.
    """
    if trials < 1 or variance < 0.0:
        raise ValueError(f"{trials} trials, variance {variance}; allowed is 1 or more, 0 or more")
    if trials == 1:
        return 0.0
    low = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    high = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - EULER_GAMMA) * low + EULER_GAMMA * high)


def deflated_sharpe(observed: Moments, trial_sharpes: FloatArray) -> float:
    """Probability that the chosen trial's true Sharpe ratio is above 0, given all that were tried.

    The probabilistic Sharpe ratio against :func:`expected_maximum_sharpe` of the trials: N is their
    number (the unknown ones count), V the sample variance of the known. Bailey & López de Prado,
    *The deflated Sharpe ratio*, Journal of Portfolio Management 40(5), 2014. Above 0.95 is the
    usual bar. Trials of one search resemble each other, so N is too large and the figure too low
    rather than too high.
    """
    known = trial_sharpes[np.isfinite(trial_sharpes)]
    variance = float(known.var(ddof=1)) if len(known) > 1 else 0.0
    return probabilistic_sharpe(
        observed, expected_maximum_sharpe(max(len(trial_sharpes), 1), variance)
    )


@dataclass(frozen=True, slots=True)
class Overfitting:
    """Result of :func:`backtest_overfitting`."""

    probability: float
    """Share of the splits in which the best half-sample trial was below the median of the other
    half, 0 to 1; near 0.5 or above, choosing by the past is no better than a draw."""
    loss_probability: float
    """Share of the splits in which it lost money in the other half."""
    slope: float
    """Of its Sharpe ratio in the other half on that in its own; below 0: the better, the worse."""
    splits: int
    logits: FloatArray
    """ln(ω / (1 − ω)) per split, ω the relative rank of the choice in the other half."""


def backtest_overfitting(returns: FloatArray, blocks: int = 16) -> Overfitting | None:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation.

    ``returns`` [T, N] are those of N trials over the same T periods. They are cut into ``blocks``
    (even) equal parts in time; each choice of half of them is a training sample, the rest its test.
    In each, the trial with the best training Sharpe ratio gets its relative rank ω = rank / (N + 1)
    among the tests, and PBO is the share of splits with ln(ω / (1 − ω)) <= 0. Rows that do not
    fill a block are left out at the beginning. None with fewer than two trials or two rows per
    block. Bailey, Borwein, López de Prado & Zhu, *The probability of backtest overfitting*,
    Journal of Computational Finance 20(4), 2017.

    Raises
    ------
    ValueError
        If ``blocks`` is odd or below 2.
    """
    if blocks < 2 or blocks % 2:
        raise ValueError(f"blocks is {blocks}; allowed are even numbers from 2")
    rows, trials = returns.shape
    size = rows // blocks
    if trials < 2 or size < 2:
        return None
    parts = returns[rows - size * blocks :].reshape(blocks, size, trials)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    inside = np.zeros((len(chosen), blocks))
    np.put_along_axis(inside, chosen, 1.0, axis=1)
    half = size * blocks // 2
    train = _sharpes(inside @ sums, inside @ squares, half)
    test = _sharpes((1.0 - inside) @ sums, (1.0 - inside) @ squares, half)
    best = train.argmax(axis=1)
    place = np.arange(len(best))
    own = test[place, best]
    # ties share their mean rank
    below, equal = (test < own[:, None]).sum(axis=1), (test == own[:, None]).sum(axis=1)
    omega = (below + (equal + 1) / 2.0) / (trials + 1)
    logits = np.log(omega / (1.0 - omega))
    loss = ((1.0 - inside) @ sums)[place, best] < 0.0
    return Overfitting(
        float((logits <= 0.0).mean()),
        float(loss.mean()),
        _slope(train[place, best], own),
        len(best),
        logits,
    )


def _sharpes(sums: FloatArray, squares: FloatArray, count: int) -> FloatArray:
    """Per split and trial; what does not vary has 0, as an account that never traded."""
    mean = sums / count
    variance = np.maximum(squares - count * mean**2, 0.0) / (count - 1)
    moved = variance > SMALLEST_DEVIATION**2
    ratio: NDArray[np.float64] = np.where(moved, mean / np.sqrt(np.where(moved, variance, 1.0)), 0)
    return ratio


def _slope(x: FloatArray, y: FloatArray) -> float:
    spread = float(((x - x.mean()) ** 2).sum())
    if spread <= SMALLEST_DEVIATION:
        return math.nan
    return float(((x - x.mean()) * (y - y.mean())).sum()) / spread
