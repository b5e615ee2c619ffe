"""HTTP and WebSocket on one port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from paper_exchange.canonical import MalformedActionError
from paper_exchange.exchange import Exchange
from paper_exchange.hub import Hub
from paper_exchange.info import answer
from paper_exchange.info_market import InfoError
from paper_exchange.prices import STEP_MS
from paper_exchange.websocket import serve

UNPROCESSABLE = "Failed to deserialize the JSON body into the target type"

log = structlog.get_logger("paper_exchange")


class JsonResponse(Response):
    """JSON by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def unprocessable() -> Response:
    """The venue's answer to a body that does not deserialise."""
    return PlainTextResponse(UNPROCESSABLE, status_code=422)


def create_app(exchange: Exchange) -> Starlette:
    """The application; ``app.state.on_fatal`` is called if the price loop dies."""
    hub = Hub(exchange)

    async def info(request: Request) -> Response:
        try:
            return JsonResponse(answer(exchange, orjson.loads(await request.body())))
        except (InfoError, orjson.JSONDecodeError):
            return unprocessable()

    async def act(request: Request) -> Response:
        try:
            return JsonResponse(exchange.submit(orjson.loads(await request.body())))
        except (MalformedActionError, orjson.JSONDecodeError):
            return unprocessable()

    async def health(_request: Request) -> Response:
        return JsonResponse({"status": "ok", "time": exchange.clock.now_ms()})

    async def websocket(socket: WebSocket) -> None:
        await serve(hub, socket)

    routes: list[BaseRoute] = [
        Route("/info", info, methods=["POST"]),
        Route("/exchange", act, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
        WebSocketRoute("/ws", websocket),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        ticker = asyncio.create_task(_tick(exchange))
        ticker.add_done_callback(lambda task: _report(task, app.state.on_fatal))
        yield
        ticker.cancel()
        for outbox in list(hub.connections):
            outbox.close()

    return Starlette(routes=routes, lifespan=lifespan)


async def _tick(exchange: Exchange) -> None:
    """Move prices at every step boundary of the wall clock."""
    while True:
        exchange.advance()
        await asyncio.sleep((STEP_MS - exchange.clock.wall_ms() % STEP_MS) / 1000)


def _report(task: asyncio.Task[None], on_fatal: Callable[[], None]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        log.error("price_loop_died", exc_info=error)
        on_fatal()
