"""Keys of ``config.yml`` that a search may change: ``research.parameters``, checked at load.

A key is a dotted path below ``providence`` or ``reconciliation_engine``; a number addresses an
element of a list (``providence.dead_band.1``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, ValidationError, model_validator

from shared.config_sections import Section, between

if TYPE_CHECKING:
    from shared.config import Settings

SEARCHABLE: Final = ("providence", "reconciliation_engine")


class Searched(Section):
    """What one key may become: any of ``choices``, or a number from ``low`` to ``high``."""

    choices: tuple[Any, ...] = ()
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False

    @model_validator(mode="after")
    def _either(self) -> Searched:
        ranged = self.low is not None and self.high is not None
        if bool(self.choices) == ranged or (self.low is None) != (self.high is None):
            raise ValueError("needs either choices, or low and high")
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise ValueError(f"low is {self.low}, high is {self.high}; allowed is low < high")
            if self.log and self.low <= 0:
                raise ValueError(f"low is {self.low}; a logarithmic range needs a low above 0")
        if len(self.choices) == 1:
            raise ValueError("one choice is none; give at least two")
        return self

    @property
    def edges(self) -> tuple[Any, ...]:
        """Values that must be allowed if every value is."""
        return self.choices or (self.low, self.high)

    @property
    def is_whole(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class WalkForwardSettings(Section):
    """Windows of training and test."""

    folds: Annotated[int, between(1, 50)] = 4
    train_tests: Annotated[float, between(0.5, 50)] = 3.0
    anchored: bool = False


class PruningSettings(Section):
    """When a trial is given up early."""

    looks: Annotated[int, between(0, 20)] = 3
    dominated_by: Annotated[float, between(0.05, 1)] = 0.3
    startup_trials: Annotated[int, between(2, 1_000)] = 8


class ReoptimisationSettings(Section):
    """A search that decay of the account's performance sets off."""

    enabled: bool = True
    data: tuple[str, ...] = ()
    trials: Annotated[int, between(2, 10_000)] = 30
    min_days_between: Annotated[float, between(0, 365)] = 7.0
    min_deflated_sharpe: Annotated[float, between(0, 1)] = 0.95


class ResearchSettings(Section):
    """Optimisation."""

    path: Path = Path("artifacts/optimize")
    trials: Annotated[int, between(2, 100_000)] = 40
    runs: Annotated[int, between(1, 1_000_000)] = 500
    max_drawdown: Annotated[float, between(0.001, 1)] = 0.2
    min_orders: Annotated[int, between(0, 1_000_000)] = 20
    heartbeat_secs: Annotated[int, between(1, 600)] = 10
    walk_forward: WalkForwardSettings = WalkForwardSettings()
    pruning: PruningSettings = PruningSettings()
    reoptimisation: ReoptimisationSettings = ReoptimisationSettings()
    parameters: dict[str, Searched] = Field(default_factory=dict)


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with ``values`` (by dotted path) in place of their own, checked as at load.

    Raises
    ------
    ValueError
        If a path does not exist or may not be searched, or the values do not go together.
    """
    contents: dict[str, Any] = {}
    for path, value in values.items():
        section, _, rest = path.partition(".")
        if section not in SEARCHABLE or not rest:
            raise ValueError(f"allowed are keys below {' and '.join(SEARCHABLE)}")
        content = contents.setdefault(section, getattr(settings, section).model_dump())
        _set(content, rest.split("."), value)
    try:
        parts = {
            section: type(getattr(settings, section)).model_validate(content)
            for section, content in contents.items()
        }
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{where}: {fault['msg'].removeprefix('Value error, ')}") from None
    changed = settings.model_copy(update=parts)
    changed.check_population()
    return changed


def faults(settings: Settings) -> Iterator[str]:
    """What is wrong with ``research.parameters``: a sentence for each key and value."""
    for path, searched in settings.research.parameters.items():
        for value in searched.edges:
            try:
                with_values(settings, {path: value})
            except ValueError as error:
                yield f"research.parameters.{path}: {value!r} is refused: {error}"
                break


def _set(content: Any, keys: list[str], value: Any) -> None:
    for number, key in enumerate(keys):
        place: Any = key
        if isinstance(content, list | tuple):
            place = int(key) if key.isdigit() else -1
            missing = not 0 <= place < len(content)
        else:
            missing = not isinstance(content, dict) or key not in content
        if missing:
            raise ValueError("there is no such key")
        if number == len(keys) - 1:
            content[place] = value
            return
        if isinstance(content[place], tuple):
            content[place] = list(content[place])
        content = content[place]
