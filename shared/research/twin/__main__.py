"""``python -m shared.research.twin``: a recorded stretch once more, behind ``make twin``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.command_line import Parser
from shared.config import ConfigError, Settings, load_secrets, load_settings
from shared.database import make_engine
from shared.market_data.archive import DAY_MS, start_of
from shared.research.engine import plan_of
from shared.research.errors import ResearchError
from shared.research.progress import BacktestProgress
from shared.research.times import time_ms
from shared.research.twin.read import Wanted, read
from shared.research.twin.recorded import Recorded
from shared.research.twin.twin import TwinRules, twin_of
from shared.research.twin.view import line, show, write

EQUAL, DIFFERS, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_EPILOG = """\
examples:
  make twin                        today, UTC, up to the last tick that every shard committed
  make twin DAY=2026-11-24         one UTC day
  make twin FROM=2026-11-24T10:00 TO=2026-11-24T12:00

It reads MariaDB (of a demo that runs here, or that T3_CONFIG and T3_SECRETS name) and writes
nothing to it. The planner's settings are those of config.yml as it is now; rules of the runs are
those that were in force at each tick.

exit codes: 0 the signal gap is exactly 0; 1 it is not; 2 it could not be run as asked.
"""


def rules_of(settings: Settings, recorded: Recorded) -> TwinRules:
    """The planner's settings for the recorded markets."""
    plan = plan_of(settings, recorded.markets, recorded.interval_ms)
    return TwinRules(plan.account, plan.rebalance_every * recorded.interval_ms)


def run(settings: Settings, engine: Engine, wanted: Wanted, root: Path, now_ms: int) -> int:
    """Read, replay, show and write; returns the exit code."""
    if find_spec("matplotlib") is None:
        raise ResearchError("matplotlib is not installed; install the extra 'research'")
    console = Console(stderr=True)
    console.print("twin: reading what was recorded", style="dim")
    recorded = read(engine, settings, wanted, now_ms)
    runs = len(recorded.lives.births)
    with BacktestProgress(len(recorded.rows), console, name="twin") as progress:
        twin = twin_of(recorded, rules_of(settings, recorded), lambda n: progress(n, n * runs))
        progress.finish()
    folder = root / f"{datetime.fromtimestamp(recorded.from_ms / 1000, UTC):%Y%m%dT%H%M%S}"
    folder = folder.with_name(f"{folder.name}-{twin.check.replayed_sha256[:8]}")
    picture = write(twin, folder)
    Console().print(show(twin))
    result = line(twin, picture)
    (folder / "twin.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result) + "\n")
    return EQUAL if twin.check.equal else DIFFERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(options.config)
        engine = make_engine(settings, load_secrets(require=("database.app_password",)))
        return run(settings, engine, _wanted(options), options.out, _now_ms())
    except (ResearchError, ConfigError) as error:
        sys.stderr.write(f"twin: {error}\n")
        return BAD_INPUT
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        sys.stderr.write(f"twin: the database cannot be used: {reason}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("twin: interrupted\n")
        return INTERRUPTED


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _wanted(options: argparse.Namespace) -> Wanted:
    if options.day is None and (options.from_ms is not None or options.to_ms is not None):
        return Wanted(options.from_ms or 0, options.to_ms or _now_ms())
    day = options.day or datetime.now(tz=UTC).date()
    first = start_of(day)
    return Wanted(
        max(first, options.from_ms or first),
        min(first + DAY_MS - 1, options.to_ms or first + DAY_MS - 1),
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no day; allowed is a UTC day such as 2026-11-24"
        ) from None


def _parser() -> Parser:
    parser = Parser(
        prog="python -m shared.research.twin",
        description="Feeds what was recorded live through the same code, and takes the gap between "
        "both accounts apart.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--day", type=_day, help="UTC day (default: today)")
    add("--from", dest="from_ms", type=time_ms, help="first time, UTC")
    add("--to", dest="to_ms", type=time_ms, help="last time, UTC")
    add("--config", help="default: T3_CONFIG or config.yml")
    add("--out", type=Path, default=Path("artifacts/twin"), help="where the folder is made")
    return parser


if __name__ == "__main__":
    sys.exit(main())
