"""What goes wrong when: dealt from a seed, so that a number repeats a whole schedule.

Seeds are dealt like cards: one after another they take every cell of the matrix once, in an order
shuffled anew for each deck, before any comes again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from chaos.faults import CELLS, FAULTS, Step

PAUSE_SECS = (0.0, 1.5)
LASTS_SECS = (1.5, 6.0)


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: after a pause, once an order is at ``step``, for ``lasts_secs`` (0: at once)."""

    step: Step
    fault: str
    pause_secs: float
    lasts_secs: float

    def __str__(self) -> str:
        return f"{self.fault} at {self.step}"


def deal(seed: int, strikes: int) -> list[Strike]:
    """The strikes of one seed (from 1 on), in their order."""
    rng = random.Random(seed)  # noqa: S311 (to be repeated, not to be secret)
    first = (seed - 1) * strikes
    return [_strike(position, rng) for position in range(first, first + strikes)]


def _strike(position: int, rng: random.Random) -> Strike:
    deck, place = divmod(position, len(CELLS))
    cells = list(CELLS)
    random.Random(f"deck {deck}").shuffle(cells)  # noqa: S311
    step, name = cells[place]
    pause_secs = round(rng.uniform(*PAUSE_SECS), 1)
    lasts_secs = round(rng.uniform(*LASTS_SECS), 1)
    return Strike(step, name, pause_secs, 0.0 if FAULTS[name].passes else lasts_secs)
