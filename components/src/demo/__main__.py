"""Command line of the demo: ``python -m demo``, behind ``make demo``."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from demo.layout import DEFAULT_PATHS, DemoPaths, DemoPlan, running_demo
from demo.preflight import PreflightError, check, only_one
from demo.processes import clear_orphans, is_alive, record
from demo.session import Session, SessionError
from demo.summary import shortcomings
from demo.supervisor import SupervisorError
from demo.view import make_view
from shared.command_line import Parser
from shared.native_servers import ServerPreparationError

OK, NOT_GOOD, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = """\
Runs the whole platform on this machine: Redis, MariaDB, a paper exchange, the price services, two
observers, the order gateway, Celery beat and workers, all under supervisord. No account, no
internet, no Docker; nothing of the system's own is touched. Everything is in .local/demo.
For a browser there are Flower and, after `make prometheus`, Prometheus; it prints where.
"""
_EPILOG = """\
examples:
  make demo                                  until Ctrl-C; a second one goes on where it stopped
  make demo DURATION=90                      ends by itself, exit code 0 only if it traded well
  make demo DATA=BTC_1m.csv.gz SPEED=60      real one-minute candles or ticks, an hour per minute
  make demo DATA="BTC=a.csv ETH=b.parquet"   several files, named by symbol
  T3__providence__desired_run_count=2000 make demo     any key of config.yml

The last line on stdout is one JSON object:
  ticks, iterations   sampled ticks and committed run iterations of this session
  runs_active         virtual strategies alive
  orders_sent/_filled/_unknown   of this session's intent journal; unknown: in doubt now
  reconciled          the last look left every symbol it knew within minimum_trade_threshold
  max_gap_usd         largest distance to target that it left
  equity              account value
  errors              errors and tracebacks in the processes' logs of this session

exit codes: 0 well; 1 no order filled and reconciled (with DURATION), orders in doubt, errors;
2 bad input, nothing was started.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one demo, or stop or forget the last; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.stop:
            return _stop_running(DEFAULT_PATHS)
        if arguments.clean:
            return _clean(DEFAULT_PATHS)
        return _run(arguments, DEFAULT_PATHS, os.environ)
    except PreflightError as error:
        for fault in error.faults:
            _say(fault)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more, as in `make demo | head`: everything was stopped on the way here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _say("stopped, because its output was closed")
        return INTERRUPTED


def _parser() -> Parser:
    parser = Parser(
        prog="python -m demo",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--duration",
        type=_positive,
        metavar="SECS",
        help="end after this many seconds, counted from the start (default: at Ctrl-C)",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[SYMBOL=]FILE",
        help="replay candles, ticks or best bid/ask (.csv, .csv.gz, .parquet) instead of generated "
        "prices; may be repeated, other symbols keep generated prices",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        metavar="FACTOR",
        help="replay speed, times real time (default 1; needs --data)",
    )
    parser.add_argument(
        "--research",
        action="store_true",
        help="start a worker for optimisation too; it takes all the time that the others leave",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stop", action="store_true", help="stop the demo that runs, or its remains")
    what.add_argument("--clean", action="store_true", help="forget everything in .local/demo")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a number above 0, found {text!r}")
    return value


def _run(arguments: argparse.Namespace, paths: DemoPaths, environ: Mapping[str, str]) -> int:
    with only_one(paths):
        data, speed = tuple(arguments.data), arguments.speed
        plan = check(paths, environ, data, speed)
        cleared = clear_orphans(paths.processes)
        if cleared:
            _say(f"cleared what a killed demo left behind: {', '.join(cleared)}")
            plan = check(paths, environ, data, speed)
        plan = replace(plan, research=arguments.research)
        return _watch_session(plan, arguments.duration)


def _watch_session(plan: DemoPlan, duration_secs: float | None) -> int:
    stop_asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop_asked.set())
    failure = ""
    with make_view() as view:
        session = Session(plan, view.show, stop_asked)
        try:
            summary = session.run(duration_secs)
        except (SessionError, SupervisorError, ServerPreparationError) as error:
            failure = str(error)
            summary = session.summary()
    must_trade = duration_secs is not None and not stop_asked.is_set()
    faults = [failure] if failure else shortcomings(summary, must_trade=must_trade)
    for fault in faults:
        _say(fault)
    for error_line in session.log_errors.last:
        _say(f"{error_line.process}: {error_line.brief}")
    print(summary.to_json(), flush=True)
    return NOT_GOOD if faults else OK


def _stop_running(paths: DemoPaths) -> int:
    pid = running_demo(paths)
    running = None if pid is None else record("demo", pid)
    if running is not None:
        os.kill(running.pid, signal.SIGTERM)
        while is_alive(running):
            threading.Event().wait(0.2)
        _say(f"stopped the demo (process {running.pid})")
        return OK
    with only_one(paths):
        cleared = clear_orphans(paths.processes)
    _say(f"cleared {', '.join(cleared)}" if cleared else "no demo is running")
    return OK


def _clean(paths: DemoPaths) -> int:
    with only_one(paths):
        clear_orphans(paths.processes)
        shutil.rmtree(paths.home)
    _say("forgot the demo's runs, positions, orders and secrets")
    return OK


def _say(sentence: str) -> None:
    print(f"demo: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
