"""What the venue's answer to an order or a cancel proves.

An answer that proves nothing is ``UNKNOWN``: a timeout, a reset, a 5xx, a duplicate nonce, or
any text that is not in the protocol. Only a refused connection and HTTP 429 prove that the
request was not processed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from shared.exchange.precision import Tif
from shared.orders.states import OrderState

HTTP_OK = 200
HTTP_UNPROCESSABLE = 422
HTTP_TOO_MANY_REQUESTS = 429

_NO_MATCH = (
    "could not immediately match",
    "no liquidity available for market order",
)
"""Errors by which an immediate-or-cancel order was taken, found nothing and ended."""

_REFUSALS = (
    "does not exist",
    "must deposit",
    "unable to recover signer",
    "nonce too low",
    "too many cumulative requests",
    "insufficient margin",
    "price must be divisible",
    "order has",
    "order must have",
    "reduce only order",
    "invalid leverage",
    "cannot switch leverage",
    "cross margin is not allowed",
    "builder fee has not been approved",
)
"""Request-level texts by which the venue says that it did nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that a reply or the evidence proves.

    ``filled_size`` in coins, ``avg_price`` in USD; ``reason`` is a sentence for people.
    """

    state: OrderState
    reason: str
    oid: int | None = None
    filled_size: Decimal = Decimal(0)
    avg_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CancelVerdict:
    """``cancelled``: gone by this request. ``gone``: it was not in the book. ``unknown``."""

    outcome: Literal["cancelled", "gone", "refused", "unknown"]
    reason: str


def connection_refused() -> Verdict:
    """Nothing listens: not one byte of the request was read."""
    return Verdict(OrderState.NOT_PLACED, "connection refused: the venue did not process it")


def no_reply(detail: str) -> Verdict:
    """Sent, and no usable reply came."""
    return Verdict(OrderState.UNKNOWN, detail)


def interpret_order_reply(status: int, body: Any, *, size: Decimal, tif: Tif) -> Verdict:
    """Meaning of the reply to an ``order`` action with one order of ``size`` coins.

    ``body`` is the decoded JSON, or None if it was not JSON.
    """
    if status == HTTP_TOO_MANY_REQUESTS:
        return Verdict(OrderState.NOT_PLACED, "HTTP 429: the venue did not process it")
    if status == HTTP_UNPROCESSABLE:
        return Verdict(OrderState.REJECTED, "HTTP 422: the venue cannot read the request")
    if status != HTTP_OK:
        return no_reply(f"HTTP {status}: the reply does not say what became of the order")
    if not isinstance(body, Mapping):
        return no_reply("the reply is not a JSON object")
    if body.get("status") == "err":
        return _request_error(str(body.get("response")))
    try:
        (entry,) = body["response"]["data"]["statuses"]
    except (KeyError, TypeError, ValueError):
        return no_reply("the reply does not hold exactly one order status")
    return _order_entry(entry, size=size, tif=tif)


def interpret_cancel_reply(status: int, body: Any) -> CancelVerdict:
    """Meaning of the reply to a cancel of one order; that it is gone already is an answer."""
    if status in (HTTP_TOO_MANY_REQUESTS, HTTP_UNPROCESSABLE):
        return CancelVerdict("refused", f"HTTP {status}: the venue did not process the cancel")
    if status != HTTP_OK or not isinstance(body, Mapping):
        return CancelVerdict("unknown", f"HTTP {status}: the reply does not say what happened")
    if body.get("status") == "err":
        text = str(body.get("response"))
        known = _request_error(text).state is not OrderState.UNKNOWN
        return CancelVerdict("refused" if known else "unknown", text)
    try:
        (entry,) = body["response"]["data"]["statuses"]
    except (KeyError, TypeError, ValueError):
        return CancelVerdict("unknown", "the reply does not hold exactly one cancel status")
    if entry == "success":
        return CancelVerdict("cancelled", "cancelled")
    if isinstance(entry, Mapping) and "error" in entry:
        text = str(entry["error"])
        gone = "never placed, already canceled, or filled" in text
        return CancelVerdict("gone" if gone else "refused", text)
    return CancelVerdict("unknown", "the cancel status is not one of the protocol")


def interpret_action_reply(status: int, body: Any) -> str | None:
    """None if an action without a result (leverage, dead man) was accepted, else why not."""
    if status == HTTP_OK and isinstance(body, Mapping) and body.get("status") == "ok":
        return None
    if status == HTTP_OK and isinstance(body, Mapping) and body.get("status") == "err":
        return str(body.get("response"))
    return f"HTTP {status}"


def _request_error(text: str) -> Verdict:
    """Meaning of ``{"status": "err"}``, which concerns the whole request."""
    lowered = text.lower()
    if "duplicate nonce" in lowered:
        return no_reply(f"{text}: the same request was processed before")
    if "already expired" in lowered:
        return Verdict(OrderState.EXPIRED, text)
    if any(part in lowered for part in _REFUSALS):
        return Verdict(OrderState.REJECTED, text)
    return no_reply(f"the venue's error is not one of the protocol: {text}")


def _order_entry(entry: Any, *, size: Decimal, tif: Tif) -> Verdict:
    if not isinstance(entry, Mapping):
        return no_reply(f"the order status {entry!r} is not one of the protocol")
    try:
        if "error" in entry:
            return _order_error(str(entry["error"]))
        if "resting" in entry:
            return _resting(int(entry["resting"]["oid"]), tif)
        filled = entry["filled"]
        return _filled(
            int(filled["oid"]), Decimal(filled["totalSz"]), Decimal(filled["avgPx"]), size, tif
        )
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return no_reply("the order status lacks what the protocol promises")


def _order_error(text: str) -> Verdict:
    if any(part in text.lower() for part in _NO_MATCH):
        return Verdict(OrderState.CANCELLED, text)
    return Verdict(OrderState.REJECTED, text)


def _resting(oid: int, tif: Tif) -> Verdict:
    if tif == "Ioc":
        return Verdict(OrderState.UNKNOWN, "an immediate-or-cancel order cannot rest", oid=oid)
    return Verdict(OrderState.RESTING, "in the book", oid=oid)


def _filled(oid: int, total: Decimal, avg_price: Decimal, size: Decimal, tif: Tif) -> Verdict:
    sound = total.is_finite() and avg_price.is_finite() and 0 < total <= size and avg_price > 0
    if not sound or (total < size and tif != "Ioc"):
        reason = f"the reply says {total} of {size} filled, which a {tif} order cannot be"
        return Verdict(OrderState.UNKNOWN, reason, oid=oid)
    state = OrderState.FILLED if total == size else OrderState.PARTIAL
    return Verdict(state, "filled by the venue's reply", oid, total, avg_price)
