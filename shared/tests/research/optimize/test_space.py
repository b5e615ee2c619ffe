"""Searched keys: checked when the configuration is loaded, and put into place."""

from __future__ import annotations

import optuna
import pytest

from shared.config import ConfigError, load_settings
from shared.config_search import with_values
from shared.research.optimize.space import SearchSpace, reach_of
from shared.tests.research.samples import ROOT, settings

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("{providence.nothing: {low: 1, high: 2}}", "there is no such key"),
        ("{providence.dead_band.7: {low: 0.1, high: 0.2}}", "there is no such key"),
        ("{database.port: {low: 1, high: 2}}", "allowed are keys below providence"),
        ("{providence.exits.max_drawdown.1: {low: 0.1, high: 3.0}}", "3.0 is refused"),
        ("{providence.sizing.min_trades: {low: 5, high: 900}}", "900 is refused"),
        ("{providence.lookbacks: {choices: [[5], [9, 3]]}}", "a rising list"),
        ("{providence.lookbacks: {choices: [[5]]}}", "at least two"),
        ("{providence.lookbacks: {low: 5}}", "either choices, or low and high"),
        ("{providence.spawn_batch: {low: 9, high: 3}}", "allowed is low < high"),
        ("{providence.spawn_batch: {low: 0, high: 3, log: true}}", "a low above 0"),
    ],
)
def test_a_key_that_cannot_be_searched_is_refused_at_load(parameters: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(ROOT / "config.yml", environ={"T3__research__parameters": parameters})


def test_values_are_put_into_place_and_nothing_else_changes() -> None:
    before = settings()
    after = with_values(
        before, {"providence.dead_band.1": 0.2, "reconciliation_engine.rebalance_frequency": 60.0}
    )
    assert after.providence.dead_band == (before.providence.dead_band[0], 0.2)
    assert after.reconciliation_engine.rebalance_frequency == 60.0
    assert after.risk == before.risk
    assert before.providence.dead_band[1] != 0.2


def test_values_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="dead_band"):
        with_values(settings(), {"providence.dead_band": [0.2, 0.1]})


def test_every_suggestion_of_the_shipped_space_is_a_valid_configuration() -> None:
    own = settings()
    space = SearchSpace.of(own)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(50):
        values = space.suggest(study.ask())
        assert set(values) == set(own.research.parameters)
        with_values(own, values)


def test_reach_is_that_of_the_widest_configuration() -> None:
    reach = reach_of(settings(), 60_000)
    assert reach.window_ms == 481 * 60_000
    assert reach.hold_ms == 24 * HOUR_MS
    assert reach.volatility_ms == 500 * 60_000
