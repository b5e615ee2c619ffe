"""Rules, parameter space and clone rules refuse what is out of range, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.providence.codes import Interpretation
from shared.providence.step import Grid
from shared.tests.providence.samples import make_clone_rules, make_rules, make_space

NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (make_rules, {"taker_fee_rate": -0.1}, r"Rules.taker_fee_rate is -0.1; allowed is 0 to"),
        (make_rules, {"slippage_rate": NAN}, "Rules.slippage_rate is nan"),
        (make_rules, {"base_fraction": 0.0}, "Rules.base_fraction is 0.0"),
        (make_rules, {"probation_fraction": 0.6}, "Rules.probation_fraction is 0.6; .* to 0.5"),
        (make_rules, {"max_reward_ratio": 0.0}, "Rules.max_reward_ratio"),
        (make_rules, {"min_trades": 0}, "Rules.min_trades is 0"),
        (make_rules, {"judge_after_trades": 4}, "Rules.judge_after_trades is 4; allowed is 5"),
        (make_space, {"orders": (2, 3)}, "ParameterSpace.orders is 2; allowed is 3 to 6"),
        (make_space, {"orders": ()}, "ParameterSpace.orders is .*; allowed is a rising list"),
        (make_space, {"delays": (2, 1)}, "ParameterSpace.delays is .*; allowed is a rising list"),
        (make_space, {"delays": (1.5,)}, "ParameterSpace.delays holds 1.5; .* whole numbers"),
        (make_space, {"windows": (7,)}, "ParameterSpace.windows holds 7; allowed is 8 or more"),
        (make_space, {"theta_quantile": (0.9, 0.1)}, "theta_quantile is .*; allowed is low <= h"),
        (make_space, {"theta_quantile": (0.1,)}, "allowed is a pair"),
        (make_space, {"dead_band": (0.0, 2.0)}, "ParameterSpace.dead_band is 2.0"),
        (make_space, {"max_drawdown": (0.0, 0.5)}, "ParameterSpace.max_drawdown is 0.0"),
        (make_space, {"max_symbol_share": 0.0}, "ParameterSpace.max_symbol_share"),
        (make_space, {"interpretations": {"sideways": 1.0}}, "interpretations holds 'sideways'"),
        (make_space, {"interpretations": {"swing": -1.0}}, r"interpretations\.swing is -1.0"),
        (make_space, {"interpretations": {"swing": 0.0}}, "one weight must be positive"),
        (make_clone_rules, {"clonal_fraction": 1.1}, "CloneRules.clonal_fraction is 1.1"),
        (make_clone_rules, {"min_trades": 0}, "CloneRules.min_trades"),
        (make_clone_rules, {"shrinkage": -1.0}, "CloneRules.shrinkage"),
        (make_clone_rules, {"min_parent_age_secs": -1.0}, "CloneRules.min_parent_age_secs"),
    ],
)
def test_out_of_range(make: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_cells_are_every_combination_in_grid_order() -> None:
    space = make_space()
    assert len(space.cells) == 2 * 2 * 2
    assert space.cells[:3] == ((3, 1, 20), (3, 1, 40), (3, 2, 20))
    assert Grid.of(space) == Grid(space.cells, (3, 10))


def test_interpretation_weights_are_probabilities() -> None:
    space = make_space(interpretations={"swing": 3.0, "direct": 1.0})
    assert space.interpretation_weights == (0.25, 0.0, 0.0, 0.75)


def test_flipping_twice_is_the_same_interpretation() -> None:
    assert Interpretation.DIRECT.flipped is Interpretation.INVERSE
    assert Interpretation.BREAKOUT.flipped is Interpretation.SWING
    assert all(item.flipped.flipped is item for item in Interpretation)
