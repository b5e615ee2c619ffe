"""What a population may claim: nothing on noise, more by selection where a pattern is planted."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.tests.providence.samples import (
    make_clone_rules,
    make_rules,
    make_samples,
    make_space,
    random_walk,
)
from shared.tests.providence.simulation import slot_growth


def test_driftless_random_walk_does_not_grow_after_costs() -> None:
    """200 seeds, each its own price and its own population with clonal selection.

    Test: one-sided t-test over the 200 mean log-growths, H1 "growth < 0". Charged nothing, the same
    population has t = -2 (the logarithm of a fair game falls slowly), charged fees alone -52 and
    slippage alone -25; one that saw the future would have a positive t.
    """
    seeds = 200
    growth = slot_growth(
        np.random.default_rng(2002),
        make_samples(random_walk(np.random.default_rng(1956), 900, seeds)),
        make_space(max_duration_secs=(600.0, 1_500.0)),
        make_rules(),
        make_clone_rules(),
        runs=8,
        every=150,
    )
    t_statistic = growth.mean() / (growth.std(ddof=1) / math.sqrt(seeds))
    assert growth.mean() <= 0.0
    assert t_statistic < -55.0  # it is -66; p < 0.001 would be -3.1


def _planted(rng: Generator, ticks: int, symbols: int) -> NDArray[np.float64]:
    """Segments of 150 samples in turn: a trend of random sign, and reversion to a level."""
    log_price = np.zeros((ticks, symbols))
    level = np.zeros(symbols)
    now = np.zeros(symbols)
    drift = np.zeros(symbols)
    for t in range(ticks):
        segment, place = divmod(t, 150)
        if place == 0:
            level = now.copy()
            drift = 0.0008 * rng.choice([-1.0, 1.0], symbols) * (segment % 2 == 0)
        noise = rng.normal(0.0, 0.0005, symbols)
        pull = 0.3 * (level - now) if segment % 2 else 0.0
        now = now + drift + pull + noise
        log_price[t] = now
    return 100.0 * np.exp(log_price)


def test_clonal_selection_grows_more_on_a_planted_pattern() -> None:
    """24 seeds, the same prices, with and without clones.

    Test: exact one-sided sign test on the 24 paired differences, p < 0.001.
    """
    seeds = 24
    samples = make_samples(_planted(np.random.default_rng(7), 3_300, seeds))
    space = make_space(
        max_duration_secs=(1_500.0, 6_000.0), max_drawdown=(0.01, 0.05), max_symbol_share=1.0
    )
    growth = {
        fraction: slot_growth(
            np.random.default_rng(11),
            samples,
            space,
            make_rules(min_trades=2, judge_after_trades=4),
            make_clone_rules(clonal_fraction=fraction, min_parent_age_secs=600.0, min_trades=2),
            runs=40,
            every=60,
        )
        for fraction in (0.0, 0.8)
    }
    wins = int((growth[0.8] > growth[0.0]).sum())
    p_value = sum(math.comb(seeds, k) for k in range(wins, seeds + 1)) / 2.0**seeds
    assert growth[0.8].mean() > growth[0.0].mean()
    assert p_value < 0.001, (wins, growth)
