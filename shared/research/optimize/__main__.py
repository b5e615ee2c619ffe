"""``python -m shared.research.optimize --data FILES``: search, walk forward, report, one JSON line.

Exit code 0 when it ran, 2 when it cannot be run as asked (one sentence on stderr), 130 when it was
interrupted; the same command then goes on where it was. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from shared.command_line import Parser
from shared.config import ConfigError
from shared.research.errors import ResearchError
from shared.research.request import Request
from shared.research.sources import MARIADB
from shared.research.times import time_ms

EPILOG = """
By default the trials are done by workers that this command starts, with a Redis and a MariaDB of
their own in .local/research; all of it ends with the command, and the trials stay. Where T3_SECRETS
names a platform, the trials are sent to its research workers instead, on any number of hosts that
hold the same files under the same names.

Ctrl-C stops; the same command goes on. More --trials extend a search that is done.
"""


def _parser() -> Parser:
    parser = Parser(
        prog="python -m shared.research.optimize",
        description="Search parameters, judge the choices on later prices, and write a report.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("--data", nargs="+", required=True, help="files, folders, archive or mariadb:…")
    add("--trials", type=int, help="trials per fold (default: research.trials)")
    add("--folds", type=int, help="test windows (default: research.walk_forward.folds)")
    add("--workers", type=int, help="processes here (default: one per processor)")
    add("--symbol", nargs="+", default=(), help="only these symbols")
    add("--from", dest="from_ms", type=time_ms, help="first time, UTC")
    add("--to", dest="to_ms", type=time_ms, help="last time, UTC")
    add("--interval", type=float, help="seconds per tick (default: the candles')")
    add("--repair", action="store_true", help="repair faulty files")
    add("--runs", type=int, help="size of a trial's population (default: research.runs)")
    add("--seed", type=int, default=0)
    add("--balance", type=float, default=10_000.0, help="start balance, USD")
    add("--fee-bps", type=float, help="fee per side (default: config.yml)")
    add("--slippage-bps", type=float, help="slippage per side (default: config.yml)")
    add("--latency-secs", type=float, default=0.0, help="from decision to execution")
    add("--config", help="default: T3_CONFIG or config.yml")
    add("--out", type=Path, help="where the folder is made (default: research.path)")
    return parser


def _request(options: argparse.Namespace) -> Request:
    return Request(
        # workers may run elsewhere
        data=tuple(_absolute(argument) for argument in options.data),
        symbols=tuple(options.symbol),
        from_ms=options.from_ms,
        to_ms=options.to_ms,
        interval_ms=None if options.interval is None else round(options.interval * 1000),
        repair=options.repair,
        runs=options.runs,
        seed=options.seed,
        balance_usd=options.balance,
        fee_bps=options.fee_bps,
        slippage_bps=options.slippage_bps,
        latency_secs=options.latency_secs,
    )


def _absolute(argument: str) -> str:
    if argument.partition(":")[0] == MARIADB:
        return argument
    symbol, separator, rest = argument.partition("=")
    if separator and not Path(argument).exists():
        return f"{symbol}={Path(rest).absolute()}"
    return str(Path(argument).absolute())


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    options = _parser().parse_args(arguments)
    for name in ("optuna", "matplotlib"):
        if find_spec(name) is None:
            sys.stderr.write(f"optimize: {name} is not installed; install the extra 'research'\n")
            return 2
    from shared.research.optimize.api import optimize  # optuna takes seconds to import

    # asked to end by a supervisor or a shell: as by Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        line = optimize(
            _request(options),
            config=options.config,
            trials=options.trials,
            folds=options.folds,
            workers=options.workers,
            root=options.out,
        )
    except (ResearchError, ConfigError, OSError) as error:
        sys.stderr.write(f"optimize: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("optimize: stopped; the same command goes on where it was\n")
        return 130
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
