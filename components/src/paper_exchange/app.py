"""HTTP and WebSocket on one port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from paper_exchange.admin_routes import admin_routes
from paper_exchange.exchange import Exchange
from paper_exchange.faults import FaultBox
from paper_exchange.gate import Gate, json_response
from paper_exchange.hub import Hub
from paper_exchange.limits import WEIGHT_PER_MINUTE, WeightBudget
from paper_exchange.prices import STEP_MS
from paper_exchange.websocket import IDLE_SECS, Endpoint, Limits

log = structlog.get_logger("paper_exchange")


@dataclass(frozen=True)
class Options:
    """What the edge needs beyond the exchange itself."""

    admin_token: str | None = None
    rate_limits: bool = True
    weight_per_minute: int = WEIGHT_PER_MINUTE
    seed: int = 1
    ws_idle_secs: float = IDLE_SECS
    book_interval_ms: int = 500


def create_app(exchange: Exchange, options: Options) -> Starlette:
    """The application.

    It calls ``app.state.on_fatal`` if the price loop dies; whoever stops it calls
    ``app.state.release`` first, so that no request is held up by a fault.
    """
    faults = FaultBox(options.seed)
    coins = [asset.name for asset in exchange.feed.assets]
    exchange.feed.frozen_now = lambda: faults.frozen_coins(coins) if faults.faults else set()
    hub = Hub(exchange, faults, options.book_interval_ms)
    budget = WeightBudget(options.weight_per_minute) if options.rate_limits else None
    gate = Gate(exchange, faults, budget)
    limits = Limits() if options.rate_limits else None
    endpoint = Endpoint(hub, gate, limits, options.ws_idle_secs)

    async def health(_request: Request) -> Response:
        return json_response({"status": "ok", "time": exchange.clock.now_ms()})

    routes: list[BaseRoute] = [
        Route("/info", gate.handle, methods=["POST"]),
        Route("/exchange", gate.handle, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
        WebSocketRoute("/ws", endpoint.serve),
    ]
    if options.admin_token is not None:
        routes += admin_routes(exchange, hub, faults, options.admin_token)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        ticker = asyncio.create_task(_tick(exchange))
        ticker.add_done_callback(lambda task: _report(task, app.state.on_fatal))
        yield
        ticker.cancel()
        for outbox in list(hub.connections):
            outbox.close()

    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.release = gate.release
    return app


async def _tick(exchange: Exchange) -> None:
    """Move prices at every step boundary; with a driven clock, only see that the venue lives."""
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
