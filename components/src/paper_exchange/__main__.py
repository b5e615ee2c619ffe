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
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path

import structlog
import uvicorn

from paper_exchange.accounts import AccountsFileError, load_accounts, open_accounts
from paper_exchange.app import Options, create_app
from paper_exchange.auth import ANY_NETWORK, NETWORKS
from paper_exchange.decimals import parse_decimal
from paper_exchange.exchange import Clock, Exchange
from paper_exchange.feed import Feed
from paper_exchange.replay import DataFileError, Recording, load_recording, split_argument
from paper_exchange.state import SWITCH_CHOICES, Switches, Venue
from paper_exchange.store import Store, StoreError
from paper_exchange.transport import ResettableProtocol
from paper_exchange.universe import Universe, UniverseError, default_universe, load_universe

BAD_INPUT, FATAL = 2, 1


class InputError(ValueError):
    """Bad input; the message is the one sentence the user sees."""


def parser() -> argparse.ArgumentParser:
    """Every option with its meaning."""
    p = argparse.ArgumentParser(
        prog="python -m paper_exchange",
        description="A local venue that speaks the HyperLiquid protocol (REST and WebSocket).",
    )
    p.add_argument("--port", type=int, required=True, help="port to listen on; 0 picks a free one")
    p.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    p.add_argument("--seed", type=int, default=1, help="seed of generated prices (default 1)")
    p.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[SYMBOL=]FILE",
        help="replay candles, ticks or best bid/ask (.csv, .csv.gz, .parquet); may be repeated; "
        "other symbols keep generated prices",
    )
    p.add_argument("--speed", type=float, default=1.0, help="replay speed, times real time")
    p.add_argument("--state", default=":memory:", metavar="FILE", help="SQLite state file")
    p.add_argument(
        "--accounts",
        metavar="FILE",
        help='JSON list of {"address": "0x..", "deposit_usdc": 10000, "agents": ["0x..", ...]}; '
        "accounts that the state knows already are left alone",
    )
    p.add_argument("--universe", metavar="FILE", help="JSON with dexes in the shape of `meta`")
    p.add_argument("--network", choices=NETWORKS, default=ANY_NETWORK, help="signing network")
    p.add_argument("--admin-token", metavar="T", help="enables /admin for bearers of this token")
    p.add_argument(
        "--no-rate-limit",
        dest="rate_limits",
        action="store_false",
        help="no IP weight, address budget or connection limits",
    )
    p.add_argument(
        "--switch",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="undocumented venue behaviour: "
        + "; ".join(f"{name}={'|'.join(values)}" for name, values in SWITCH_CHOICES.items())
        + "; schedule_cancel_volume=USD",
    )
    return p


def build(arguments: argparse.Namespace) -> tuple[Exchange, Store]:
    """Everything behind the port.

    Raises:
        InputError, AccountsFileError, DataFileError, UniverseError, StoreError: bad input.
    """
    if not 0 <= arguments.port <= 65_535:
        raise InputError(f"--port must be 0 to 65535, found {arguments.port}")
    if arguments.seed < 0:
        raise InputError(f"--seed must not be negative, found {arguments.seed}")
    if not 0 < arguments.speed <= 100_000:
        raise InputError(f"--speed must be above 0 and at most 100000, found {arguments.speed:g}")
    accounts = load_accounts(Path(arguments.accounts)) if arguments.accounts else ()
    universe = load_universe(Path(arguments.universe)) if arguments.universe else default_universe()
    recordings = _recordings(arguments.data, universe)
    store = Store(arguments.state)
    clock = Clock()
    saved = store.load_prices(clock.wall_ms())
    feed = Feed(
        universe.markets, arguments.seed, clock.wall_ms(), recordings, arguments.speed, saved
    )
    venue = Venue(universe, arguments.seed, _switches(arguments.switch))
    exchange = Exchange(
        venue, feed, store, clock, arguments.network, address_limits=arguments.rate_limits
    )
    open_accounts(venue, accounts, clock.now_ms())
    exchange.commit()
    return exchange, store


def _recordings(arguments: list[str], universe: Universe) -> dict[str, Recording]:
    coins = [asset.name for asset in universe.assets]
    recordings: dict[str, Recording] = {}
    for argument in arguments:
        coin, path = split_argument(argument, coins)
        if coin in recordings:
            raise InputError(f"--data names {coin} twice: {recordings[coin].path} and {path}")
        recordings[coin] = load_recording(coin, path)
    return recordings


def _switches(arguments: list[str]) -> Switches:
    chosen: dict[str, str] = {}
    volume = Switches().schedule_cancel_volume
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "schedule_cancel_volume":
            volume = _amount(value, "--switch schedule_cancel_volume")
        elif value in SWITCH_CHOICES.get(name, ()):
            chosen[name] = value
        else:
            allowed = ", ".join(SWITCH_CHOICES.get(name, (*SWITCH_CHOICES, "a volume")))
            raise InputError(f"--switch {argument}: allowed is {allowed}")
    return Switches(schedule_cancel_volume=volume, **chosen)


def _amount(text: object, where: str) -> Decimal:
    try:
        amount = parse_decimal(str(text))
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is not an amount of USD") from error
    if amount < 0:
        raise InputError(f"{where}: {text!r} must not be negative")
    return amount


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready and leaves SIGTERM and SIGINT with exit code 0."""

    failed = False

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
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
        listener = _bind(arguments.host, arguments.port)
        exchange, store = _build_or_close(arguments, listener)
    except (InputError, AccountsFileError, DataFileError, UniverseError, StoreError) as error:
        sys.stderr.write(f"paper_exchange: {error}\n")
        return BAD_INPUT
    options = Options(arguments.admin_token, arguments.rate_limits, arguments.seed)
    app = create_app(exchange, options)
    config = uvicorn.Config(
        app,
        log_level="warning",
        log_config=None,
        access_log=False,
        lifespan="on",
        http=ResettableProtocol,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=60,
    )
    server = Server(config)
    app.state.on_fatal = server.fail
    log = structlog.get_logger("paper_exchange")
    log.info("starting", seconds=round(time.monotonic() - started, 2), state=arguments.state)
    asyncio.run(server.serve(sockets=[listener]))
    store.close()
    return FATAL if server.failed or not server.started else 0


if __name__ == "__main__":
    raise SystemExit(main())
