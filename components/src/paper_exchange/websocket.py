"""The ``/ws`` endpoint: one reader and one writer per connection."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from paper_exchange.canonical import MalformedActionError
from paper_exchange.hub import Hub, Outbox, encode
from paper_exchange.info import answer
from paper_exchange.info_market import InfoError
from paper_exchange.limits import (
    MAX_CONNECTIONS,
    MAX_SUBSCRIPTIONS,
    MAX_USERS,
    MAX_WS_MESSAGES,
    WeightBudget,
)
from paper_exchange.topics import normalise

IDLE_SECS = 60.0
GREETING = "Websocket connection established."


async def serve(hub: Hub, socket: WebSocket, limited: bool) -> None:
    """Run one connection until either side ends it; ``limited`` enforces the venue's limits."""
    client = socket.client
    peers = [o for o in hub.connections if o.client and client and o.client[0] == client[0]]
    if limited and len(peers) >= MAX_CONNECTIONS:
        await socket.close(code=1008, reason="Too many connections")
        return
    await socket.accept()
    outbox = Outbox(client)
    budget = WeightBudget(MAX_WS_MESSAGES) if limited else None
    hub.connections.add(outbox)
    outbox.send(GREETING)
    writer = asyncio.create_task(_write(socket, outbox))
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if budget is not None and not budget.spend("", 1, hub.exchange.clock.wall_ms()):
                outbox.send(encode("error", "Too many websocket messages."))
                continue
            _handle(hub, outbox, message.get("text") or message.get("bytes") or "", limited)
    except WebSocketDisconnect:
        return
    finally:
        hub.leave(outbox)
        writer.cancel()


async def _write(socket: WebSocket, outbox: Outbox) -> None:
    """Send queued frames; a connection that got nothing for a minute is closed."""
    try:
        while True:
            frame = await asyncio.wait_for(outbox.frames.get(), IDLE_SECS)
            if frame is None:
                break
            await socket.send_text(frame)
    except TimeoutError:
        outbox.closed = True
    except (WebSocketDisconnect, RuntimeError):
        # The peer went away while a frame was under way; the reader notices and cleans up.
        return
    await socket.close()


def _handle(hub: Hub, outbox: Outbox, text: str | bytes, limited: bool) -> None:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        message = None
    method = message.get("method") if isinstance(message, dict) else None
    if method == "ping":
        outbox.send('{"channel":"pong"}')
    elif method in ("subscribe", "unsubscribe"):
        _change_subscription(hub, outbox, message, method, limited)
    elif method == "post":
        _post(hub, outbox, message)
    else:
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        outbox.send(
            encode("error", f"Error parsing JSON into valid websocket request: {shown[:500]}")
        )


def _change_subscription(
    hub: Hub, outbox: Outbox, message: dict[str, Any], method: str, limited: bool
) -> None:
    raw = message.get("subscription")
    shown = orjson.dumps(raw).decode()
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
    problem = _limit_problem(outbox, sub) if limited else None
    if problem is not None:
        outbox.send(encode("error", problem))
        return
    if not hub.subscribe(outbox, sub):
        outbox.send(encode("error", f"Already subscribed: {shown}"))
        return
    outbox.send(ack)
    hub.snapshot(outbox, sub)


def _limit_problem(outbox: Outbox, sub: dict[str, Any]) -> str | None:
    """The venue's refusal of one subscription or user too many."""
    if len(outbox.subscriptions) >= MAX_SUBSCRIPTIONS:
        return "Too many subscriptions."
    users = {s["user"] for s in outbox.subscriptions.values() if "user" in s}
    if "user" in sub and sub["user"] not in users and len(users) >= MAX_USERS:
        return "Cannot track more than 10 total users."
    return None


def _post(hub: Hub, outbox: Outbox, message: dict[str, Any]) -> None:
    request = message.get("request")
    request = request if isinstance(request, dict) else {}
    kind, payload = request.get("type"), request.get("payload")
    try:
        if kind == "info":
            data = answer(hub.exchange, payload)
            name = payload.get("type") if isinstance(payload, dict) else None
            response = {"type": "info", "payload": {"type": name, "data": data}}
        elif kind == "action":
            response = {"type": "action", "payload": hub.exchange.submit(payload)}
        else:
            response = {"type": "error", "payload": "422 Unprocessable Entity"}
    except (InfoError, MalformedActionError):
        response = {"type": "error", "payload": "422 Unprocessable Entity"}
    outbox.send(encode("post", {"id": message.get("id"), "response": response}))
