"""HTTP routes of `paper_exchange.admin`; they exist only when a token is set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paper_exchange.admin import (
    AdminError,
    apply_standing,
    ledger,
    may_enter,
    move_money,
    move_time,
    set_fault,
    time_payload,
)
from paper_exchange.exchange import Exchange
from paper_exchange.faults import FaultBox
from paper_exchange.gate import BodyError, json_response, read_body
from paper_exchange.hub import Hub

Endpoint = Callable[[Request], Awaitable[Response]]
Work = Callable[[Any], Any]


def admin_routes(exchange: Exchange, hub: Hub, faults: FaultBox, token: str) -> list[Route]:
    """``/admin``: loopback only, bearer token."""

    def guarded(work: Work) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            client = request.client.host if request.client else ""
            if not may_enter(client, request.headers.get("authorization"), token):
                return json_response({"error": "loopback and the admin token are required"}, 401)
            try:
                raw = await read_body(request)
                found = work(orjson.loads(raw) if raw else None)
                return json_response(await found if isawaitable(found) else found)
            except BodyError as error:
                return error.response
            except orjson.JSONDecodeError:
                return json_response({"error": "the body is not JSON"}, 400)
            except AdminError as error:
                return json_response({"error": str(error)}, 400)

        return endpoint

    def list_faults(_body: Any) -> Any:
        return [fault.payload() for fault in faults.faults.values()]

    def clear_faults(body: Any) -> Any:
        fault_id = body.get("id") if isinstance(body, dict) else None
        if fault_id is not None and not isinstance(fault_id, int):
            raise AdminError("id must be the number of a fault")
        faults.clear(fault_id)
        apply_standing(exchange, faults)
        return list_faults(None)

    return [
        Route("/admin/ledger", guarded(lambda _body: ledger(exchange)), methods=["GET"]),
        Route("/admin/time", guarded(lambda _body: time_payload(exchange)), methods=["GET"]),
        Route("/admin/time", guarded(lambda body: move_time(exchange, body)), methods=["POST"]),
        Route("/admin/faults", guarded(list_faults), methods=["GET"]),
        Route(
            "/admin/faults",
            guarded(lambda body: set_fault(exchange, hub, faults, body)),
            methods=["POST"],
        ),
        Route("/admin/faults", guarded(clear_faults), methods=["DELETE"]),
        Route(
            "/admin/deposit",
            guarded(lambda body: move_money(exchange, body, into=True)),
            methods=["POST"],
        ),
        Route(
            "/admin/withdraw",
            guarded(lambda body: move_money(exchange, body, into=False)),
            methods=["POST"],
        ),
    ]
