"""Options of the command line, and the venue that they describe."""

from __future__ import annotations

import argparse
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from paper_exchange.accounts import load_accounts, open_accounts
from paper_exchange.auth import ANY_NETWORK, NETWORKS
from paper_exchange.decimals import parse_decimal
from paper_exchange.exchange import Clock, Exchange
from paper_exchange.feed import Feed
from paper_exchange.limits import WEIGHT_PER_MINUTE
from paper_exchange.prices import STEP_MS
from paper_exchange.replay import Recording, load_recording, split_argument
from paper_exchange.state import SWITCH_CHOICES, Switches, Venue
from paper_exchange.store import Store
from paper_exchange.universe import Universe, default_universe
from paper_exchange.universe_file import load_universe

BAD_INPUT = 2
SWITCHES_VARIABLE = "PAPER_EXCHANGE_SWITCHES"
MAX_SPEED = 100_000
MAX_TIME_MS = 4_102_444_800_000

EPILOG = """\
When it is ready it prints one line, `ready http://127.0.0.1:PORT`. Bad input: one sentence, exit 2.

examples:
  a venue with generated prices that keeps its state:
    python -m paper_exchange --port 8100 --accounts accounts.json --state paper.db
  replay a recorded week in two minutes:
    python -m paper_exchange --port 8100 --data BTC=btc_1m.csv.gz --speed 5000
  for tests: a free port, faults on request, no limits, time that moves only when told:
    python -m paper_exchange --port 0 --admin-token secret --no-rate-limit \\
        --start-time 1767225600000

accounts.json:
  [{"address": "0x1479...9325", "deposit_usdc": 10000, "agents": ["0x5cbd...07fb"]}]

point clients at it (more in docs/paper-exchange.md):
  ccxt  ccxt.hyperliquid({..., "urls": {"api": {"public": URL, "private": URL}}})
  SDK   hyperliquid.exchange.Exchange(wallet, URL)
"""


class InputError(ValueError):
    """Bad input; the message is the one sentence the user sees."""


