"""Command line of an observer: wire and run."""

from __future__ import annotations

import argparse
import re
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from exchange_observer.app import make_app
from exchange_observer.reader import AccountRoute
from exchange_observer.service import Observer
from shared import instruments
from shared.clock import SystemClock
from shared.command_line import Parser
from shared.config import ConfigError, Secrets, Settings, load_secrets, load_settings
from shared.opentelemetry_config import flush_traces, setup
from shared.reconciliation.consensus import LOCAL_VOTER

USAGE_ERROR = 2
DEFAULT_PORT = 8001
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PROXY = re.compile(r"https?://\S+")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 then, 2 for anything unusable at start."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings()
        secrets = load_secrets(require=["exchanges.hyperliquid.walletAddress"])
        listener = _listen(settings.exchange_observer.host, arguments.port)
    except ConfigError as error:
        print(f"exchange_observer: {error}", file=sys.stderr)
        return USAGE_ERROR
    setup(arguments.observer_id, settings.observability)
    instruments.set_build_info(arguments.observer_id, settings.mode)
    observer = _observer(arguments, settings, secrets)
    # uvicorn ends on SIGTERM by itself and then raises the signal again: that one is ours
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    server = uvicorn.Server(
        uvicorn.Config(make_app(observer), log_config=None, access_log=False, lifespan="on")
    )
    server.run(sockets=[listener])
    flush_traces()
    return 0


def _observer(arguments: argparse.Namespace, settings: Settings, secrets: Secrets) -> Observer:
    hyperliquid, own = settings.exchanges.hyperliquid, settings.exchange_observer
    route = AccountRoute(
        settings.venue.rest_url,
        secrets.exchanges.hyperliquid.walletAddress,
        ("", *hyperliquid.dexes),
        timeout_secs=hyperliquid.timeout_secs,
        proxy=arguments.proxy,
    )
    return Observer(
        arguments.observer_id,
        route,
        SystemClock(),
        interval_secs=arguments.interval or own.poll_interval_secs,
        max_age_ms=round(own.max_age_secs * 1000),
    )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror})") from None
    return listener


def _parser() -> Parser:
    parser = Parser(
        prog="python -m exchange_observer",
        description="Read the account over a route of its own and publish it for the quorum.",
    )
    parser.add_argument("--observer-id", required=True, type=_observer_id, help="its name")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}; 0: a free one"
    )
    parser.add_argument("--proxy", type=_proxy_url, help="the route: an HTTP proxy")
    parser.add_argument(
        "--interval", type=_interval, help="seconds between readings, default from config.yml"
    )
    return parser


def _observer_id(text: str) -> str:
    if not _NAME.fullmatch(text) or text == LOCAL_VOTER:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name: letters, digits, _ . - (at most 64), and not {LOCAL_VOTER!r}"
        )
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _proxy_url(text: str) -> str:
    if not _PROXY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://127.0.0.1:8080")
    return text


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.2 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.2 to 60")
    return value


if __name__ == "__main__":
    sys.exit(main())
