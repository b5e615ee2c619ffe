"""By hand: one reconciliation, and why there was an order or none.

``python -m worker.cli reconcile [--dry-run]``
``python -m worker.cli why (--symbol BTC | --order INTENT_ID_OR_CLOID) [--limit 10]``
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from shared.command_line import Parser
from shared.config import ConfigError, Settings, load_secrets, load_settings
from shared.database import UnitOfWork
from shared.risk.audit import lines_about
from worker import wiring
from worker.reconciliation_engine import LEASE, gateway_client, lease_secs, reconciler
from worker.services.reconciliation import Looked, Report
from worker.services.why_report import (
    NothingFound,
    order_story,
    show_order,
    show_reasons,
    symbol_reasons,
)
from worker.services.work_lease import work_lease
from worker.wiring import Wiring

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
SECRETS = ("database.app_password", "redis.password", "order_gateway.token")
_COLOURS = {"trade": "green", "hold": "cyan", "wait": "yellow", "unknown": "red"}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is not reachable or not found, 2 bad input, 130 Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings()
        secrets = load_secrets(require=SECRETS if arguments.command == "reconcile" else SECRETS[:1])
    except ConfigError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    logging.basicConfig(level=logging.ERROR)
    wired = wiring.build(settings, secrets)
    try:
        if arguments.command == "reconcile":
            return _reconcile(wired, dry_run=arguments.dry_run)
        return _why(wired, arguments)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        print(f"{arguments.command}: the database cannot be used: {reason}", file=sys.stderr)
        return FAILED
    except RedisError as error:
        print(f"{arguments.command}: Redis cannot be used: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        after = "; what was sent is settled by the gateway" if arguments.command != "why" else ""
        print(f"{arguments.command}: interrupted{after}", file=sys.stderr)
        return INTERRUPTED


def _reconcile(wired: Wiring, *, dry_run: bool) -> int:
    with closing(reconciler(wired)) as use_case:
        if dry_run:
            Console().print(_report_table(use_case.look(), wired.settings))
            return OK
        with work_lease(wired.redis, LEASE, lease_secs(wired.settings)) as held:
            if not held:
                print("reconcile: another reconciliation is under way; try again", file=sys.stderr)
                return FAILED
            Console().print(_report_table(use_case.reconcile(), wired.settings))
    return OK


def _why(wired: Wiring, arguments: argparse.Namespace) -> int:
    console = Console()
    try:
        with UnitOfWork(wired.engine) as uow:
            if arguments.order is not None:
                story = order_story(uow.conn, arguments.order, _audited(wired))
                console.print(show_order(story))
            else:
                console.print(
                    show_reasons(symbol_reasons(uow.conn, arguments.symbol, arguments.limit))
                )
    except NothingFound as error:
        traded = wired.settings.reconciliation_engine.symbols
        hint = ""
        if arguments.symbol is not None and arguments.symbol not in traded:
            hint = f"; reconciliation_engine.symbols are {', '.join(traded)}"
        print(f"why: {error}{hint}", file=sys.stderr)
        return FAILED
    return OK


def _audited(wired: Wiring) -> Callable[[str], Iterable[Mapping[str, Any]]]:
    """The audit trail where it is on this machine; else, as in a container, by the gateway."""
    trail = wired.settings.risk.audit_trail
    if trail.exists():
        return partial(lines_about, trail)
    return gateway_client(wired).audited


def _report_table(report: Report, settings: Settings) -> Table:
    """One row per symbol; without an order there are no columns for one."""
    rows = [_row(looked) for looked in report.looked]
    sent = any(looked.order is not None for looked in report.looked)
    names = ["symbol", "decision", "position", "target", "gap USD"]
    table = Table(title=f"Reconciliation ({settings.mode})", title_justify="left")
    for name in [*names, *(["order", "reply"] if sent else [])]:
        numeric = name in ("position", "target", "gap USD")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    table.add_column("because")
    for cells in rows:
        table.add_row(*(cells if sent else [*cells[:5], cells[-1]]))
    return table


def _row(looked: Looked) -> list[str | Text]:
    plan, decision = looked.verdict.plan, looked.verdict.decision.value
    order = "" if looked.order is None else f"{looked.order.side} {looked.order.size:f}"
    reply = "" if looked.reply is None else looked.reply.state or looked.reply.outcome.value
    return [
        looked.symbol,
        Text(decision, _COLOURS[decision]),
        "" if plan is None else f"{plan.actual:f}",
        "" if plan is None else f"{plan.target_size:f}",
        "" if plan is None else f"{plan.gap_usd:,.2f}",
        order,
        reply,
        looked.verdict.reason,
    ]


def _parser() -> Parser:
    parser = Parser(prog="python -m worker.cli", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    reconcile = commands.add_parser("reconcile", help="bring the account to its target now")
    reconcile.add_argument(
        "--dry-run", action="store_true", help="show what would be done; write and send nothing"
    )
    why = commands.add_parser("why", help="why there was an order, or none")
    of = why.add_mutually_exclusive_group(required=True)
    of.add_argument("--symbol", help="a coin, such as BTC")
    of.add_argument("--order", help="an intent id such as BTC:7:open, or a cloid")
    why.add_argument("--limit", type=_limit, default=10, help="decisions shown (1 to 1000)")
    return parser


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
