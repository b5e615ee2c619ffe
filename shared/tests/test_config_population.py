"""Keys of the population: they reach the ranges that runs are drawn from, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.config import ConfigError, load_settings

CONFIG = Path(__file__).parents[2] / "config.yml"


def test_needed_entropy_samples_reach_the_parameter_space() -> None:
    environ = {"T3__providence__theta_min_samples": "77"}
    assert load_settings(CONFIG, environ=environ).parameter_space().theta_min_samples == 77


@pytest.mark.parametrize("value", ["0", "1000001", "2.5"])
def test_impossible_number_of_entropy_samples_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"providence\.theta_min_samples"):
        load_settings(CONFIG, environ={"T3__providence__theta_min_samples": value})
