"""What people are told, in their words.

``kind`` and ``subject`` together name what an alert is about: raised again for the same subject it
is a repetition, not a new message. A subject therefore carries what makes an occurrence a new one,
such as the time at which a switch was set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

Severity = Literal["info", "warning", "critical"]
MAX_SUBJECT, MAX_TITLE, MAX_BODY = 128, 255, 2_000


class AlertKind(StrEnum):
    """What can be alerted; ``alerts.enabled`` lists those that are sent."""

    KILL_SWITCH = "kill_switch"
    SYMBOL_HALTED = "symbol_halted"
    UNKNOWN_ORDER = "unknown_order"
    QUORUM_LOST = "quorum_lost"
    PRICE_STALE = "price_stale"
    SYMBOL_DELISTED = "symbol_delisted"
    LEDGER_UNKNOWN = "ledger_unknown"
    BREAKER_OPEN = "breaker_open"
    DECAY = "decay"
    REOPTIMISATION = "reoptimisation"
    DAILY_SUMMARY = "daily_summary"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to say. Texts are cut to what the outbox holds."""

    kind: AlertKind
    subject: str
    severity: Severity
    title: str
    body: str

    def __post_init__(self) -> None:
        for name, limit in (("subject", MAX_SUBJECT), ("title", MAX_TITLE), ("body", MAX_BODY)):
            object.__setattr__(self, name, getattr(self, name)[:limit])


def kill_switch(reason: str, actor: str, since_ms: int) -> Alert:
    """The kill switch is set; one occurrence per time it was set."""
    return Alert(
        AlertKind.KILL_SWITCH,
        f"set at {since_ms}",
        "critical",
        "Kill switch set: nothing new is opened",
        f"Set by {actor or 'nobody named'}: {reason}. Exits still pass. Only a person lifts it, "
        "with a reason: make kill-switch",
    )


def symbol_halted(symbol: str, reason: str, since_ms: int) -> Alert:
    """Opening orders of a symbol are stopped until a person resumes it."""
    return Alert(
        AlertKind.SYMBOL_HALTED,
        f"{symbol} at {since_ms}",
        "critical",
        f"{symbol} is halted: nothing new is opened on it",
        f"{reason}. A person resumes it: make resume SYMBOL={symbol} REASON=…",
    )


def unknown_order(intent_id: str, symbol: str, age_secs: float) -> Alert:
    """Nobody knows yet what became of an order."""
    return Alert(
        AlertKind.UNKNOWN_ORDER,
        intent_id,
        "critical",
        f"{symbol}: an order has been UNKNOWN for {age_secs:.0f} s",
        f"{intent_id} was sent and the venue's answer was lost; {symbol} waits until there is "
        f"evidence of what became of it. make why ORDER={intent_id}",
    )


def quorum_lost(symbol: str, reason: str) -> Alert:
    """The voters do not agree on a position, or too few of them can be read."""
    return Alert(
        AlertKind.QUORUM_LOST,
        symbol,
        "critical",
        f"{symbol}: its position is not known",
        f"{reason}. No order is sent for {symbol}, neither up nor down. make why SYMBOL={symbol}",
    )


def price_stale(symbol: str, reason: str) -> Alert:
    """No recent price of a symbol."""
    return Alert(
        AlertKind.PRICE_STALE,
        symbol,
        "warning",
        f"{symbol}: no fresh price",
        f"{reason}. No order is sent for {symbol} meanwhile.",
    )


def symbol_delisted(symbol: str, held: str | None) -> Alert:
    """The venue has taken a configured symbol off its list; ``held`` is the size still there."""
    if held is None:
        todo = "Nothing of it is held. Take it out of reconciliation_engine.symbols."
    else:
        todo = (
            f"{held} of it are still held, and what becomes of them is your decision: "
            f"make flatten SYMBOL={symbol} tries to close them while the venue still takes exits."
        )
    return Alert(
        AlertKind.SYMBOL_DELISTED,
        symbol,
        "warning" if held is None else "critical",
        f"{symbol} is delisted: it is not traded any more",
        todo,
    )


def ledger_unknown(kind: str, time_ms: int) -> Alert:
    """The venue moved money of the account in a way that is not understood."""
    when = datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Alert(
        AlertKind.LEDGER_UNKNOWN,
        f"{kind} at {time_ms}",
        "warning",
        f"The venue's ledger has an entry of an unknown kind: {kind}",
        f"At {when}. What the account changed by around it counts neither as profit nor as loss: "
        "the day's start has moved by it, and the take-profit epoch has begun anew.",
    )


def breaker_open(route: str, failures: int) -> Alert:
    """All processes behind one network address leave the venue alone after repeated failures."""
    return Alert(
        AlertKind.BREAKER_OPEN,
        route,
        "critical",
        f"{route}: the venue's breaker is open",
        f"{failures} calls in a row failed. Nothing but exits is tried until one call succeeds "
        "again; it is tried by itself.",
    )


def decay(sharpe: float, threshold: float, window_days: float) -> Alert:
    """The rolling Sharpe ratio has fallen below its threshold."""
    return Alert(
        AlertKind.DECAY,
        "account",
        "warning",
        f"Performance decays: Sharpe {sharpe:.2f} over {window_days:g} days",
        f"The account's annualised Sharpe ratio is below {threshold:g}. Consider a smaller "
        "reconciliation_engine.risk_pos_percentage or another optimisation.",
    )


def reoptimisation(search: str, verdict: str, proposal: str, report: str, *, worth: bool) -> Alert:
    """A search that decay set off has ended; nothing of it is applied by itself."""
    title = (
        "Re-optimisation: a proposal that is worth a look"
        if worth
        else "Re-optimisation: nothing that is proven to be better"
    )
    offer = (
        f"Its parameters are a diff of config.yml: {proposal}. Read the report first: {report}. "
        "Nothing was changed; git apply takes it, if you want it."
        if proposal
        else f"There is nothing to propose. Report: {report}."
    )
    return Alert(
        AlertKind.REOPTIMISATION,
        f"search {search}",
        "warning" if worth else "info",
        title,
        f"{verdict} {offer}",
    )


def reoptimisation_refused(reason: str, day: str) -> Alert:
    """Performance decays, and no search was possible; told once a day."""
    return Alert(
        AlertKind.REOPTIMISATION,
        f"refused on {day}",
        "warning",
        "Re-optimisation was not possible",
        f"{reason}. Put it right, or search by hand: make optimize DATA=…",
    )
