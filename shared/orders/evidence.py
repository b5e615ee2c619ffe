"""What settles an order that is UNKNOWN or resting: status readings, fills and venue time.

Filled size comes from fills alone, because the size in ``orderStatus`` is stale while an
order fills in parts. Absence is proven only when the venue can no longer accept the order
(its time is past the expiry plus a margin) and, read after that, two ``orderStatus`` replies
some time apart say ``unknownOid`` and a complete window of fills has none of this order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from shared.exchange.precision import Tif
from shared.orders.replies import Verdict
from shared.orders.states import OrderState

BOOK_STATUSES = frozenset({"open", "triggered"})
NO_MATCH_STATUSES = frozenset({"iocCancelRejected", "marketOrderNoLiquidityRejected"})


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """The order in doubt. ``expires_after_ms`` is the venue time up to which it is accepted."""

    cloid: str
    size: Decimal
    tif: Tif
    expires_after_ms: int


@dataclass(frozen=True, slots=True)
class StatusReading:
    """One ``orderStatus`` reply by cloid, read at venue time ``venue_ms``.

    ``status`` None means ``unknownOid``. ``executed`` is original minus remaining size at the
    last change of status: a lower bound of what must appear in the fills.
    """

    venue_ms: int
    status: str | None
    oid: int | None = None
    executed: Decimal = Decimal(0)
    status_ms: int = 0


@dataclass(frozen=True, slots=True)
class OrderFill:
    """One execution of the order: size in coins, price in USD."""

    size: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class FillsReading:
    """Fills of this order in a window from before it was sent to venue time ``venue_ms``.

    ``complete``: no page of the window was cut off or left out.
    """

    venue_ms: int
    complete: bool
    fills: tuple[OrderFill, ...]


@dataclass(frozen=True, slots=True)
class EvidenceRules:
    """How long after the expiry absence counts, and how far apart its two readings are (ms)."""

    margin_ms: int
    spacing_ms: int


@dataclass(frozen=True, slots=True)
class StillOpen:
    """The evidence does not settle it yet; ``reason`` says what is missing."""

    reason: str


def settle(
    order: OpenOrder,
    readings: Iterable[StatusReading],
    fills: FillsReading,
    rules: EvidenceRules,
) -> Verdict | StillOpen:
    """What the evidence proves. ``readings`` in the order they were made, oldest first."""
    history = list(readings)
    if not history:
        return StillOpen("no orderStatus reply yet")
    filled = sum((f.size for f in fills.fills), Decimal(0))
    if filled > order.size:
        return StillOpen(f"fills of {filled} exceed the ordered {order.size}")
    if filled == order.size:
        return _executed(
            OrderState.FILLED, history[-1].oid, fills, filled, "its fills are complete"
        )
    latest = history[-1]
    if latest.status is not None:
        return _settle_known(order, latest, fills, filled, rules)
    return _settle_absent(order, history, fills, filled, rules)


def _settle_known(
    order: OpenOrder,
    latest: StatusReading,
    fills: FillsReading,
    filled: Decimal,
    rules: EvidenceRules,
) -> Verdict | StillOpen:
    status = latest.status or ""
    if status in BOOK_STATUSES:
        if order.tif == "Ioc":
            return StillOpen("the venue still works on an immediate-or-cancel order")
        return _executed(OrderState.RESTING, latest.oid, fills, filled, "in the book")
    due = order.size if status == "filled" else latest.executed
    settled_ms = latest.status_ms + rules.margin_ms
    lagging = not fills.complete or (filled < due and fills.venue_ms < settled_ms)
    if lagging:
        return StillOpen(f"status {status}, but only {filled} of {due} is in the fills yet")
    reason = f"the venue says {status}"
    if filled > 0:
        state = OrderState.PARTIAL if order.tif == "Ioc" else OrderState.CANCELLED
        return _executed(state, latest.oid, fills, filled, reason)
    if status == "filled":
        return StillOpen("the venue says filled, but the fills do not show it")
    if status.endswith("ejected") and status not in NO_MATCH_STATUSES:
        return Verdict(OrderState.REJECTED, reason, latest.oid)
    return Verdict(OrderState.CANCELLED, reason, latest.oid)


def _settle_absent(
    order: OpenOrder,
    history: list[StatusReading],
    fills: FillsReading,
    filled: Decimal,
    rules: EvidenceRules,
) -> Verdict | StillOpen:
    decided_ms = order.expires_after_ms + rules.margin_ms
    late = [r.venue_ms for r in history if r.status is None and r.venue_ms > decided_ms]
    if any(r.status is not None for r in history):
        return StillOpen("the venue knew the order before and does not now")
    if not late or late[-1] - late[0] < rules.spacing_ms:
        return StillOpen("unknown to the venue, which may still accept or show it")
    if not fills.complete or fills.venue_ms <= decided_ms:
        return StillOpen("no complete window of fills after its expiry yet")
    if filled == 0:
        return Verdict(OrderState.NOT_PLACED, "expired, unknown to the venue twice, no fill")
    if order.tif == "Ioc":
        return _executed(OrderState.PARTIAL, None, fills, filled, "its fills prove a part")
    return StillOpen("the fills prove a part, but the venue does not know the order")


def _executed(
    state: OrderState, oid: int | None, fills: FillsReading, filled: Decimal, reason: str
) -> Verdict:
    return Verdict(state, reason, oid, filled, average_price(fills.fills))


def average_price(fills: Iterable[OrderFill]) -> Decimal | None:
    """Size-weighted mean price in USD to 10 decimals, None without fills."""
    parts = list(fills)
    size = sum((f.size for f in parts), Decimal(0))
    if size == 0:
        return None
    value = sum((f.size * f.price for f in parts), Decimal(0))
    return (value / size).quantize(Decimal("1e-10"))
