"""How refusals become replies: one shape, ``error`` and ``message``, whoever refuses."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from order_gateway.errors import GatewayError

log = structlog.get_logger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every refusal that is not a fault of this program in its own words."""

    @app.exception_handler(GatewayError)
    async def refused(_: Request, error: GatewayError) -> JSONResponse:
        return JSONResponse(error.body(), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid("; ".join(_fault(item) for item in error.errors()))

    @app.exception_handler(HTTPException)
    async def no_such_route(http: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # the only one that the framework raises
            return _invalid("body: cannot be read as JSON")
        name = HTTPStatus(error.status_code).name.lower()
        message = f"{http.method} {http.url.path}: {error.detail}"
        return JSONResponse(
            {"error": name, "message": message}, error.status_code, headers=error.headers
        )

    @app.exception_handler(SQLAlchemyError)
    async def database_away(_: Request, error: SQLAlchemyError) -> JSONResponse:
        log.error("database_failed", reason=str(error))
        message = "the database does not answer; no order was opened"
        return JSONResponse({"error": "database_unavailable", "message": message}, 503)


def _invalid(message: str) -> JSONResponse:
    return JSONResponse({"error": "invalid_request", "message": message}, 422)


def _fault(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"] if part != "body")
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
