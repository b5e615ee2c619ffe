"""Wires a gateway and serves it until a signal or a crash of its background work."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from order_gateway.app import create_app
from order_gateway.wiring import build
from shared import instruments, opentelemetry_config
from shared.config import Secrets, Settings

EXIT_OK, EXIT_CRASHED = 0, 1
SHUTDOWN_SECS = 10
SWITCH_SECS = 0.0005
"""An order waits at most this long for a background thread that computes (Python's own: 5 ms)."""


class GatewayServer(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, then returns instead of raising the signal again."""

    crashed = False

    def crash(self) -> None:
        """Stop serving because a part of the gateway failed."""
        self.crashed = True
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Answer the two signals by a clean shutdown."""
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(settings: Settings, secrets: Secrets, listener: socket.socket) -> int:
    """Serve on ``listener``; returns the exit code.

    Raises ``ValueError`` for an unusable key and ``AuditError`` for an unusable audit trail,
    before anything was started.
    """
    opentelemetry_config.setup("order_gateway", settings.observability)
    instruments.set_build_info("order_gateway", settings.mode)
    config = uvicorn.Config(
        "",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECS,
    )
    sys.setswitchinterval(SWITCH_SECS)
    server = GatewayServer(config)
    gateway = build(settings, secrets, server.crash)
    config.app = create_app(gateway)
    try:
        server.run(sockets=[listener])
    finally:
        gateway.runtime.stop()
        gateway.trail.close()
        gateway.manager.close()
        opentelemetry_config.flush_traces()
    return EXIT_CRASHED if server.crashed else EXIT_OK
