"""Windows in order, a gap before each test, and a sentence where the data are too short."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.research.errors import ResearchError
from shared.research.optimize.folds import HOUR_MS, Reach, walk_forward

MINUTE_MS = 60_000
DAY_MS = 24 * HOUR_MS
REACH = Reach(window_ms=3 * HOUR_MS, volatility_ms=8 * HOUR_MS, hold_ms=DAY_MS)


@given(
    days=st.integers(20, 400),
    folds=st.integers(1, 12),
    train_tests=st.floats(0.5, 6.0),
    anchored=st.booleans(),
    interval=st.sampled_from([1_000, MINUTE_MS, 5 * MINUTE_MS]),
)
def test_tests_follow_each_other_and_their_training_ends_a_gap_before(
    days: int, folds: int, train_tests: float, anchored: bool, interval: int
) -> None:
    first = 1_700_000_040_000
    last = first + days * DAY_MS // interval * interval
    try:
        made = walk_forward(
            first, last, interval, REACH, folds=folds, train_tests=train_tests, anchored=anchored
        )
    except ResearchError:
        return
    assert [fold.number for fold in made] == list(range(1, folds + 1))
    assert made[-1].test.to_ms == last
    assert made[0].train.from_ms >= first
    for fold in made:
        assert fold.test.from_ms - fold.train.to_ms >= REACH.gap_ms
        assert fold.train.hours >= 0.9 * min(1.0, train_tests) * fold.test.hours
        for edge in (*_edges(fold.train), *_edges(fold.test)):
            assert (edge - first) % interval == 0
        assert (fold.train.from_ms == first) or not anchored
    for before, after in pairwise(made):
        assert after.test.from_ms - before.test.to_ms == interval
        assert before.test.hours == after.test.hours


def _edges(window: object) -> tuple[int, int]:
    return window.from_ms, window.to_ms  # type: ignore[attr-defined]


def test_thirty_days_in_four_folds() -> None:
    made = walk_forward(0, 30 * DAY_MS, MINUTE_MS, REACH, folds=4, train_tests=3.0)
    assert made[0].test.hours == pytest.approx(97.9, abs=0.1)
    assert made[0].train.hours == pytest.approx(3 * 97.9, abs=0.2)


def test_too_little_data_says_how_much_is_needed() -> None:
    with pytest.raises(ResearchError, match=r"span 48\.0 hours; 4 folds with a gap of 35\.0 hours"):
        walk_forward(0, 2 * DAY_MS, MINUTE_MS, REACH, folds=4, train_tests=3.0)
