"""HTTP of an observer: the report, and whether the process is alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from exchange_observer.service import Observer
from shared.observation import Known, Stale
from shared.opentelemetry_config import web_telemetry


def make_app(observer: Observer) -> FastAPI:
    """The application; it observes for as long as it is served."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(observer.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    app = FastAPI(
        title="3T exchange observer",
        lifespan=lifespan,
        openapi_url=None,
        telemetry=web_telemetry(),
    )

    @app.get("/3T-observer.json")
    async def report() -> JSONResponse:
        known = observer.report()
        if isinstance(known, Known):
            return JSONResponse(known.value.to_json())
        if isinstance(known, Stale):
            error = f"the last complete reading is of {known.as_of_ms}; {observer.failure or ''}"
        else:
            error = known.reason
        return JSONResponse({"observer_id": observer.observer_id, "error": error}, 503)

    @app.get("/metrics")
    async def metrics(http: Request) -> Response:
        encode, content_type = choose_encoder(http.headers.get("Accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        known = observer.report()
        return {
            "status": "alive",
            "observer_id": observer.observer_id,
            "reading": type(known).__name__,
            "failure": observer.failure,
        }

    return app
