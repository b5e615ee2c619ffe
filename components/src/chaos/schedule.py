"""What goes wrong when: dealt from a seed, so that a number repeats a whole schedule.

Seeds are dealt like cards: one after another they take every cell of the matrix once, in an order
shuffled anew for each deck, before any comes again. Every ``HALT_EVERY``th seed ends with a fault
that must halt it, on top.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from chaos.faults import CELLS, FAULTS, HALTING, Step

PAUSE_SECS = (0.0, 1.5)
LASTS_SECS = (1.5, 6.0)
HALT_EVERY = 5
HALT_SECS = 60.0
"""A halting fault lasts until the platform has halted, and no longer than this."""


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
    dealt = [_strike(position, rng) for position in range(first, first + strikes)]
    return dealt if seed % HALT_EVERY else [*dealt, _halting(seed // HALT_EVERY - 1)]


def _halting(turn: int) -> Strike:
    """The halting faults in turns, each at one step after the other."""
    rest, place = divmod(turn, len(HALTING))
    name, step = HALTING[place], list(Step)[(rest + place) % len(Step)]
    return Strike(step, name, 0.0, 0.0 if FAULTS[name].passes else HALT_SECS)


def _strike(position: int, rng: random.Random) -> Strike:
    deck, place = divmod(position, len(CELLS))
    cells = list(CELLS)
    random.Random(f"deck {deck}").shuffle(cells)  # noqa: S311
    step, name = cells[place]
    pause_secs = round(rng.uniform(*PAUSE_SECS), 1)
    lasts_secs = round(rng.uniform(*LASTS_SECS), 1)
    return Strike(step, name, pause_secs, 0.0 if FAULTS[name].passes else lasts_secs)
