"""Whether asking for orders gets a symbol anywhere: refusals in a row, and when to stop.

After each refusal the account is read again before the symbol is planned anew. After
``HALT_AFTER`` in a row, opening orders of the symbol stop until a person resumes it: what we
believe of it is wrong in a way that more of the same will not mend. Closes go on.

An order that was sent and provably never taken counts as a refusal, too. One that did not get out
(connection refused, HTTP 429, our own budget) says only that the venue is not there at the
moment, which ends by itself, and counts as neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from shared.orders.states import OrderState

HALT_AFTER = 5
ENDED_WITHOUT_A_FILL = frozenset({OrderState.REJECTED, OrderState.CANCELLED, OrderState.EXPIRED})


class Step(StrEnum):
    """What one answer of the gateway means for the symbol's progress."""

    FILLED = "filled"
    REFUSED = "refused"
    OPEN = "open"
    """Neither: under way, held back by risk, or not able to trade at the moment."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals of a symbol in a row, the time of the last (UTC ms), and what it said.

    ``intent_id``: the newest order of the journal that has been counted, whatever became of it.
    """

    count: int = 0
    last_ms: int = 0
    said: str = ""
    intent_id: str = ""

    @property
    def halts(self) -> bool:
        """Whether opening orders must stop."""
        return self.count >= HALT_AFTER

    @property
    def why(self) -> str:
        """The reason of such a halt."""
        return f"{self.count} orders in a row were refused; the last: {self.said}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an order of the journal ended; times UTC ms.

    ``in_time``: before its expiry, after which the venue takes it no more.
    """

    intent_id: str
    state: OrderState
    has_filled: bool
    in_time: bool
    at_ms: int
    reason: str

    @property
    def step(self) -> Step:
        """What it means for the symbol's progress."""
        if self.has_filled:
            return Step.FILLED
        never_taken = self.state is OrderState.NOT_PLACED and not self.in_time
        refused = never_taken or self.state in ENDED_WITHOUT_A_FILL
        return Step.REFUSED if refused else Step.OPEN


def after(
    refusals: Refusals, step: Step, at_ms: int, said: str, intent_id: str | None = None
) -> Refusals:
    """The count after one more answer; ``intent_id`` if that is an order's last word."""
    name = refusals.intent_id if intent_id is None else intent_id
    match step:
        case Step.FILLED:
            return Refusals(intent_id=name)
        case Step.REFUSED:
            return Refusals(refusals.count + 1, at_ms, said, name)
        case Step.OPEN:
            return replace(refusals, intent_id=name)


def counted(refusals: Refusals, ended: Ended | None) -> Refusals:
    """The count with the symbol's last order, if that ended after its caller had its answer."""
    if ended is None or ended.intent_id == refusals.intent_id:
        return refusals
    return after(refusals, ended.step, ended.at_ms, ended.reason, ended.intent_id)
