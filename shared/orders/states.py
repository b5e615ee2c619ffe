"""The life of an order intent, as a table.

::

    PENDING ──> SENT ──> RESTING | FILLED | PARTIAL | CANCELLED | REJECTED | EXPIRED | NOT_PLACED
       │          └────> UNKNOWN ──> (any of those but EXPIRED, on evidence only)
       └──> NOT_PLACED   (found at start: it was never sent)
    RESTING ──> FILLED | CANCELLED

A resting order is not a filled one: while it fills in parts it stays ``RESTING`` and its
filled size grows. ``PARTIAL`` is final and for immediate-or-cancel orders alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class OrderState(StrEnum):
    """Where an intent stands; the names are those of ``order_execution_log.state``."""

    PENDING = "PENDING"
    """Journaled, nothing sent."""
    SENT = "SENT"
    """Nonce, expiry and body hash are journaled; the bytes may be on their way."""
    UNKNOWN = "UNKNOWN"
    """Sent, and no reply says what became of it."""
    RESTING = "RESTING"
    """In the venue's book."""
    FILLED = "FILLED"
    PARTIAL = "PARTIAL"
    """Immediate-or-cancel, filled in part; the rest is gone."""
    CANCELLED = "CANCELLED"
    """Gone from the book, or never matched; a filled part may remain."""
    REJECTED = "REJECTED"
    """Refused by the venue."""
    EXPIRED = "EXPIRED"
    """The venue read it only after its expiry and refused it."""
    NOT_PLACED = "NOT_PLACED"
    """Proven never to have been processed."""


_S = OrderState

TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = {
    _S.PENDING: frozenset({_S.SENT, _S.NOT_PLACED}),
    _S.SENT: frozenset(
        {
            _S.UNKNOWN,
            _S.RESTING,
            _S.FILLED,
            _S.PARTIAL,
            _S.CANCELLED,
            _S.REJECTED,
            _S.EXPIRED,
            _S.NOT_PLACED,
        }
    ),
    _S.UNKNOWN: frozenset(
        {_S.RESTING, _S.FILLED, _S.PARTIAL, _S.CANCELLED, _S.REJECTED, _S.NOT_PLACED}
    ),
    _S.RESTING: frozenset({_S.FILLED, _S.CANCELLED}),
    _S.FILLED: frozenset(),
    _S.PARTIAL: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.NOT_PLACED: frozenset(),
}

TERMINAL: frozenset[OrderState] = frozenset(s for s, after in TRANSITIONS.items() if not after)
OPEN: frozenset[OrderState] = frozenset(OrderState) - TERMINAL


class IllegalTransition(ValueError):
    """A change of state that the table does not contain; nothing may be written."""

    def __init__(self, before: OrderState, after: OrderState) -> None:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "none, it is final"
        super().__init__(f"an order in {before} cannot become {after}; allowed: {allowed}")
        self.before = before
        self.after = after


def check_transition(before: OrderState, after: OrderState) -> None:
    """Raise ``IllegalTransition`` unless the table has ``before`` → ``after``."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(before, after)


def transition_table() -> str:
    """The table in Markdown, for the documentation."""
    columns = list(OrderState)
    head = "| from \\ to | " + " | ".join(columns) + " |"
    rule = "|---" * (len(columns) + 1) + "|"
    rows = [
        f"| **{before}** | "
        + " | ".join("yes" if after in TRANSITIONS[before] else "" for after in columns)
        + " |"
        for before in columns
    ]
    return "\n".join([head, rule, *rows])
