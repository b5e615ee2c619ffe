"""Outcomes on disk, one line per seed: what a run that was stopped goes on from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.checker import Violation
from chaos.faults import Step
from chaos.runner import Outcome, Struck
from chaos.schedule import Strike


class DamagedOutcomes(ValueError):
    """The file is not of our making; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class OutcomeFile:
    """The outcomes of one run: seeds ``first`` to ``first + count - 1`` of ``strikes`` each."""

    folder: Path
    first: int
    count: int
    strikes: int

    @property
    def path(self) -> Path:
        """Named by what was asked for, so that only the same command goes on from it."""
        return (
            self.folder / f"seeds-{self.first}-{self.first + self.count - 1}x{self.strikes}.jsonl"
        )

    def read(self) -> list[Outcome]:
        """Outcomes of a run that has not come to its end; none if it has, or never began."""
        found = list(self._all())
        return [] if len(found) >= self.count else found

    def start(self, kept: Iterable[Outcome]) -> None:
        """Begin with what was read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(_line(one) for one in kept), encoding="utf-8")

    def add(self, outcome: Outcome) -> None:
        """Keep the outcome of one more seed."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(outcome))

    def _all(self) -> Iterable[Outcome]:
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                yield _outcome(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise DamagedOutcomes(
                    f"{self.path}, line {number}: is no outcome; remove the file"
                ) from error


def _line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome)) + "\n"


def _outcome(raw: dict[str, Any]) -> Outcome:
    return Outcome(
        seed=raw["seed"],
        struck=tuple(_struck(one) for one in raw["struck"]),
        halts=tuple(raw["halts"]),
        recovery_secs=raw["recovery_secs"],
        violations=tuple(Violation(**one) for one in raw["violations"]),
        orders=raw["orders"],
        secs=raw["secs"],
    )


def _struck(raw: dict[str, Any]) -> Struck:
    strike = raw["strike"]
    return Struck(Strike(**{**strike, "step": Step(strike["step"])}), raw["at_step"])
