"""Command line: ``python -m paper_exchange --port 8100``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator

import structlog
import uvicorn

from paper_exchange.accounts import AccountsFileError
from paper_exchange.app import Options, create_app
from paper_exchange.command_line import BAD_INPUT, InputError, build, check, parser
from paper_exchange.exchange import Exchange
from paper_exchange.gate import MAX_BODY_BYTES
from paper_exchange.replay import DataFileError
from paper_exchange.store import Store, StoreError
from paper_exchange.transport import ResettableProtocol
from paper_exchange.universe_file import UniverseError

__all__ = ["build", "main", "parser"]

FATAL = 1


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready and leaves SIGTERM and SIGINT with exit code 0."""

    failed = False
    before_stop: Callable[[], None]

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.before_stop()
        self.should_exit = True

    def fail(self) -> None:
        """Stop because the venue cannot go on."""
        self.failed = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            sys.stdout.write(f"ready http://{host}:{port}\n")
            sys.stdout.flush()


def _bind(host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only on sockets that say TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _build_or_close(
    arguments: argparse.Namespace, listener: socket.socket
) -> tuple[Exchange, Store]:
    """`build`, after the port is ours: a second venue on the port must not touch the state."""
    try:
        return build(arguments)
    except BaseException:
        listener.close()
        raise


def _set_up_logging() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def main(argv: list[str] | None = None) -> int:
    """Run until a signal; returns the exit code."""
    arguments = parser().parse_args(argv)
    _set_up_logging()
    started = time.monotonic()
    try:
        check(arguments)
        listener = _bind(arguments.host, arguments.port)
        exchange, store = _build_or_close(arguments, listener)
    except (InputError, AccountsFileError, DataFileError, UniverseError, StoreError) as error:
        sys.stderr.write(f"paper_exchange: {error}\n")
        return BAD_INPUT
    options = Options(
        admin_token=arguments.admin_token,
        rate_limits=arguments.rate_limits,
        weight_per_minute=arguments.weight_per_minute,
        seed=arguments.seed,
        ws_idle_secs=arguments.ws_idle,
        book_interval_ms=arguments.book_interval,
    )
    app = create_app(exchange, options)
    config = uvicorn.Config(
        app,
        log_level="warning",
        log_config=None,
        access_log=False,
        lifespan="on",
        http=ResettableProtocol,
        ws_ping_interval=None,
        ws_max_size=MAX_BODY_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=60,
    )
    server = Server(config)
    app.state.on_fatal, server.before_stop = server.fail, app.state.release
    log = structlog.get_logger("paper_exchange")
    log.info("starting", seconds=round(time.monotonic() - started, 2), state=arguments.state)
    asyncio.run(server.serve(sockets=[listener]))
    store.close()
    return FATAL if server.failed or not server.started else 0


if __name__ == "__main__":
    raise SystemExit(main())
