"""The HTTP face of the gateway. Handlers that work are plain functions and run in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from order_gateway.clock import wall_ms
from order_gateway.errors import GatewayError, NotFound
from order_gateway.exits import ExitResult
from order_gateway.guard import RiskStatus
from order_gateway.http_guard import RequestGuard
from order_gateway.models import (
    CLOID_PATTERN,
    SYMBOL_PATTERN,
    CancelAllRequest,
    ExecuteOrder,
    FlattenRequest,
    KillSwitchRequest,
    OrderReply,
    ResumeRequest,
)
from order_gateway.readiness import CONDITIONS
from order_gateway.wiring import Gateway
from shared import instruments, spent_time
from shared.exchange.precision import plain
from shared.orders.states import OrderState
from shared.risk.audit import AuditError

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("order_gateway")

UNAUTHORIZED_EVERY_SECS = 1.0
Cloid = Annotated[str, Path(pattern=CLOID_PATTERN)]


def create_app(gateway: Gateway) -> FastAPI:
    """The application; its background work starts and ends with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gateway.runtime.start()
        yield

    app = FastAPI(
        title="3T order gateway",
        summary="The only process that signs and sends orders.",
        version="1",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.add_middleware(
        RequestGuard,
        token=gateway.token,
        max_body_bytes=gateway.max_body_bytes,
        on_unauthorized=_UnauthorizedLog(gateway),
    )
    _add_error_handlers(app)
    _add_status_routes(app, gateway)
    _add_order_routes(app, gateway)
    _add_risk_routes(app, gateway)
    return app


def _add_order_routes(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/execute_order", response_model=OrderReply)
    def execute_order(order: ExecuteOrder, http: Request, response: Response) -> OrderReply:
        """Carry out an order intent once; the same intent again returns what became of it.

        The ``Server-Timing`` header says where the time went: ``total``, ``journal`` and ``venue``.
        """
        caller = propagate.extract(http.headers)
        attributes = {"intent_id": order.intent_id, "symbol": order.symbol}
        with (
            spent_time.collect() as spent,
            tracer.start_as_current_span(
                "execute_order", caller, kind=SpanKind.SERVER, attributes=attributes
            ) as span,
        ):
            with spent_time.part("total"):
                record = gateway.service.execute(order.request())
            span.set_attribute("state", record.state.value)
            response.headers["Server-Timing"] = spent.server_timing()
            return OrderReply.of(record)

    @app.get("/orders", response_model=list[OrderReply])
    def orders(
        symbol: Annotated[str | None, Query(pattern=SYMBOL_PATTERN)] = None,
        state: OrderState | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[OrderReply]:
        """The newest orders, newest first."""
        records = gateway.journal.recent(symbol=symbol, state=state, limit=limit)
        return [OrderReply.of(record) for record in records]

    @app.get("/orders/{cloid}", response_model=OrderReply)
    def order(cloid: Cloid) -> OrderReply:
        """One order by its client order id."""
        record = gateway.journal.by_cloid(cloid)
        if record is None:
            raise NotFound(f"no order has the client order id {cloid}")
        return OrderReply.of(record)

    @app.post("/orders/{cloid}/cancel", response_model=OrderReply)
    def cancel(cloid: Cloid) -> OrderReply:
        """Cancel an order; one that is gone already is returned as it is."""
        gateway.readiness.require(exit_order=True)
        return OrderReply.of(gateway.exits.cancel(cloid, "asked for over the API"))

    @app.post("/cancel-all", response_model=list[OrderReply])
    def cancel_all(body: CancelAllRequest) -> list[OrderReply]:
        """Cancel resting orders."""
        gateway.readiness.require(exit_order=True)
        records = gateway.exits.cancel_all(body.symbols, f"{body.actor}: {body.reason}")
        return [OrderReply.of(record) for record in records]

    @app.post("/flatten")
    def flatten(body: FlattenRequest) -> dict[str, Any]:
        """Close positions, and keep them closed unless told otherwise."""
        gateway.readiness.require(exit_order=True)
        if body.kill_switch:
            gateway.guard.set_kill_switch(reason=f"flatten: {body.reason}", actor=body.actor)
        results = gateway.exits.flatten(body.symbols, f"{body.actor}: {body.reason}")
        return _flatten_reply(results)


def _add_risk_routes(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/risk")
    def risk() -> dict[str, Any]:
        """State of the risk manager: switch, limits, day, account."""
        return _risk_reply(gateway.guard.status())

    @app.post("/risk/resume")
    def resume(body: ResumeRequest) -> dict[str, Any]:
        """Let a paused symbol be traded again."""
        gateway.guard.resume(body.symbol, reason=body.reason, actor=body.actor)
        return {"symbol": body.symbol, "paused": False}

    @app.post("/risk/kill-switch")
    def kill_switch(body: KillSwitchRequest) -> dict[str, Any]:
        """Set (cancels resting orders) or lift the kill switch."""
        if body.action == "lift":
            switch = gateway.guard.lift_kill_switch(reason=body.reason, actor=body.actor)
            return {"engaged": switch.engaged, "reason": switch.reason}
        switch = gateway.guard.set_kill_switch(reason=body.reason, actor=body.actor)
        reply: dict[str, Any] = {"engaged": switch.engaged, "reason": switch.reason}
        gateway.readiness.require(exit_order=True)
        if body.flatten:
            return reply | _flatten_reply(gateway.exits.flatten(None, "kill switch"))
        cancelled = gateway.exits.cancel_all(None, "kill switch")
        return reply | {"cancelled": [record.cloid for record in cancelled]}


def _add_status_routes(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """Whether orders can be taken; 503 with the reasons if not."""
        unmet = gateway.readiness.reasons()
        return JSONResponse({"ready": not unmet, "unmet": unmet}, 503 if unmet else 200)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics(http: Request) -> Response:
        """Prometheus metrics; with exemplars for those who understand OpenMetrics."""
        unmet = gateway.readiness.reasons()
        for condition in CONDITIONS:
            instruments.set_gateway_condition(condition, condition not in unmet)
        encode, content_type = choose_encoder(http.headers.get("Accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(GatewayError)
    async def refused(_: Request, error: GatewayError) -> JSONResponse:
        return JSONResponse(error.body(), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [_fault(item) for item in error.errors()]
        return JSONResponse({"error": "invalid_request", "message": "; ".join(faults)}, 422)

    @app.exception_handler(SQLAlchemyError)
    async def database_away(_: Request, error: SQLAlchemyError) -> JSONResponse:
        log.error("database_failed", reason=str(error))
        message = "the database does not answer; nothing was sent"
        return JSONResponse({"error": "database_unavailable", "message": message}, 503)


class _UnauthorizedLog:
    """Notes refused requests in the audit trail, at most one line per second, with a count."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = threading.Lock()
        self._noted_at = float("-inf")
        self._unnoted = 0

    def __call__(self, path: str) -> None:
        with self._lock:
            self._unnoted += 1
            if time.monotonic() - self._noted_at < UNAUTHORIZED_EVERY_SECS:
                return
            self._noted_at = time.monotonic()
            count, self._unnoted = self._unnoted, 0
        fields = {"path": path[:100], "count": count}
        log.warning("unauthorized", **fields)
        try:
            self._gateway.audit.append("unauthorized", wall_ms(), fields)
        except AuditError as error:
            log.error("audit_trail_failed", reason=str(error))  # noqa: TRY400


def _fault(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"] if part != "body")
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _flatten_reply(results: list[ExitResult]) -> dict[str, Any]:
    return {
        "flat": all(r.remaining_size == "0" for r in results),
        "symbols": [
            {
                "symbol": r.symbol,
                "remaining_size": r.remaining_size,
                "problem": r.problem,
                "orders": [OrderReply.of(order).model_dump(mode="json") for order in r.orders],
            }
            for r in results
        ],
    }


def _risk_reply(status: RiskStatus) -> dict[str, Any]:
    state, limits = status.state, status.limits
    account = status.account
    return {
        "kill_switch": {
            "engaged": state.kill_switch.engaged,
            "reason": state.kill_switch.reason,
            "actor": state.kill_switch.actor,
            "since_ms": state.kill_switch.since_ms,
        },
        "day": None
        if state.baseline is None
        else {
            "date": state.baseline.day,
            "start_value_usd": plain(state.baseline.account_value),
            "loss": None if status.daily_loss is None else f"{status.daily_loss:.6f}",
        },
        "account": None
        if account is None
        else {
            "account_value_usd": plain(account.account_value),
            "margin_used_usd": plain(account.margin_used),
            "total_notional_usd": plain(account.total_notional),
            "positions": {s: plain(p.size) for s, p in account.positions.items()},
            "as_of_ms": status.account_as_of_ms,
        },
        "cool_down_until_ms": dict(state.cool_down_until_ms),
        "paused_symbols": {s: p.reason for s, p in state.pauses.items()},
        "limits": {name: str(getattr(limits, name)) for name in limits.__dataclass_fields__},
    }
