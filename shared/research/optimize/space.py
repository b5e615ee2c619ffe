"""From ``research.parameters`` to Optuna's suggestions and back to settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared.config import Settings
from shared.config_search import Searched, with_values
from shared.research.optimize.folds import Reach
from shared.research.request import volatility_ms

if TYPE_CHECKING:
    from optuna.trial import Trial

DIGITS: Final = 4
"""Significant digits of a searched number."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The keys that are searched, by dotted path."""

    parameters: Mapping[str, Searched]

    @classmethod
    def of(cls, settings: Settings) -> SearchSpace:
        """As ``config.yml`` has it."""
        return cls(dict(settings.research.parameters))

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Values of one trial, by path; choices are named by their JSON text in the study."""
        values: dict[str, Any] = {}
        for path, searched in self.parameters.items():
            if searched.choices:
                texts = [json.dumps(choice) for choice in searched.choices]
                values[path] = json.loads(str(trial.suggest_categorical(path, texts)))
                continue
            low, high = searched.low, searched.high
            if low is None or high is None:
                raise ValueError(f"research.parameters.{path}: has neither choices nor a range")
            if searched.is_whole:
                values[path] = trial.suggest_int(path, int(low), int(high), log=searched.log)
            else:
                drawn = trial.suggest_float(path, low, high, log=searched.log)
                # no more digits than a person would write into config.yml
                values[path] = min(max(float(f"{drawn:.{DIGITS}g}"), low), high)
        return values


def reach_of(settings: Settings, interval_ms: int) -> Reach:
    """The longest memory and holding that any configuration of the space can have."""
    windows, holds = [], []
    for changed in (settings, *_extremes(settings)):
        windows.append(changed.providence.longest_window)
        holds.append(max(changed.providence.exits.max_duration_secs))
    return Reach(
        window_ms=max(windows) * interval_ms,
        volatility_ms=volatility_ms(settings),
        hold_ms=round(max(holds) * 1000),
    )


def _extremes(settings: Settings) -> list[Settings]:
    return [
        with_values(settings, {path: value})
        for path, searched in settings.research.parameters.items()
        for value in searched.edges
    ]
