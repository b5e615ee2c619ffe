"""The account's balance and positions as MariaDB knows them: ``python -m balance_report``.

Reads the database that ``T3_CONFIG`` and ``T3_SECRETS`` name; without them that of a running demo,
else ``config.yml`` and ``secrets.yml`` here. What is shown is what was last read from the venue,
with its age: it may be old, and says so.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from demo.layout import DEFAULT_PATHS, demo_environ, running_demo
from shared.command_line import Parser
from shared.config import ConfigError, Settings, load_secrets, load_settings
from shared.database import make_engine
from shared.reconciliation.consensus import LOCAL_VOTER
from shared.storage.balances import BalanceStore
from shared.storage.tables import position_snapshots, positions

BAD_INPUT, FAILED = 2, 1


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Print the report; 2 for a bad configuration, 1 for a database that cannot be read."""
    Parser(prog="python -m balance_report", description=__doc__).parse_args(arguments)
    environ = pick_environ(os.environ if environ is None else environ)
    try:
        settings = load_settings(environ=environ)
        secrets = load_secrets(require=["database.app_password"], environ=environ)
    except ConfigError as error:
        return _fail(str(error), BAD_INPUT)
    try:
        with make_engine(settings, secrets).connect() as connection:
            report(connection, settings, Console(), time.time_ns() // 1_000_000)
    except SQLAlchemyError as error:
        database = f"{settings.database.host}:{settings.database.port}"
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        return _fail(f"the database at {database} cannot be read: {reason}", FAILED)
    return 0


def pick_environ(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The caller's environment, or that of a running demo where the caller names no files."""
    if {"T3_CONFIG", "T3_SECRETS"} & environ.keys() or running_demo(DEFAULT_PATHS) is None:
        return environ
    return demo_environ(DEFAULT_PATHS, environ)


def report(connection: Connection, settings: Settings, console: Console, now_ms: int) -> None:
    """Write the balance and every position; ages in seconds since the venue was read."""
    rules = settings.reconciliation_engine
    balance = BalanceStore(connection).latest()
    if balance is None:
        console.print("No balance has been read yet.")
        return
    table = Table(title=f"Account ({settings.mode})", title_justify="left")
    for heading in ("account value", "withdrawable", "margin used", "notional", "age"):
        table.add_column(heading, justify="right")
    table.add_row(
        *(
            f"{amount:,.2f} USD"
            for amount in (
                balance.account_value,
                balance.withdrawable,
                balance.margin_used,
                balance.total_notional,
            )
        ),
        _age(now_ms - balance.read_ms, rules.max_balance_age_secs),
    )
    console.print(table)
    _report_positions(connection, console, now_ms, rules.max_snapshot_age_secs)


def _report_positions(
    connection: Connection, console: Console, now_ms: int, max_age_secs: float
) -> None:
    read_ms = connection.scalar(
        select(position_snapshots.c.read_ms).where(
            position_snapshots.c.voter == LOCAL_VOTER, position_snapshots.c.complete.is_(True)
        )
    )
    if read_ms is None:
        console.print("No positions have been read yet.")
        return
    rows = connection.execute(
        select(positions).where(positions.c.voter == LOCAL_VOTER).order_by(positions.c.symbol)
    ).all()
    age = _age(now_ms - read_ms, max_age_secs)
    if not rows:
        console.print(Text.assemble("No position is open (age: ", age, ")."))
        return
    table = Table(title="Positions", title_justify="left")
    table.add_column("symbol")
    for heading in ("size", "entry price", "unrealised", "margin used", "age"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.symbol,
            _signed(row.size, f"{row.size.normalize():+f}"),
            "" if row.entry_price is None else f"{row.entry_price.normalize():,f}",
            _signed(row.unrealised_usd, f"{row.unrealised_usd:+,.2f} USD"),
            f"{row.margin_used_usd:,.2f} USD",
            age,
        )
    console.print(table)


def _signed(value: Decimal, text: str) -> Text:
    return Text(text, "green" if value > 0 else "red" if value < 0 else "")


def _age(age_ms: int, max_age_secs: float) -> Text:
    """Seconds, marked where the platform itself would call it stale."""
    secs = max(age_ms, 0) / 1000
    if secs > max_age_secs:
        return Text(f"{secs:,.0f} s, stale", "yellow")
    return Text(f"{secs:.1f} s")


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(f"balance: {sentence}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
