"""Signed actions on their way to the venue: sent exactly once, answered by a verdict."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shared.exchange.action_budget import ActionBudget
from shared.exchange.errors import (
    BudgetExhausted,
    ConnectionRefused,
    NameResolutionFailed,
    VenueError,
)
from shared.exchange.precision import Tif
from shared.exchange.rate_budget import Priority
from shared.exchange.signing import SignedAction
from shared.exchange.transport import VenueTransport
from shared.orders.replies import (
    CancelVerdict,
    Verdict,
    connection_refused,
    interpret_action_reply,
    interpret_cancel_reply,
    interpret_order_reply,
    no_reply,
)
from shared.orders.states import OrderState

WEIGHT = 1
MAX_BUDGET_WAIT_SECS = 2.0


class ActionSender:
    """``POST /exchange`` without any repetition; what it means is decided by ``shared.orders``."""

    def __init__(self, transport: VenueTransport, actions: ActionBudget) -> None:
        self._transport = transport
        self._actions = actions

    def order(
        self, action: SignedAction, *, size: Decimal, tif: Tif, priority: Priority
    ) -> tuple[Verdict, Any]:
        """Send one order; returns the verdict and the venue's own words for the journal."""
        try:
            body = self._post(action, "exchange:order", priority)
        except VenueError as error:
            return _order_failure(error, size, tif), {"error": str(error), "body": error.body}
        return interpret_order_reply(200, body, size=size, tif=tif), body

    def cancel(self, action: SignedAction) -> CancelVerdict:
        """Send one cancel."""
        try:
            body = self._post(action, "exchange:cancel", "exit")
        except VenueError as error:
            if error.status is not None:
                return interpret_cancel_reply(error.status, None)
            return CancelVerdict("unknown", str(error))
        return interpret_cancel_reply(200, body)

    def other(
        self, action: SignedAction, name: str, priority: Priority = "reconcile"
    ) -> str | None:
        """Send an action without a result of its own; None if accepted, else why not."""
        try:
            body = self._post(action, f"exchange:{name}", priority)
        except VenueError as error:
            return str(error)
        return interpret_action_reply(200, body)

    def _post(self, action: SignedAction, endpoint: str, priority: Priority) -> object:
        self._actions.take(priority, endpoint)
        return self._transport.post(
            "/exchange",
            action.payload,
            endpoint=endpoint,
            weight=WEIGHT,
            priority=priority,
            max_wait_secs=MAX_BUDGET_WAIT_SECS,
        )


def _order_failure(error: VenueError, size: Decimal, tif: Tif) -> Verdict:
    match error:
        case ConnectionRefused():
            return connection_refused()
        case NameResolutionFailed():
            return Verdict(OrderState.NOT_PLACED, "the venue's name cannot be resolved: not sent")
        case BudgetExhausted():
            return Verdict(OrderState.NOT_PLACED, f"not sent: {error}")
        case VenueError(status=int() as status):
            return interpret_order_reply(status, None, size=size, tif=tif)
        case _:
            return no_reply(str(error))