class Parser(argparse.ArgumentParser):
    """Errors are one sentence with exit code 2, like those of every other bad input."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"paper_exchange: {message} (see --help)\n")
        raise SystemExit(BAD_INPUT)


def parser() -> argparse.ArgumentParser:
    """Every option with its meaning."""
    p = Parser(
        prog="python -m paper_exchange",
        description="A local venue that speaks the HyperLiquid protocol (REST and WebSocket).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--port", type=int, required=True, help="port to listen on; 0 picks a free one")
    p.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    _add_market_options(p)
    _add_account_options(p)
    _add_behaviour_options(p)
    return p


def _add_market_options(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("prices and time")
    group.add_argument("--seed", type=int, default=1, help="seed of generated prices (default 1)")
    group.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[SYMBOL=]FILE",
        help="replay candles, ticks or best bid/ask (.csv, .csv.gz, .parquet); may be repeated; "
        "other symbols keep generated prices; after its end the last price stays",
    )
    group.add_argument(
        "--speed", type=float, default=1.0, help=f"replay speed, times real time (to {MAX_SPEED})"
    )
    group.add_argument(
        "--start-time",
        type=int,
        metavar="MS",
        help="the venue's time begins here (Unix ms) and moves only by POST /admin/time",
    )
    group.add_argument("--universe", metavar="FILE", help="JSON with dexes in the shape of `meta`")
    group.add_argument(
        "--book-interval",
        type=int,
        default=500,
        metavar="MS",
        help=f"time between l2Book messages, {STEP_MS} to 60000 (default 500, as the venue's)",
    )


def _add_account_options(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("accounts and state")
    group.add_argument("--state", default=":memory:", metavar="FILE", help="SQLite state file")
    group.add_argument(
        "--accounts",
        metavar="FILE",
        help='JSON list of {"address", "deposit_usdc", "agents": [address, ...]}; accounts that '
        "the state knows already are left alone",
    )
    group.add_argument(
        "--network",
        choices=NETWORKS,
        default=ANY_NETWORK,
        help="signatures to accept (default any: ccxt signs as mainnet, the SDK as testnet)",
    )


def _add_behaviour_options(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("behaviour")
    group.add_argument(
        "--admin-token",
        metavar="T",
        help="enables /admin (faults, time, deposits) for bearers of this token on loopback",
    )
    group.add_argument(
        "--no-rate-limit",
        dest="rate_limits",
        action="store_false",
        help="no IP weight, address budget or connection limits",
    )
    group.add_argument(
        "--weight-per-minute",
        type=int,
        default=WEIGHT_PER_MINUTE,
        metavar="N",
        help=f"IP weight; more is answered 429 (default {WEIGHT_PER_MINUTE}, as the venue's)",
    )
    group.add_argument(
        "--ws-idle",
        type=float,
        default=60.0,
        metavar="SECS",
        help="close a WebSocket on which nothing was sent for this long (default 60)",
    )
    group.add_argument(
        "--switch",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="undocumented venue behaviour, the default first: "
        + "; ".join(f"{name}={'|'.join(values)}" for name, values in SWITCH_CHOICES.items())
        + f"; schedule_cancel_volume=USD (1000000); also comma-separated in {SWITCHES_VARIABLE}",
    )


def check(arguments: argparse.Namespace) -> None:
    """Ranges that argparse does not know.

    Raises:
        InputError: naming the option and what is allowed.
    """
    if not 0 <= arguments.port <= 65_535:
        raise InputError(f"--port must be 0 to 65535, found {arguments.port}")
    if arguments.seed < 0:
        raise InputError(f"--seed must not be negative, found {arguments.seed}")
    if not 0 < arguments.speed <= MAX_SPEED:
        raise InputError(
            f"--speed must be above 0 and at most {MAX_SPEED}, found {arguments.speed:g}"
        )
    if not STEP_MS <= arguments.book_interval <= 60_000:
        raise InputError(
            f"--book-interval must be {STEP_MS} to 60000, found {arguments.book_interval}"
        )
    if not 1 <= arguments.weight_per_minute <= 1_000_000:
        raise InputError(
            f"--weight-per-minute must be 1 to 1000000, found {arguments.weight_per_minute}"
        )
    if not 0.1 <= arguments.ws_idle <= 86_400:
        raise InputError(f"--ws-idle must be 0.1 to 86400, found {arguments.ws_idle:g}")
    start = arguments.start_time
    if start is None:
        return
    if not 0 < start <= MAX_TIME_MS:
        raise InputError(f"--start-time must be Unix milliseconds up to {MAX_TIME_MS}")
    if arguments.admin_token is None:
        raise InputError("--start-time needs --admin-token, because only /admin/time moves it")


def build(arguments: argparse.Namespace) -> tuple[Exchange, Store]:
    """Everything behind the port, from options that `check` has passed.

    Raises:
        InputError, AccountsFileError, DataFileError, UniverseError, StoreError: bad input.
    """
    switches = _switches([*_switches_of_environment(), *arguments.switch])
    accounts = load_accounts(Path(arguments.accounts)) if arguments.accounts else ()
    universe = load_universe(Path(arguments.universe)) if arguments.universe else default_universe()
    recordings = _recordings(arguments.data, universe)
    store = Store(arguments.state)
    clock = Clock(arguments.start_time)
    saved = store.load_prices(clock.wall_ms())
    if clock.driven_ms is not None and saved is not None:
        # A state that is further goes on from its own time.
        clock.driven_ms = max(clock.driven_ms, int(saved.times_ms[-1]))
    feed = Feed(
        universe.markets, arguments.seed, clock.wall_ms(), recordings, arguments.speed, saved
    )
    venue = Venue(universe, arguments.seed, switches)
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
            volume = _volume(value)
        elif value in SWITCH_CHOICES.get(name, ()):
            chosen[name] = value
        else:
            known = (*SWITCH_CHOICES, "schedule_cancel_volume")
            allowed = ", ".join(SWITCH_CHOICES.get(name, known))
            raise InputError(f"--switch {argument}: allowed is {allowed}")
    return Switches(schedule_cancel_volume=volume, **chosen)


def _switches_of_environment() -> list[str]:
    """Switches for venues that somebody else starts, such as those of a whole test suite."""
    return [entry for entry in os.environ.get(SWITCHES_VARIABLE, "").split(",") if entry]


def _volume(text: str) -> Decimal:
    try:
        amount = parse_decimal(text)
    except ValueError as error:
        raise InputError(
            f"--switch schedule_cancel_volume: {text!r} is not an amount of USD"
        ) from error
    if amount < 0:
        raise InputError(f"--switch schedule_cancel_volume: {text!r} must not be negative")
    return amount
