"""Kelly per run and per cohort: formula, caps and edge cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.providence.sizing import CohortSums, cohort_factor, cohort_kelly, kelly_estimate
from shared.tests.providence.samples import make_rules

RULES = make_rules(min_trades=5, max_reward_ratio=5.0, max_fraction=0.5)


def _estimate(trades: int, wins: int, won: float, lost: float, multiplier: float = 1.0) -> Any:
    return kelly_estimate(trades, wins, won, lost, kelly_multiplier=multiplier, rules=RULES)


def test_formula() -> None:
    # W = 7/12, R = (0.12/6)/(0.04/4) = 2, K = 7/12 - (5/12)/2 = 0.375.
    estimate = _estimate(10, 6, 0.12, 0.04, 0.5)
    assert estimate.kelly == pytest.approx(0.375)
    assert estimate.fraction == pytest.approx(0.1875)
    assert estimate.trades == 10


@pytest.mark.parametrize(
    ("trades", "wins", "won", "lost", "kelly", "fraction"),
    [
        (0, 0, 0.0, 0.0, 0.0, 0.1),  # nothing known: base fraction
        (4, 4, 0.4, 0.0, 5 / 6 - (1 / 6) / 5, 0.1),  # too few trades: base fraction
        (4, 0, 0.0, 0.4, -1.0, 0.1),
        (5, 5, 0.4, 0.0, 6 / 7 - (1 / 7) / 5, 0.5),  # no losses: R is the cap; f clipped
        (5, 0, 0.0, 0.4, -1.0, 0.02),  # no wins: K is -1, probation
        (5, 0, 0.0, 0.0, -1.0, 0.02),  # break-even trades only
        (6, 3, 0.3, 0.0, 0.5 - 0.5 / 5, 0.4),  # losing trades lost nothing: R is the cap
        (8, 4, 0.01, 0.01, 0.0, 0.02),  # K = 0 is not positive
        (8, 4, 0.01, 0.02, -0.5, 0.02),
        (10, 5, 9.0, 0.001, 0.5 - 0.5 / 5, 0.4),  # R capped
    ],
)
def test_edges(
    trades: int, wins: int, won: float, lost: float, kelly: float, fraction: float
) -> None:
    estimate = _estimate(trades, wins, won, lost)
    assert estimate.kelly == pytest.approx(kelly)
    assert estimate.fraction == pytest.approx(fraction)


@settings(max_examples=200, deadline=None)
@given(
    trades=st.integers(0, 10_000),
    share=st.floats(0.0, 1.0),
    won=st.floats(0.0, 1e6),
    lost=st.floats(0.0, 1e6),
    multiplier=st.floats(0.01, 10.0),
)
def test_fraction_stays_within_its_bounds(
    trades: int, share: float, won: float, lost: float, multiplier: float
) -> None:
    estimate = _estimate(trades, int(trades * share), won, lost, multiplier)
    assert estimate.kelly <= 1.0
    assert not math.isnan(estimate.kelly)
    assert 0.0 < estimate.fraction <= RULES.max_fraction
    if trades >= RULES.min_trades and estimate.kelly <= 0.0:
        assert estimate.fraction == RULES.probation_fraction


@pytest.mark.parametrize("bad", [(3, 4, 0.1, 0.1), (3, -1, 0.1, 0.1), (3, 1, -0.1, 0.1)])
def test_impossible_records_are_refused(bad: tuple[int, int, float, float]) -> None:
    with pytest.raises(ValueError, match="allowed are 0 <= wins <= trades"):
        _estimate(*bad)


GOOD = CohortSums(10, 6, 0.12, 0.04)  # K = 0.375
BETTER = CohortSums(20, 16, 0.32, 0.04)  # W = 17/22, R = 2, K = 0.659
BAD = CohortSums(10, 4, 0.04, 0.06)  # W = 5/12, R = 1, K = -1/6


def _factor(current: CohortSums, history: CohortSums) -> float:
    return cohort_factor(current, history, 0.5, 0.3, 5.0)


def test_cohort_factor_compares_the_present_with_the_past() -> None:
    assert cohort_kelly(GOOD, 5.0).kelly == pytest.approx(0.375)
    assert _factor(GOOD, GOOD) == 1.0
    assert _factor(BETTER, GOOD) == 1.5  # +76 %, clipped to the threshold
    assert _factor(GOOD, BETTER) == pytest.approx(1.0 + (0.375 - 0.6590909) / 0.6590909)
    assert _factor(BAD, GOOD) == pytest.approx(0.02)  # -144 %, clipped to -98 %
    assert _factor(GOOD, BAD) == 1.5  # from a losing past: clipped


def test_cohort_factor_is_one_when_the_past_has_no_edge() -> None:
    even = CohortSums(10, 5, 0.1, 0.1)
    assert cohort_kelly(even, 5.0).kelly == 0.0
    assert _factor(GOOD, even) == 1.0


def test_fewer_than_ten_runs_are_on_probation() -> None:
    nine = CohortSums(9, 6, 0.12, 0.03)
    assert _factor(nine, GOOD) == 0.3
    assert _factor(GOOD, nine) == 0.3
    assert _factor(CohortSums(0, 0, 0.0, 0.0), GOOD) == 0.3


def test_cohorts_add_up() -> None:
    assert CohortSums(20, 10, 0.16, 0.1) == GOOD + BAD


@pytest.mark.parametrize("bad", [(3, 4, 0.0, 0.0), (3, 1, -1.0, 0.0), (3, 1, 0.0, float("nan"))])
def test_impossible_cohorts_are_refused(bad: tuple[int, int, float, float]) -> None:
    with pytest.raises(ValueError, match="CohortSums"):
        CohortSums(*bad)


@pytest.mark.parametrize("bad", [(-0.1, 0.3), (0.5, -1.0), (float("nan"), 0.3)])
def test_negative_bounds_of_the_factor_are_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="allowed is 0 or more"):
        cohort_factor(GOOD, GOOD, *bad, 5.0)
