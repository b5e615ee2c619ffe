"""Did anything happen that must never happen? Pure, over our journal and the venue's ledger.

The venue's ledger is the truth about effects, the journal about intentions, and the reasons that
reconciliation wrote down about what was known. Each rule names its violation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

TERMINAL = frozenset({"FILLED", "PARTIAL", "CANCELLED", "REJECTED", "EXPIRED", "NOT_PLACED"})
WITHOUT_EFFECT = frozenset({"NOT_PLACED", "REJECTED", "EXPIRED"})
FOREIGN_CLOID = "0xc4a05"
"""How the client order ids begin of orders that chaos itself sends, past the gateway."""
CLOCK_TOLERANCE_MS = 10_000
"""Clocks of venue and platform may differ by this much while a fault skews them."""
DUST = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Intent:
    """One row of the journal; sizes in coins, times UTC ms by our clock."""

    intent_id: str
    cloid: str
    symbol: str
    origin: str
    size: Decimal
    reduce_only: bool
    state: str
    filled_size: Decimal
    sent_ms: int | None
    resolved_ms: int | None


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue has it; time by the venue's clock."""

    oid: int
    cloid: str | None
    symbol: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class VenueFill:
    """An execution at the venue; ``size`` signed, ``start`` the position before it."""

    tid: int
    cloid: str | None
    symbol: str
    time_ms: int
    size: Decimal
    price: Decimal
    start: Decimal

    @property
    def end(self) -> Decimal:
        """The position after it."""
        return self.start + self.size

    @property
    def increases(self) -> bool:
        """Whether it added to the exposure."""
        return abs(self.end) > abs(self.start)


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest notional in USD after a fill that adds: per symbol and over all symbols."""

    symbol_usd: Decimal
    total_usd: Decimal


@dataclass(frozen=True, slots=True)
class Plan:
    """A look that asked for an intent: the inputs it lacked, the position it believed in."""

    intent_id: str
    lacked: tuple[str, ...]
    position: Decimal | None


@dataclass(frozen=True, slots=True)
class History:
    """Everything that is checked. ``repeated_steps``: (run id, fill number) journaled twice;
    ``forbidden``: from when to when, by our clock, the kill switch was set (UTC ms)."""

    intents: Sequence[Intent]
    orders: Sequence[VenueOrder]
    fills: Sequence[VenueFill]
    plans: Sequence[Plan]
    limits: Limits
    repeated_steps: Sequence[tuple[int, int]] = ()
    forbidden: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken, and by what."""

    rule: str
    detail: str


def check(history: History) -> list[Violation]:
    """Every violation in the history; none if all is well."""
    return [
        *_lost_intents(history),
        *_double_effects(history),
        *_wrong_verdicts(history),
        *_above_the_cap(history),
        *_increased_while_unknown(history),
        *_believed_wrongly(history),
        *_overlapping(history),
        *_repeated_steps(history),
        *_opened_while_forbidden(history),
    ]


def _lost_intents(history: History) -> Iterable[Violation]:
    """Every order at the venue was journalled before it was sent, and no intent stays open."""
    by_cloid = {intent.cloid: intent for intent in history.intents}
    for order in history.orders:
        if _is_foreign(order.cloid):
            continue
        intent = by_cloid.get(order.cloid or "")
        if intent is None:
            yield Violation("lost_intent", f"order {order.oid} of {order.symbol} has no intent")
        elif intent.sent_ms is None:
            yield Violation("sent_before_journal", f"{intent.intent_id} is at the venue, not SENT")
        elif order.time_ms < intent.sent_ms - CLOCK_TOLERANCE_MS:
            yield Violation("sent_before_journal", f"{intent.intent_id} was sent too early")
    for intent in history.intents:
        if intent.state not in TERMINAL:
            yield Violation("open_intent", f"{intent.intent_id} is still {intent.state}")


def _double_effects(history: History) -> Iterable[Violation]:
    """An intent is one order at most, and never fills more than its size."""
    placed = Counter(order.cloid for order in history.orders if order.cloid)
    for cloid, count in placed.items():
        if count > 1:
            yield Violation("double_effect", f"{cloid} was placed {count} times")
    filled = _filled(history)
    for intent in history.intents:
        if filled[intent.cloid] > intent.size + DUST:
            yield Violation(
                "double_effect",
                f"{intent.intent_id} filled {filled[intent.cloid]} of {intent.size}",
            )


def _wrong_verdicts(history: History) -> Iterable[Violation]:
    """What the journal says of an order is what the venue did with it."""
    filled = _filled(history)
    for intent in history.intents:
        done = filled[intent.cloid]
        if intent.state in WITHOUT_EFFECT and done > 0:
            yield Violation("wrong_verdict", f"{intent.intent_id} is {intent.state}, filled {done}")
        elif intent.state in TERMINAL and abs(intent.filled_size - done) > DUST:
            yield Violation(
                "wrong_verdict",
                f"{intent.intent_id} says it filled {intent.filled_size}, the venue {done}",
            )


