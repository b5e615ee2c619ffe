"""Hand orders to the order gateway and understand what it answers.

Nothing here repeats a request: an order without an answer stays in the gateway's journal, and
the next reconciliation finds it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
import requests
from opentelemetry import propagate
from pydantic import SecretStr

from shared.exchange.precision import plain
from shared.http_deadline import DeadlineAdapter
from shared.orders.states import TERMINAL
from shared.reconciliation.plan import PlannedOrder
from shared.reconciliation.progress import ENDED_WITHOUT_A_FILL, Step

POOL_SIZE = 8
"""Connections kept; more orders at a time would open further ones and not keep them."""


class Outcome(StrEnum):
    """What became of a request, as far as the caller knows."""

    ACCEPTED = "accepted"
    """The gateway has journaled the order; its state is in the reply."""
    BLOCKED = "blocked"
    """A risk rule objected; nothing was sent."""
    CONFLICT = "conflict"
    """Another order of the symbol is open, or the plan is out of date; nothing was sent."""
    REFUSED = "refused"
    """The gateway found the request faulty or not authorised; nothing was sent."""
    UNAVAILABLE = "unavailable"
    """The gateway cannot trade or is not there; nothing was sent."""
    UNANSWERED = "unanswered"
    """No complete answer: the order may or may not be in the journal."""


_BY_STATUS = {
    200: Outcome.ACCEPTED,
    403: Outcome.BLOCKED,
    409: Outcome.CONFLICT,
    503: Outcome.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class GatewayReply:
    """Outcome, HTTP status (None without an answer) and body of one request."""

    outcome: Outcome
    status: int | None
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str | None:
        """State of the order in the journal, where the gateway told it."""
        state = self.body.get("state")
        return state if isinstance(state, str) else None

    @property
    def step(self) -> Step:
        """What the answer means for the symbol's progress."""
        if self.status == requests.codes.unprocessable:
            return Step.REFUSED
        if self.outcome is not Outcome.ACCEPTED:
            return Step.OPEN
        if str(self.body.get("filled_size", "0")) != "0":
            return Step.FILLED
        return Step.REFUSED if self.state in ENDED_WITHOUT_A_FILL else Step.OPEN

    @property
    def has_ended(self) -> bool:
        """Whether the order will never be in another state."""
        return self.outcome is Outcome.ACCEPTED and self.state in TERMINAL

    @property
    def said(self) -> str:
        """The gateway's own words."""
        words = self.body.get("reason") or self.body.get("message") or self.outcome.value
        return str(words)


class GatewayClient:
    """The gateway's HTTP API for planned orders; carries the trace of the caller.

    Threads share its connections, which live until ``close``. ``timeout_secs`` is how long the
    whole answer may take.
    """

    def __init__(self, url: str, token: SecretStr, timeout_secs: float) -> None:
        self._url = url
        self._token = token
        self._timeout_secs = timeout_secs
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxy nor .netrc may come between
        adapter = DeadlineAdapter(pool_maxsize=POOL_SIZE, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Let the connections go."""
        self._session.close()

    def execute(
        self, intent_id: str, symbol: str, plan_epoch: int, order: PlannedOrder
    ) -> GatewayReply:
        """Ask for one market order of a plan; the same intent twice is one order."""
        body = {
            "intent_id": intent_id,
            "symbol": symbol,
            "side": order.side,
            "size": plain(order.size),
            "type": "market",
            "reduce_only": order.reduce_only,
            "origin": "reconcile",
            "plan_epoch": plan_epoch,
            "leg": order.leg,
        }
        try:
            reply = self._session.post(
                f"{self._url}/execute_order",
                data=orjson.dumps(body),
                headers=self._headers(),
                timeout=self._timeout_secs,
                allow_redirects=False,
            )
        except requests.ConnectionError as error:
            return _without_answer(error)
        except requests.RequestException as error:
            return GatewayReply(Outcome.UNANSWERED, None, {"message": type(error).__name__})
        return _understand(reply)

    def audited(self, intent_id: str) -> list[Mapping[str, Any]]:
        """The audit trail's lines of an intent; one that says why, if the gateway gives none."""
        try:
            reply = self._session.get(
                f"{self._url}/audit",
                params={"intent_id": intent_id},
                headers=self._headers(),
                timeout=self._timeout_secs,
                allow_redirects=False,
            )
            reply.raise_for_status()
            found: list[Mapping[str, Any]] = reply.json()
        except requests.RequestException as error:
            why = f"the gateway gave no audit trail ({type(error).__name__})"
            return [{"missing": why, "ask": f"{self._url}/audit?intent_id={intent_id}"}]
        return found

    def _headers(self) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {self._token.get_secret_value()}",
            "Content-Type": "application/json",
        }
        propagate.inject(headers)
        return headers


def _without_answer(error: requests.ConnectionError) -> GatewayReply:
    """A refused connection never carried the order; one that broke may have."""
    cause: BaseException | None = error
    seen: list[str] = []
    while cause is not None and len(seen) < 10:
        if isinstance(cause, ConnectionRefusedError):
            return GatewayReply(Outcome.UNAVAILABLE, None, {"message": "connection refused"})
        seen.append(type(cause).__name__)
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    return GatewayReply(Outcome.UNANSWERED, None, {"message": seen[0]})


def _understand(reply: requests.Response) -> GatewayReply:
    try:
        body = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        body = {"message": reply.text[:200]}
    if not isinstance(body, dict):
        body = {"message": str(body)[:200]}
    if reply.status_code in _BY_STATUS:
        outcome = _BY_STATUS[reply.status_code]
    elif reply.status_code < 500:
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.UNANSWERED
    return GatewayReply(outcome, reply.status_code, body)
