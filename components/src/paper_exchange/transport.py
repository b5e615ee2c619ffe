"""HTTP connections that can be reset: uvicorn's protocol with a register of its transports."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Peer = tuple[str, int]

_open: dict[Peer, asyncio.Transport] = {}


class ResettableProtocol(H11Protocol):
    """Remembers its transport under the client's address."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if peer is not None:
            _open[peer[0], peer[1]] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            forget(self.client)
        super().connection_lost(exc)


def forget(client: Any) -> None:
    """Drop the register entry of a client that went away."""
    if client is not None:
        _open.pop((client[0], client[1]), None)


def reset(client: Any) -> None:
    """End a client's connection with a TCP reset, whatever was under way."""
    transport = _open.pop((client[0], client[1]), None) if client is not None else None
    if transport is None:
        return
    # A linger time of zero makes the kernel answer with RST instead of FIN.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