def _above_the_cap(history: History) -> Iterable[Violation]:
    """No fill that adds to a position takes it, or all of them, above the cap."""
    held: dict[str, Decimal] = {}
    for fill in sorted(history.fills, key=lambda f: (f.time_ms, f.tid)):
        held[fill.symbol] = abs(fill.end) * fill.price
        if not fill.increases or _is_foreign(fill.cloid):
            continue
        if held[fill.symbol] > history.limits.symbol_usd:
            yield Violation(
                "above_cap", f"{fill.symbol} at {held[fill.symbol]:.2f} USD by fill {fill.tid}"
            )
        total = sum(held.values(), Decimal(0))
        if total > history.limits.total_usd:
            yield Violation("above_cap", f"all symbols at {total:.2f} USD by fill {fill.tid}")


def _increased_while_unknown(history: History) -> Iterable[Violation]:
    """Every plan that added knew all it needs; every reconciling intent has its reasons."""
    added = {fill.cloid for fill in history.fills if fill.increases}
    plans = _plans(history)
    for intent in history.intents:
        if intent.origin != "reconcile":
            continue
        if intent.intent_id not in plans:
            yield Violation("without_reason", f"{intent.intent_id} has no decision")
        lacked = sorted({name for plan in plans[intent.intent_id] for name in plan.lacked})
        if lacked and (intent.cloid in added or not intent.reduce_only):
            what = ", ".join(lacked)
            yield Violation("traded_on_unknown", f"{intent.intent_id} did not know {what}")


def _believed_wrongly(history: History) -> Iterable[Violation]:
    """The position a plan called known is the one that its order found at the venue.

    Nobody can know of someone else's trade in the moment before an order.
    """
    first: dict[str, VenueFill] = {}
    newest_foreign_ms: dict[str, int] = {}
    for fill in sorted(history.fills, key=lambda f: (f.time_ms, f.tid)):
        if _is_foreign(fill.cloid):
            newest_foreign_ms[fill.symbol] = fill.time_ms
        elif fill.time_ms - newest_foreign_ms.get(fill.symbol, 0) > CLOCK_TOLERANCE_MS:
            first.setdefault(fill.cloid or "", fill)
    plans = _plans(history)
    for intent in history.intents:
        found = first.get(intent.cloid)
        for plan in plans[intent.intent_id] if found else ():
            if found and plan.position is not None and abs(plan.position - found.start) > DUST:
                yield Violation(
                    "wrong_position",
                    f"{intent.intent_id} believed in {plan.position} {intent.symbol}, "
                    f"the venue had {found.start}",
                )


def _opened_while_forbidden(history: History) -> Iterable[Violation]:
    """Nothing that could open was sent while the kill switch was set."""
    for intent in history.intents:
        if intent.reduce_only or intent.sent_ms is None:
            continue
        if any(since < intent.sent_ms < until for since, until in history.forbidden):
            yield Violation("opened_while_forbidden", f"{intent.intent_id} is {intent.state}")


def _repeated_steps(history: History) -> Iterable[Violation]:
    """A step of a run is journaled once."""
    for run_id, number in history.repeated_steps:
        yield Violation("repeated_step", f"fill {number} of run {run_id} is journaled twice")


def _overlapping(history: History) -> Iterable[Violation]:
    """A symbol's next intent is sent only after its last one is resolved."""
    by_symbol: defaultdict[str, list[Intent]] = defaultdict(list)
    for intent in history.intents:
        if intent.sent_ms is not None:
            by_symbol[intent.symbol].append(intent)
    for symbol, intents in by_symbol.items():
        ordered = sorted(intents, key=lambda i: (i.sent_ms or 0, i.intent_id))
        for before, after in pairwise(ordered):
            ended = before.resolved_ms if before.state in TERMINAL else None
            if ended is None or ended > (after.sent_ms or 0):
                yield Violation(
                    "overlap", f"{symbol}: {after.intent_id} was sent before the end of "
                    f"{before.intent_id}"
                )  # fmt: skip


def _is_foreign(cloid: str | None) -> bool:
    return (cloid or "").startswith(FOREIGN_CLOID)


def _filled(history: History) -> defaultdict[str, Decimal]:
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in history.fills:
        if fill.cloid:
            found[fill.cloid] += abs(fill.size)
    return found


def _plans(history: History) -> defaultdict[str, list[Plan]]:
    found: defaultdict[str, list[Plan]] = defaultdict(list)
    for plan in history.plans:
        found[plan.intent_id].append(plan)
    return found
