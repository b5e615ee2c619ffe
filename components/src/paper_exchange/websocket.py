"""The ``/ws`` endpoint: one reader and one writer per connection."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from paper_exchange.gate import ACTION, INFO, Gate, Outcome
from paper_exchange.hub import Hub, Outbox, encode
from paper_exchange.info_market import InfoError
from paper_exchange.limits import (
    MAX_CONNECTIONS,
    MAX_NEW_CONNECTIONS,
    MAX_POSTS_IN_FLIGHT,
    MAX_SUBSCRIPTIONS,
    MAX_USERS,
    MAX_WS_MESSAGES,
    WeightBudget,
)
from paper_exchange.topics import normalise

IDLE_SECS = 60.0
GREETING = "Websocket connection established."
SHOWN_CHARS = 500
POST_PATHS = {"info": INFO, "action": ACTION}


@dataclass
class Limits:
    """What one host may do with all its connections together."""

    messages: WeightBudget = field(default_factory=lambda: WeightBudget(MAX_WS_MESSAGES))
    connects: WeightBudget = field(default_factory=lambda: WeightBudget(MAX_NEW_CONNECTIONS))


class Endpoint:
    """Serves connections; ``limits`` None switches the venue's limits off."""

    def __init__(
        self, hub: Hub, gate: Gate, limits: Limits | None, idle_secs: float = IDLE_SECS
    ) -> None:
        self.hub = hub
        self.gate = gate
        self.limits = limits
        self.idle_secs = idle_secs

    async def serve(self, socket: WebSocket) -> None:
        """Run one connection until either side ends it."""
        outbox = Outbox(socket.client)
        if self.limits is not None and not self._may_connect(self.limits, outbox.host):
            await socket.close(code=1008, reason="Too many connections")
            return
        await socket.accept()
        self.hub.connections.add(outbox)
        outbox.send(GREETING)
        tasks = [
            asyncio.create_task(self._write(socket, outbox)),
            asyncio.create_task(self._close_when_idle(outbox)),
        ]
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._receive(outbox, message.get("text") or message.get("bytes") or "")
                # A burst of messages must not keep the writer from sending the answers.
                await asyncio.sleep(0)
        except WebSocketDisconnect:
            return
        finally:
            self.hub.leave(outbox)
            for task in tasks:
                task.cancel()

    def _may_connect(self, limits: Limits, host: str) -> bool:
        now_ms = self.hub.exchange.clock.wall_ms()
        return len(self.hub.peers(host)) < MAX_CONNECTIONS and limits.connects.spend(
            host, 1, now_ms
        )

    async def _write(self, socket: WebSocket, outbox: Outbox) -> None:
        """Send queued frames until there are to be no more, then close."""
        try:
            while (frame := await outbox.frames.get()) is not None:
                await socket.send_text(frame)
        except (WebSocketDisconnect, RuntimeError):
            # The peer went away while a frame was under way; the reader notices and cleans up.
            return
        await socket.close()

    async def _close_when_idle(self, outbox: Outbox) -> None:
        """Close a connection to which nothing was sent for a while."""
        while not outbox.closed:
            left_secs = outbox.sent_at + self.idle_secs - time.monotonic()
            if left_secs <= 0:
                outbox.close()
            else:
                await asyncio.sleep(left_secs)

    async def _receive(self, outbox: Outbox, text: str | bytes) -> None:
        if self.limits is not None:
            now_ms = self.hub.exchange.clock.wall_ms()
            if not self.limits.messages.spend(outbox.host, 1, now_ms):
                outbox.send(encode("error", "Too many websocket messages."))
                return
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            message = None
        method = message.get("method") if isinstance(message, dict) else None
        if method == "ping":
            outbox.send('{"channel":"pong"}')
        elif method in ("subscribe", "unsubscribe"):
            self._change_subscription(outbox, message, method)
        elif method == "post":
            await self._post(outbox, message)
        else:
            start = text[: SHOWN_CHARS * 4]
            shown = start if isinstance(start, str) else start.decode(errors="replace")
            outbox.send(
                encode(
                    "error",
                    "Error parsing JSON into valid websocket request: " + shown[:SHOWN_CHARS],
                )
            )

    # --- subscriptions --------------------------------------------------------------------

    def _change_subscription(self, outbox: Outbox, message: dict[str, Any], method: str) -> None:
        raw, hub = message.get("subscription"), self.hub
        shown = orjson.dumps(raw)[: SHOWN_CHARS * 4].decode(errors="replace")[:SHOWN_CHARS]
        try:
            sub = normalise(hub.exchange, raw)
        except InfoError:
            outbox.send(encode("error", f"Invalid subscription {shown}"))
            return
        ack = encode("subscriptionResponse", {"method": method, "subscription": sub})
        if method == "unsubscribe":
            known = hub.unsubscribe(outbox, sub)
            outbox.send(ack if known else encode("error", f"Already unsubscribed: {shown}"))
            return
        problem = self._limit_problem(outbox, sub)
        if problem is not None:
            outbox.send(encode("error", problem))
            return
        if not hub.subscribe(outbox, sub):
            outbox.send(encode("error", f"Already subscribed: {shown}"))
            return
        outbox.send(ack)
        hub.snapshot(outbox, sub)

    def _limit_problem(self, outbox: Outbox, sub: dict[str, Any]) -> str | None:
        """The venue's refusal of one subscription or user too many."""
        if self.limits is None:
            return None
        held = [s for peer in self.hub.peers(outbox.host) for s in peer.subscriptions.values()]
        if len(held) >= MAX_SUBSCRIPTIONS:
            return f"Cannot subscribe to more than {MAX_SUBSCRIPTIONS} channels."
        users = {s["user"] for s in held if "user" in s}
        if "user" in sub and sub["user"] not in users and len(users) >= MAX_USERS:
            return f"Cannot track more than {MAX_USERS} total users."
        return None

    # --- posts ----------------------------------------------------------------------------

    async def _post(self, outbox: Outbox, message: dict[str, Any]) -> None:
        """Run a post; while faults are set, beside the reader, so that a delay holds up only it."""
        if not self.gate.faults.faults and not outbox.posts:
            await self._answer(outbox, message)
            return
        in_flight = sum(len(peer.posts) for peer in self.hub.peers(outbox.host))
        if self.limits is not None and in_flight >= MAX_POSTS_IN_FLIGHT:
            _reply(outbox, message, {"type": "error", "payload": "Too many inflight posts."})
            return
        task = asyncio.create_task(self._answer(outbox, message))
        outbox.posts.add(task)
        task.add_done_callback(outbox.posts.discard)

    async def _answer(self, outbox: Outbox, message: dict[str, Any]) -> None:
        request = message.get("request")
        request = request if isinstance(request, dict) else {}
        kind, payload = request.get("type"), request.get("payload")
        path = POST_PATHS.get(kind) if isinstance(kind, str) else None
        if path is None:
            _reply(outbox, message, {"type": "error", "payload": "422 Unprocessable Entity"})
            return
        outcome = await self.gate.process(path, payload, outbox.client)
        if outcome.is_gone:
            return
        if outcome.status != 200:
            _reply(outbox, message, {"type": "error", "payload": _error_text(outcome)})
            return
        data: Any = orjson.Fragment(outcome.body)
        if path == INFO and isinstance(payload, dict):
            data = {"type": payload["type"], "data": data}
        _reply(outbox, message, {"type": kind, "payload": data})


def _reply(outbox: Outbox, message: dict[str, Any], response: dict[str, Any]) -> None:
    outbox.send(encode("post", {"id": message.get("id"), "response": response}))


def _error_text(outcome: Outcome) -> str:
    # Newer Pythons call 422 "Unprocessable Content".
    phrase = "Unprocessable Entity" if outcome.status == 422 else HTTPStatus(outcome.status).phrase
    return f"{outcome.status} {phrase}"
