"""A trial: what it is told, what it returns, and when it is given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.research.optimize.trial import GivenUp, Objectives, Result, evaluate, hopeless
from shared.research.request import load
from shared.tests.research.optimize import small
from shared.tests.research.samples import candle_text, walk, write

figures = st.builds(
    Objectives,
    growth=st.floats(-0.1, 0.1),
    drawdown=st.floats(0.0, 1.0),
    turnover=st.floats(0.0, 50.0),
)


@given(others=st.lists(figures, min_size=8, max_size=30))
def test_what_is_best_in_anything_is_never_given_up(others: list[Objectives]) -> None:
    best = max(others, key=lambda f: f.growth)
    least = min(others, key=lambda f: f.turnover)
    for own in (
        replace(best, growth=best.growth + 1.0),
        replace(least, turnover=least.turnover - 1.0),
    ):
        assert not hopeless(own, others, dominated_by=0.05, startup=2)


def test_what_most_others_beat_in_everything_is_given_up_but_not_among_the_first() -> None:
    good = [Objectives(0.01 + n / 1_000, 0.01, 1.0) for n in range(8)]
    bad = Objectives(-0.01, 0.2, 9.0)
    assert hopeless(bad, good, dominated_by=0.3, startup=8)
    assert not hopeless(bad, good[:7], dominated_by=0.3, startup=8)
    mixed = [*good[:2], *(Objectives(0.0, 0.5, 0.1) for _ in range(8))]
    assert not hopeless(bad, mixed, dominated_by=0.3, startup=8)


def test_equal_figures_do_not_dominate_each_other() -> None:
    own = Objectives(0.01, 0.1, 1.0)
    assert not own.dominates(own)
    assert own.dominates(replace(own, drawdown=0.2))
    assert not own.dominates(Objectives(0.02, 0.2, 1.0))


def test_figures_of_a_window_survive_the_study(tmp_path: Path) -> None:
    wanted = small.search(tmp_path)
    found = evaluate(wanted.request, wanted.settings, wanted.inputs, wanted.folds[0].train)
    assert found.orders > 0
    again = Result.from_json(found.to_json())
    np.testing.assert_array_equal(found.returns, again.returns)
    assert again.objectives == found.objectives
    grown = np.prod(1.0 + found.returns)
    assert grown == pytest.approx(1.0 + found.net_return)
    assert found.objectives.growth * found.days == pytest.approx(np.log(grown))


def test_looks_see_what_comes_and_can_end_the_trial(tmp_path: Path) -> None:
    wanted = small.search(tmp_path)
    seen: list[tuple[int, Objectives]] = []

    def judge(look: int, own: Objectives) -> bool:
        seen.append((look, own))
        return look == 2

    with pytest.raises(GivenUp, match="look 2"):
        evaluate(
            wanted.request,
            wanted.settings,
            wanted.inputs,
            wanted.folds[0].train,
            looks=3,
            judge=judge,
        )
    assert [look for look, _ in seen] == [1, 2]
    assert seen[0][1] != seen[1][1]


def test_prices_after_a_window_do_not_change_what_it_gives(tmp_path: Path) -> None:
    """Nor do those before it, but for the trailing volatility: a fold stands alone."""
    wanted = small.search(tmp_path)
    window = wanted.folds[0].train
    before = evaluate(wanted.request, wanted.settings, wanted.inputs, window)
    late = (window.to_ms - wanted.inputs.series.first_ms) // 60_000 + 1
    for place, symbol in enumerate(("BTC", "ETH")):
        price = walk(1_500, 50 + place, 3_000.0)
        price[late:] *= 3.0
        write(tmp_path / f"{symbol}_1m.csv", candle_text(price))
    after = evaluate(wanted.request, wanted.settings, load(wanted.request, wanted.settings), window)
    np.testing.assert_array_equal(before.returns, after.returns)
