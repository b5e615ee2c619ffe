"""What happens to a request on its way in and out: rate limits and faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from paper_exchange.canonical import MalformedActionError
from paper_exchange.exchange import Exchange
from paper_exchange.faults import AFTER, BEFORE, FaultBox
from paper_exchange.info import answer
from paper_exchange.info_market import InfoError
from paper_exchange.limits import WeightBudget, batch_size, info_weight, reply_weight
from paper_exchange.transport import reset

UNPROCESSABLE = "Failed to deserialize the JSON body into the target type"
INFO, ACTION = "/info", "/exchange"


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def unprocessable() -> Response:
    """The venue's answer to a body that does not deserialise."""
    return PlainTextResponse(UNPROCESSABLE, status_code=422)


class NoReply(Response):
    """The connection is gone; nothing is sent."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        return


class Gate:
    """Runs requests against the exchange, through limits and faults."""

    def __init__(self, exchange: Exchange, faults: FaultBox, budget: WeightBudget | None) -> None:
        self.exchange = exchange
        self.faults = faults
        self.budget = budget

    async def handle(self, request: Request) -> Response:
        """Answer one request to ``/info`` or ``/exchange``."""
        path = request.url.path
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return unprocessable()
        kind = _kind(path, body)
        client = request.client.host if request.client else ""
        if not self._pay(client, path, kind, body):
            return json_response(None, 429)
        early = await self._fault(request, path, kind, BEFORE)
        if early is not None:
            return early
        try:
            reply = self._run(path, kind, body)
        except (InfoError, MalformedActionError):
            return unprocessable()
        if self.budget is not None and path == INFO:
            now_ms = self.exchange.clock.wall_ms()
            self.budget.charge(client, reply_weight(kind, reply), now_ms)
        late = await self._fault(request, path, kind, AFTER)
        return late if late is not None else self._respond(path, kind, body, reply)

    def _pay(self, client: str, path: str, kind: object, body: Any) -> bool:
        if self.budget is None:
            return True
        weight = info_weight(kind) if path == INFO else 1 + batch_size(body) // 40
        return self.budget.spend(client, weight, self.exchange.clock.wall_ms())

    def _run(self, path: str, kind: object, body: Any) -> Any:
        if path == INFO:
            return self._late_status(kind, body, lambda: answer(self.exchange, body))
        self.exchange.venue.fill_fraction = self.faults.fill_fraction(kind)
        try:
            return self.exchange.submit(body)
        finally:
            self.exchange.venue.fill_fraction = None

    def _late_status(self, kind: object, body: Any, ask: Callable[[], Any]) -> Any:
        """Answer; a fault may hide orders that are too young."""
        reply = ask()
        if kind != "orderStatus" or "order" not in reply:
            return reply
        age_ms = self.exchange.clock.now_ms() - reply["order"]["order"]["timestamp"]
        standing = self.faults.standing("late_order_status")
        if standing is None or age_ms >= standing.params["ms"]:
            return reply
        fault = self.faults.draw("late_order_status", INFO, kind)
        return reply if fault is None else {"status": "unknownOid"}

    async def _fault(self, request: Request, path: str, kind: object, when: str) -> Response | None:
        if not self.faults.faults:
            return None
        delay = self.faults.draw("delay", path, kind, when)
        if delay is not None:
            await asyncio.sleep(delay.params["ms"] / 1000)
        failure = self.faults.draw("http", path, kind, when)
        if failure is not None:
            status = failure.params["status"]
            if status == 429:
                return json_response(None, 429)
            return PlainTextResponse("fault on request", status_code=status)
        if self.faults.draw("reset", path, kind, when) is not None:
            reset(request.client)
            return NoReply()
        if when == AFTER:
            dropped = self.faults.draw("drop_reply", path, kind)
            if dropped is not None:
                await asyncio.sleep(dropped.params["hold_ms"] / 1000)
                reset(request.client)
                return NoReply()
        return None

    def _respond(self, path: str, kind: object, body: Any, reply: Any) -> Response:
        stale = self.faults.draw("stale", path, kind) if path == INFO else None
        if stale is None:
            return json_response(reply)
        key = orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()
        kept = stale.memory.setdefault(key, orjson.dumps(reply))
        return Response(kept, media_type="application/json")


def _kind(path: str, body: Any) -> object:
    """What faults and weights call a request: its info type or its action type."""
    if not isinstance(body, dict):
        return None
    if path == INFO:
        return body.get("type")
    action = body.get("action")
    return action.get("type") if isinstance(action, dict) else None
