"""What happens to a request on its way in and out, by HTTP or WebSocket: rate limits and faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from paper_exchange.canonical import MalformedActionError
from paper_exchange.exchange import Exchange
from paper_exchange.faults import AFTER, BEFORE, FaultBox
from paper_exchange.info import answer
from paper_exchange.info_market import InfoError
from paper_exchange.limits import WeightBudget, batch_size, info_weight, reply_weight
from paper_exchange.transport import reset

UNPROCESSABLE = b"Failed to deserialize the JSON body into the target type"
TOO_LARGE = b"length limit exceeded"
MAX_BODY_BYTES = 2 * 1024 * 1024
INFO, ACTION = "/info", "/exchange"
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request came to: an HTTP status and body, or nothing at all (``is_gone``)."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    is_gone: bool = False


MALFORMED = Outcome(422, UNPROCESSABLE, TEXT)
OVER_LIMIT = Outcome(429, b"null")
GONE = Outcome(0, is_gone=True)


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(orjson.dumps(content), status, media_type=JSON)


class NoReply(Response):
    """The connection is gone; nothing is sent."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        return


class BodyError(Exception):
    """A body that cannot be had; ``response`` is all that there is to answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


async def read_body(request: Request) -> bytes:
    """The whole body of a request.

    Raises:
        BodyError: longer than `MAX_BODY_BYTES`, or the client left in its middle.
    """
    parts: list[bytes] = []
    total = 0
    try:
        async for part in request.stream():
            total += len(part)
            if total > MAX_BODY_BYTES:
                # The rest is not read, so the connection cannot be used again.
                raise BodyError(Response(TOO_LARGE, 413, {"connection": "close"}, TEXT))
            parts.append(part)
    except ClientDisconnect as error:
        raise BodyError(NoReply()) from error
    return b"".join(parts)


class Gate:
    """Runs requests against the exchange, through limits and faults."""

    def __init__(self, exchange: Exchange, faults: FaultBox, budget: WeightBudget | None) -> None:
        self.exchange = exchange
        self.faults = faults
        self.budget = budget
        self._leaving = asyncio.Event()

    def release(self) -> None:
        """End every wait that a fault has asked for, because the venue stops."""
        self._leaving.set()

    async def _hold(self, wait_ms: int) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), wait_ms / 1000)

    async def handle(self, request: Request) -> Response:
        """Answer one HTTP request to ``/info`` or ``/exchange``."""
        try:
            body = orjson.loads(await read_body(request))
        except BodyError as error:
            return error.response
        except orjson.JSONDecodeError:
            outcome = MALFORMED
        else:
            outcome = await self.process(request.url.path, body, request.client)
        if outcome.is_gone:
            return NoReply()
        return Response(outcome.body, outcome.status, media_type=outcome.media_type)

    async def process(self, path: str, body: Any, client: Any) -> Outcome:
        """Charge, run and answer one request of a client, (host, port) or None.

        Without faults in force it never waits, so requests of one connection keep their order.
        """
        kind = _kind(path, body)
        host = client[0] if client else ""
        if not self._pay(host, path, kind, body):
            return OVER_LIMIT
        early = await self._fault(client, path, kind, BEFORE)
        if early is not None:
            return early
        try:
            reply = self._run(path, kind, body)
        except (InfoError, MalformedActionError):
            return MALFORMED
        if self.budget is not None and path == INFO:
            now_ms = self.exchange.clock.wall_ms()
            self.budget.charge(host, reply_weight(kind, reply), now_ms)
        late = await self._fault(client, path, kind, AFTER)
        return late if late is not None else self._respond(path, kind, body, reply)

    def _pay(self, host: str, path: str, kind: object, body: Any) -> bool:
        if self.budget is None:
            return True
        weight = info_weight(kind) if path == INFO else 1 + batch_size(body) // 40
        return self.budget.spend(host, weight, self.exchange.clock.wall_ms())

    def _run(self, path: str, kind: object, body: Any) -> Any:
        if not self.faults.faults:
            return answer(self.exchange, body) if path == INFO else self.exchange.submit(body)
        clock, venue = self.exchange.clock, self.exchange.venue
        usual_ms = clock.skew_ms
        clock.skew_ms += self.faults.passing_skew_ms(path, kind)
        try:
            if path == INFO:
                return self._late_status(kind, body, lambda: answer(self.exchange, body))
            venue.fill_fraction = self.faults.fill_fraction(kind)
            return self.exchange.submit(body)
        finally:
            clock.skew_ms, venue.fill_fraction = usual_ms, None

    def _late_status(self, kind: object, body: Any, ask: Callable[[], Any]) -> Any:
        """Answer; a fault may hide orders that are too young."""
        reply = ask()
        if kind != "orderStatus" or "order" not in reply:
            return reply
        age_ms = self.exchange.clock.now_ms() - reply["order"]["order"]["timestamp"]
        standing = self.faults.first("late_order_status")
        if standing is None or age_ms >= standing.params["ms"]:
            return reply
        fault = self.faults.draw("late_order_status", INFO, kind)
        return reply if fault is None else {"status": "unknownOid"}

    async def _fault(self, client: Any, path: str, kind: object, when: str) -> Outcome | None:
        if not self.faults.faults:
            return None
        delay = self.faults.draw("delay", path, kind, when)
        if delay is not None:
            await self._hold(delay.params["ms"])
        failure = self.faults.draw("http", path, kind, when)
        if failure is not None:
            status = failure.params["status"]
            return OVER_LIMIT if status == 429 else Outcome(status, b"fault on request", TEXT)
        if self.faults.draw("reset", path, kind, when) is not None:
            reset(client)
            return GONE
        if when == AFTER:
            dropped = self.faults.draw("drop_reply", path, kind)
            if dropped is not None:
                await self._hold(dropped.params["hold_ms"])
                reset(client)
                return GONE
        return None

    def _respond(self, path: str, kind: object, body: Any, reply: Any) -> Outcome:
        fresh = orjson.dumps(reply)
        if path != INFO or not self.faults.faults:
            return Outcome(200, fresh)
        key = orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()
        return Outcome(200, self.faults.stale(INFO, kind, key, fresh))


def _kind(path: str, body: Any) -> object:
    """What faults and weights call a request: its info type or its action type."""
    if not isinstance(body, dict):
        return None
    if path == INFO:
        return body.get("type")
    action = body.get("action")
    return action.get("type") if isinstance(action, dict) else None
