"""The HTTP face of the gateway. Handlers that work are plain functions and run in threads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response, Security
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from opentelemetry import trace
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from sqlalchemy.exc import SQLAlchemyError

from order_gateway.errors import GatewayError, NotFound
from order_gateway.http_errors import add_error_handlers
from order_gateway.http_guard import ASSETS, RequestGuard, UnauthorizedLog
from order_gateway.models import (
    CLOID_PATTERN,
    AuditQuery,
    CancelAllRequest,
    ExecuteOrder,
    FlattenRequest,
    KillSwitchRequest,
    OrdersQuery,
    ResumeRequest,
)
from order_gateway.readiness import CONDITIONS
from order_gateway.replies import (
    AliveReply,
    FlattenReply,
    KillSwitchReply,
    OrderReply,
    ReadyReply,
    ResumeReply,
    RiskReply,
    refusals,
)
from order_gateway.service import OPENING_AT_ONCE
from order_gateway.wiring import Gateway
from shared import instruments, spent_time
from shared.opentelemetry_config import web_telemetry
from shared.risk.audit import lines_about

tracer = trace.get_tracer("order_gateway")
MAX_AUDIT_LINES = 1_000
THREADS = 2 * OPENING_AT_ONCE
"""Of handlers: half of them are never taken by opening orders."""

Cloid = Annotated[str, Path(pattern=CLOID_PATTERN)]
DESCRIPTION = """\
Every request but those under *status* carries `Authorization: Bearer <order_gateway.token>`.

An order is journaled before its first byte is sent; the same `intent_id` twice is one order. A
reply that is lost on the way to the venue leaves the order `UNKNOWN` until evidence settles it.
Sizes are in coins, prices and money in USD, all as decimal strings; times are UTC in ms.
"""
GUARDED = {
    401: "no token, or a wrong one; the audit trail says so",
    408: "the body did not come in time",
    413: "the body is larger than `order_gateway.max_body_bytes`",
    422: "a field is not as described, or a filter of the venue objects (`rule`, `value`, `limit`)",
}
BLOCKED = "a risk rule objects: `rule`, the `value` it saw, the `limit` it allows"
CONFLICT = "what is known already contradicts the request"
MISSING = "no such order"
AWAY = "the gateway cannot do this at the moment; the same request may succeed later"


def create_app(gateway: Gateway) -> FastAPI:
    """The application; its background work starts and ends with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        gateway.runtime.start()
        yield

    app = FastAPIOffline(
        title="3T order gateway",
        summary="The only process that signs and sends orders.",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        redoc_url=None,
        telemetry=web_telemetry(),
        static_url=ASSETS,
        swagger_ui_parameters={"persistAuthorization": False, "docExpansion": "list"},
    )
    app.add_middleware(
        RequestGuard,
        token=gateway.token,
        max_body_bytes=gateway.max_body_bytes,
        unauthorized=UnauthorizedLog(gateway.audit),
    )
    add_error_handlers(app)
    app.include_router(_order_routes(gateway))
    app.include_router(_risk_routes(gateway))
    app.include_router(_status_routes(gateway))
    return app


def _guarded(tag: str) -> APIRouter:
    """A router whose routes the middleware lets nobody reach without the token."""
    token = HTTPBearer(auto_error=False, description="order_gateway.token of secrets.yml")
    return APIRouter(tags=[tag], dependencies=[Security(token)], responses=refusals(GUARDED))


def _order_routes(gateway: Gateway) -> APIRouter:
    router = _guarded("orders")

    @router.post("/execute_order", responses=refusals({403: BLOCKED, 409: CONFLICT, 503: AWAY}))
    def execute_order(order: ExecuteOrder, response: Response) -> OrderReply:
        """Carry out an order intent once; the same intent again returns what became of it.

        The ``Server-Timing`` header says where the time went: ``total``, ``journal`` and ``venue``.
        """
        attributes = {"intent_id": order.intent_id, "symbol": order.symbol}
        with (
            spent_time.collect() as spent,
            tracer.start_as_current_span("execute_order", attributes=attributes) as span,
        ):
            with spent_time.part("total"):
                record = gateway.service.execute(order.request())
            span.set_attribute("state", record.state.value)
            response.headers["Server-Timing"] = spent.server_timing()
            return OrderReply.of(record)

    @router.get("/orders", responses=refusals({503: AWAY}))
    def orders(wanted: Annotated[OrdersQuery, Query()]) -> list[OrderReply]:
        """The newest orders, newest first."""
        records = gateway.journal.recent(
            symbol=wanted.symbol, state=wanted.state, limit=wanted.limit
        )
        return [OrderReply.of(record) for record in records]

    @router.get("/orders/{cloid}", responses=refusals({404: MISSING, 503: AWAY}))
    def order(cloid: Cloid) -> OrderReply:
        """One order by its client order id."""
        record = gateway.journal.by_cloid(cloid)
        if record is None:
            raise NotFound(f"no order has the client order id {cloid}")
        return OrderReply.of(record)

    @router.post(
        "/orders/{cloid}/cancel", responses=refusals({404: MISSING, 409: CONFLICT, 503: AWAY})
    )
    def cancel(cloid: Cloid) -> OrderReply:
        """Cancel an order; one that is gone already is returned as it is."""
        gateway.readiness.require(exit_order=True)
        return OrderReply.of(gateway.exits.cancel(cloid, "asked for over the API"))

    @router.post("/cancel-all", responses=refusals({503: AWAY}))
    def cancel_all(body: CancelAllRequest) -> list[OrderReply]:
        """Cancel resting orders."""
        gateway.readiness.require(exit_order=True)
        records = gateway.exits.cancel_all(body.symbols, f"{body.actor}: {body.reason}")
        return [OrderReply.of(record) for record in records]

    @router.post("/flatten", responses=refusals({503: AWAY}))
    def flatten(body: FlattenRequest) -> FlattenReply:
        """Close positions, and keep them closed unless told otherwise."""
        gateway.readiness.require(exit_order=True)
        gateway.exits.require_known(body.symbols)
        if body.kill_switch:
            gateway.guard.set_kill_switch(reason=f"flatten: {body.reason}", actor=body.actor)
        return FlattenReply.of(gateway.exits.flatten(body.symbols, f"{body.actor}: {body.reason}"))

    return router


