"""What a request must get past before its body is read: the token and the size limit."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

import orjson
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from order_gateway.audit_writer import AuditWriter

log = structlog.get_logger(__name__)

ASSETS = "/docs-assets"
"""Scripts and styles of the documentation page, served from here: no third party is asked."""
OPEN_PATHS = frozenset({"/health", "/ready", "/metrics", "/docs", "/openapi.json"})
BEARER = "bearer "
UNAUTHORIZED_EVERY_SECS = 1.0
BODY_SECS = 10.0


class UnauthorizedLog:
    """Notes refused requests in the audit trail, at most one line per second, with a count."""

    def __init__(self, audit: AuditWriter) -> None:
        self._audit = audit
        self._noted_at = float("-inf")
        self._unnoted = 0

    async def note(self, path: str) -> None:
        """Count one; a line is written from a thread, because a disk may take its time."""
        self._unnoted += 1
        if time.monotonic() - self._noted_at < UNAUTHORIZED_EVERY_SECS:
            return
        self._noted_at = time.monotonic()
        count, self._unnoted = self._unnoted, 0
        await run_in_threadpool(self._write, {"path": path[:100], "count": count})

    def _write(self, fields: dict[str, object]) -> None:
        log.warning("unauthorized", **fields)
        self._audit.write("unauthorized", fields)


class RequestGuard:
    """ASGI middleware: 401 without the right bearer token, 413 beyond ``max_body_bytes``, 408 for
    a body that does not come.

    The 401 says nothing more; the audit trail does.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        max_body_bytes: int,
        unauthorized: UnauthorizedLog,
    ) -> None:
        self._app = app
        self._token_hash = _sha256(token.encode())
        self._max_body_bytes = max_body_bytes
        self._unauthorized = unauthorized

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not _is_open(scope["path"]) and not self._is_authorized(headers):
            await self._unauthorized.note(scope["path"])
            await _reply(send, 401, {"error": "unauthorized"}, (b"www-authenticate", b"Bearer"))
            return
        if _declared_length(headers) > self._max_body_bytes:
            await self._too_large(send)
            return
        try:
            async with asyncio.timeout(BODY_SECS):
                body = await self._read(receive)
        except TimeoutError:
            message = f"the body did not come within {BODY_SECS:g} s"
            await _reply(send, 408, {"error": "request_timeout", "message": message})
            return
        if body is None:
            await self._too_large(send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, or None as soon as more bytes come than are accepted."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)

    def _is_authorized(self, headers: dict[bytes, bytes]) -> bool:
        """Compare hashes of equal length in constant time."""
        value = headers.get(b"authorization", b"")
        scheme, given = value[: len(BEARER)], value[len(BEARER) :]
        matches = hmac.compare_digest(_sha256(given), self._token_hash)
        return matches and scheme.lower() == BEARER.encode()

    async def _too_large(self, send: Send) -> None:
        message = f"the body may have at most {self._max_body_bytes} bytes"
        await _reply(send, 413, {"error": "body_too_large", "message": message})


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(f"{ASSETS}/")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receiver that hands out ``body`` first and then whatever else the client says."""
    handed_out = False

    async def replayed() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _declared_length(headers: dict[bytes, bytes]) -> int:
    value = headers.get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


def _sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


async def _reply(
    send: Send, status: int, body: dict[str, str], *headers: tuple[bytes, bytes]
) -> None:
    headers = ((b"content-type", b"application/json"), *headers)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})
