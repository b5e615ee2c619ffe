"""When a symbol may be planned, and what its next order is called.

``plan_epoch`` counts the terminal intents of a symbol; it advances in the transaction that
makes the last one terminal. Two plans made from the same epoch therefore carry the same intent
id, and the gateway's journal keeps one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from shared.exchange.precision import plain
from shared.observation import Known, Observation, Stale, Unknown
from shared.orders.intents import plan_intent_id
from shared.reconciliation.consensus import Consensus
from shared.reconciliation.plan import Plan, PlanFilters, plan
from shared.reconciliation.progress import Ended
from shared.reconciliation.target import Target, not_known


class Decision(StrEnum):
    """Outcome of one look at one symbol."""

    TRADE = "trade"
    HOLD = "hold"
    WAIT = "wait"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Execution:
    """Where a symbol's orders stand in the journal.

    ``open_intent`` is the id of the one that is not terminal; ``settled_ms`` the time of the
    symbol's last fill or resolution, by evidence or by a person, 0 if there was none;
    ``unrecorded`` a finished intent that has filled more than the recorded fills show. Its fills
    carry the venue's time of the change, which the time of its resolution, by our clock, cannot
    stand for. ``ended`` is how the last order of reconciliation ended, None if the symbol's last
    order was not one, or a person has resumed the symbol since.
    """

    plan_epoch: int
    open_intent: str | None
    settled_ms: int
    unrecorded: str | None = None
    ended: Ended | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a symbol now, why, and the plan if there is one.

    ``held_before``: the account holds what no fill or order of this journal explains.
    """

    symbol: str
    decision: Decision
    reason: str
    plan: Plan | None = None
    intent_id: str | None = None
    held_before: bool = False


def decide(
    target: Target,
    consensus: Consensus,
    price: Observation[Decimal],
    execution: Observation[Execution],
    filters: Observation[PlanFilters],
    pause_reason: str = "",
) -> Verdict:
    """Plan the symbol if everything about it is known and nothing of it is under way.

    An input that is not ``Known`` means no order, neither up nor down. ``price`` is the mid
    in USD. ``pause_reason``: why the symbol waits for a person (empty: it does not); a paused
    symbol only closes.
    """
    symbol = target.symbol

    def unknown(what: str, observation: Stale[Any] | Unknown) -> Verdict:
        return Verdict(symbol, Decision.UNKNOWN, not_known(what, observation))

    if not isinstance(execution, Known):
        return unknown("the state of its orders", execution)
    waits = _under_way(execution.value, consensus)
    if waits:
        return Verdict(symbol, Decision.WAIT, waits)
    if not isinstance(consensus.position, Known):
        return unknown("the position", consensus.position)
    if consensus.position.value != 0 and execution.value.settled_ms == 0:
        return _held_before(symbol, consensus.position.value)
    if not isinstance(target.notional, Known):
        return unknown("the target", target.notional)
    if not isinstance(price, Known):
        return unknown("the price", price)
    if not isinstance(filters, Known):
        return unknown("the market's rules", filters)
    planned = plan(consensus.position.value, target.notional.value, price.value, filters.value)
    if not planned.orders:
        return Verdict(symbol, Decision.HOLD, planned.reason, planned)
    order = planned.orders[0]
    if pause_reason and not order.reduce_only:
        return Verdict(symbol, Decision.WAIT, f"paused: {pause_reason}", planned)
    name = plan_intent_id(symbol, execution.value.plan_epoch, order.leg)
    return Verdict(symbol, Decision.TRADE, f"{planned.move} to the target", planned, name)


def _under_way(execution: Execution, consensus: Consensus) -> str:
    """What of the symbol's orders is not over, or not yet seen by all; empty if nothing."""
    if execution.open_intent is not None:
        return f"intent {execution.open_intent} is still open"
    if execution.unrecorded is not None:
        return f"the fills of {execution.unrecorded} are not all recorded yet"
    if consensus.lagging:
        return (
            f"waiting for {', '.join(consensus.lagging)} to be later than the last fill or "
            f"resolution ({execution.settled_ms})"
        )
    return ""


def _held_before(symbol: str, size: Decimal) -> Verdict:
    """Whose position that is, and what it is for, is not in this journal: a person knows."""
    why = (
        f"{plain(size)} {symbol} were held before this journal began: make resume SYMBOL={symbol} "
        f"takes them over, make flatten SYMBOL={symbol} closes them"
    )
    return Verdict(symbol, Decision.WAIT, why, held_before=True)