def _risk_routes(gateway: Gateway) -> APIRouter:
    router = _guarded("risk")

    @router.get("/risk", responses=refusals({503: AWAY}))
    def risk() -> RiskReply:
        """State of the risk manager: switch, limits, day, account."""
        return RiskReply.of(gateway.guard.status())

    @router.get("/audit", responses=refusals({503: AWAY}))
    def audit(wanted: Annotated[AuditQuery, Query()]) -> list[dict[str, Any]]:
        """What the audit trail holds of one intent, oldest first: decisions, cancels."""
        return list(islice(lines_about(gateway.trail.path, wanted.intent_id), MAX_AUDIT_LINES))

    @router.post("/risk/resume", responses=refusals({409: CONFLICT, 503: AWAY}))
    def resume(body: ResumeRequest) -> ResumeReply:
        """Let a paused symbol be traded again."""
        gateway.guard.resume(body.symbol, reason=body.reason, actor=body.actor)
        return ResumeReply(symbol=body.symbol)

    @router.post(
        "/risk/kill-switch",
        response_model_exclude_none=True,
        responses=refusals({409: CONFLICT, 503: AWAY}),
    )
    def kill_switch(body: KillSwitchRequest) -> KillSwitchReply:
        """Set (cancels resting orders) or lift the kill switch."""
        if body.action == "lift":
            switch = gateway.guard.lift_kill_switch(reason=body.reason, actor=body.actor)
            return KillSwitchReply(engaged=switch.engaged, reason=switch.reason)
        switch = gateway.guard.set_kill_switch(reason=body.reason, actor=body.actor)
        reply = KillSwitchReply(engaged=switch.engaged, reason=switch.reason)
        try:
            return reply.model_copy(update=_after_the_switch(gateway, flatten=body.flatten))
        except (GatewayError, SQLAlchemyError) as error:
            return reply.model_copy(update={"problem": _undone(error)})

    return router


def _after_the_switch(gateway: Gateway, *, flatten: bool) -> dict[str, object]:
    """Cancel what rests, and close everything if asked; part of the reply."""
    gateway.readiness.require(exit_order=True)
    if flatten:
        closed = FlattenReply.of(gateway.exits.flatten(None, "kill switch"))
        return {"flat": closed.flat, "symbols": closed.symbols}
    cancelled = gateway.exits.cancel_all(None, "kill switch")
    return {"cancelled": [record.cloid for record in cancelled]}


def _undone(error: GatewayError | SQLAlchemyError) -> str:
    """What a person has to know: the switch is set, the rest is not done."""
    why = str(error) if isinstance(error, GatewayError) else "the database does not answer"
    return f"nothing was cancelled or closed yet: {why}"


def _status_routes(gateway: Gateway) -> APIRouter:
    router = APIRouter(tags=["status"])

    @router.get("/health")
    async def health() -> AliveReply:
        """The process is alive."""
        return AliveReply()

    @router.get("/ready", responses={503: {"model": ReadyReply, "description": "not all is met"}})
    async def ready(response: Response) -> ReadyReply:
        """Whether orders can be taken; 503 with the reasons if not."""
        unmet = gateway.readiness.reasons()
        response.status_code = 503 if unmet else 200
        return ReadyReply(ready=not unmet, unmet=unmet)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics(http: Request) -> Response:
        """Prometheus metrics; with exemplars for those who understand OpenMetrics."""
        unmet = gateway.readiness.reasons()
        for condition in CONDITIONS:
            instruments.set_gateway_condition(condition, condition not in unmet)
        encode, content_type = choose_encoder(http.headers.get("Accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)

    return router
