"""``python -m order_gateway``: read the configuration, wire, serve until told to stop."""

from __future__ import annotations

import socket
import sys

from shared.config import ConfigError, Secrets, Settings, load_secrets, load_settings

EXIT_BAD_CONFIGURATION = 2
REQUIRED_SECRETS = (
    "exchanges.hyperliquid.walletAddress",
    "exchanges.hyperliquid.privateKey",
    "database.app_password",
    "order_gateway.token",
)


def main() -> int:
    """Run the gateway; returns the exit code: 0 told to stop, 1 crashed, 2 bad configuration."""
    try:
        settings = load_settings()
        secrets = load_secrets(require=REQUIRED_SECRETS)
        listener = _bind(settings.order_gateway.host, settings.order_gateway.port)
    except (ConfigError, OSError) as error:
        print(f"order_gateway: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    return _serve(settings, secrets, listener)


def _serve(settings: Settings, secrets: Secrets, listener: socket.socket) -> int:
    """Load the heavy parts, which a fault in the configuration need not wait for, and serve."""
    from order_gateway.server import serve
    from shared.risk.audit import AuditError

    try:
        return serve(settings, secrets, listener)
    except (ValueError, OSError, AuditError) as error:
        print(f"order_gateway: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION


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
