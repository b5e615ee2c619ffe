"""Whether asking for orders gets a symbol anywhere: refusals in a row, and when to stop.

After each refusal the account is read again before the symbol is planned anew. After
``HALT_AFTER`` in a row, opening orders of the symbol stop until a person resumes it: what we
believe of it is wrong in a way that more of the same will not mend. Closes go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HALT_AFTER = 5


class Step(StrEnum):
    """What one answer of the gateway means for the symbol's progress."""

    FILLED = "filled"
    REFUSED = "refused"
    OPEN = "open"
    """Neither: under way, held back by risk, or not able to trade at the moment."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals of a symbol in a row, the time of the last (UTC ms), and what it said."""

    count: int = 0
    last_ms: int = 0
    said: str = ""

    @property
    def halts(self) -> bool:
        """Whether opening orders must stop."""
        return self.count >= HALT_AFTER


def after(refusals: Refusals, step: Step, at_ms: int, said: str) -> Refusals:
    """The count after one more answer."""
    match step:
        case Step.FILLED:
            return Refusals()
        case Step.REFUSED:
            return Refusals(refusals.count + 1, at_ms, said)
        case Step.OPEN:
            return refusals
