"""How an HTTP status, or an exception of ``requests``, becomes an error of the venue."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions

from shared.exchange.errors import (
    BadRequest,
    ConnectionLost,
    ConnectionRefused,
    DecodeError,
    NameResolutionFailed,
    RateLimited,
    TlsFailed,
    VenueError,
    VenueServerError,
    VenueTimeout,
)


def raise_for_reply(status: int, text: str, request: str) -> object:
    """Turn one HTTP reply into decoded JSON, or into the error it stands for.

    The single place where a status code becomes an exception. ``request`` names the call in
    messages, e.g. ``info:allMids``.
    """
    excerpt = text[:200]
    if status == 429:
        raise RateLimited(f"{request}: the venue answered 429", status=status, body=excerpt)
    if status >= 500:
        raise VenueServerError(
            f"{request}: the venue answered {status}", status=status, body=excerpt
        )
    if status >= 400:
        raise BadRequest(
            f"{request}: the venue answered {status}: {excerpt}",
            status=status,
            body=excerpt,
        )
    if status != 200:
        raise DecodeError(request, f"unexpected HTTP status {status}", body=excerpt)
    try:
        return json.loads(text)
    except ValueError as error:
        raise DecodeError(request, f"the reply is not JSON: {error}", body=excerpt) from error


def from_transport(error: BaseException, request: str) -> VenueError:
    """Classify an exception of ``requests`` (or of the socket beneath it)."""
    chain = list(_causes(error))
    if any(isinstance(cause, (requests.Timeout, socket.timeout)) for cause in chain):
        return VenueTimeout(f"{request}: no reply in time")
    if any(isinstance(cause, (requests.exceptions.SSLError, ssl.SSLError)) for cause in chain):
        return TlsFailed(f"{request}: the TLS connection failed: {error}")
    if any(
        isinstance(cause, (urllib3.exceptions.NameResolutionError, socket.gaierror))
        for cause in chain
    ):
        return NameResolutionFailed(f"{request}: the host name cannot be resolved")
    if any(isinstance(cause, ConnectionRefusedError) for cause in chain):
        return ConnectionRefused(f"{request}: connection refused")
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in chain):
        return ConnectionLost(f"{request}: the proxy failed: {error}")
    return ConnectionLost(f"{request}: the connection failed: {error}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself and what it was made from: causes, wrapped reasons, arguments.

    Not ``__context__``: that also leads to errors of earlier calls, and a reset that follows a
    refused connection must never pass for a refusal.
    """
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        related = (
            current.__cause__,
            getattr(current, "reason", None),
            *current.args,
        )
        pending.extend(item for item in related if isinstance(item, BaseException))
