"""``python -m order_gateway``: read the configuration, wire, serve until told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from order_gateway.app import create_app
from order_gateway.wiring import REQUIRED_SECRETS, build
from shared import opentelemetry_config
from shared.config import ConfigError, load_secrets, load_settings
from shared.risk.audit import AuditError

EXIT_OK, EXIT_CRASHED, EXIT_BAD_CONFIGURATION = 0, 1, 2
SHUTDOWN_SECS = 10


class GatewayServer(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, then ends with exit code 0 instead of raising it again."""

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


def main() -> int:
    """Run the gateway; returns the exit code."""
    try:
        settings = load_settings()
        secrets = load_secrets(require=REQUIRED_SECRETS)
        listener = _bind(settings.order_gateway.host, settings.order_gateway.port)
        opentelemetry_config.setup("order_gateway", settings.observability)
        config = uvicorn.Config("", log_config=None, access_log=False, server_header=False)
        config.timeout_graceful_shutdown = SHUTDOWN_SECS
        server = GatewayServer(config)
        gateway = build(settings, secrets, server.crash)
    except (ConfigError, ValueError, AuditError, OSError) as error:
        print(f"order_gateway: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    config.app = create_app(gateway)
    try:
        server.run(sockets=[listener])
    finally:
        gateway.runtime.stop()
        gateway.audit.close()
        gateway.manager.close()
    return EXIT_CRASHED if server.crashed else EXIT_OK


def _bind(host: str, port: int) -> socket.socket:
    """The listening socket; an ``OSError`` with one clear sentence if it cannot be had."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror})") from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
