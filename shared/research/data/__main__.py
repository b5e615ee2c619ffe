"""``python -m shared.research.data``: fill the recorder's archive, behind ``make data``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from shared.command_line import Parser
from shared.config import ConfigError, Settings, load_settings
from shared.exchange.errors import VenueError
from shared.exchange_manager import ExchangeManager
from shared.market_data.archive import FUNDING, Archive, ArchiveError
from shared.market_data.candle import TIMEFRAME_MS
from shared.research.data.days import Coverage, coverage
from shared.research.data.fetching import Span, complete_until, fetch
from shared.research.data.importing import Imported, import_rows, read_file
from shared.research.errors import ResearchError
from shared.research.markets import KNOWN, find_files
from shared.research.progress import Steps
from shared.research.times import time_ms

DONE, NOT_ALL, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
DEFAULT_SPAN_MS = 3 * 86_400_000
GAPS_IN_JSON = 20
NOBODY = "0x" + "0" * 40
"""Candles and funding belong to no account."""

_EPILOG = """\
examples:
  make data DATA="BTC_1m.csv.gz ETH_1m.feather"      files into the archive, a day at a time
  make data DATA=downloads/ SYMBOL=BTC REPAIR=yes    one symbol of a folder; faulty rows left out
  make data FROM=2026-11-20                          candles and funding of config.yml's symbols
  make data SYMBOL="BTC ETH" FROM=2026-11-20 TO=2026-11-22 TIMEFRAME=5m

Files: .csv, .csv.gz, .parquet, .feather with timestamp_ms (or date) and open, high, low, close
[, volume], or price, or bid_price, ask_price, or funding_rate. Without DATA the venue of
config.yml's `mode` is asked; HyperLiquid serves the last 5,000 candles. The same command again
goes on where it was stopped. The last line of stdout is JSON.

exit codes: 0 done; 1 the venue did not give all; 2 it could not be run as asked.
"""


def import_files(
    options: argparse.Namespace, settings: Settings, console: Console
) -> list[Imported]:
    """All files that are named, each checked as a whole before its first day is written."""
    archive = Archive(options.archive)
    named = dict.fromkeys((*options.symbol, *settings.reconciliation_engine.symbols, *KNOWN))
    found = [
        (symbol, path)
        for symbol, path in find_files(options.data, named)
        if not options.symbol or symbol in options.symbol
    ]
    if not found:
        raise ResearchError(f"no file of {', '.join(options.symbol)} was given")
    done: list[Imported] = []
    for symbol, path in found:
        imported, table = read_file(symbol, path, repair=options.repair)
        days = imported.to_ms // 86_400_000 - imported.from_ms // 86_400_000 + 1
        with Steps(f"{imported.dataset} {symbol}", days, "days", console) as steps:
            import_rows(archive, imported, table, steps.step, replace=options.replace)
        done.append(imported)
    return done


def fetch_spans(
    options: argparse.Namespace, settings: Settings, console: Console, now_ms: int
) -> list[Span]:
    """Candles and funding of every symbol from the venue of ``mode``."""
    symbols = options.symbol or settings.reconciliation_engine.symbols
    datasets = [f"candles_{options.timeframe}", *([] if options.no_funding else [FUNDING])]
    spans = [
        span
        for symbol in symbols
        for dataset in datasets
        if (span := _span(dataset, symbol, options, now_ms)).from_ms <= span.to_ms
    ]
    if not spans:
        raise ResearchError("nothing lies between FROM and TO that is complete by now")
    archive, venue = Archive(options.archive), ExchangeManager(settings, NOBODY)
    try:
        with Steps("fetch", sum(span.days() for span in spans), "days", console) as steps:
            for span in spans:
                before = steps.done
                fetch(venue, archive, span, steps.step, replace=options.replace)
                steps.step(f"{span.dataset} {span.symbol}", before + span.days() - steps.done)
    finally:
        venue.close()
    return spans


def _span(dataset: str, symbol: str, options: argparse.Namespace, now_ms: int) -> Span:
    last = complete_until(dataset, now_ms)
    to_ms = min(last, options.to_ms) if options.to_ms is not None else last
    from_ms = options.from_ms if options.from_ms is not None else to_ms - DEFAULT_SPAN_MS
    return Span(dataset, symbol, from_ms, to_ms)


def report(covered: Iterable[Coverage], console: Console) -> None:
    """A table of what is there and what is missing."""
    table = Table(title="Archive", title_justify="left", header_style="bold")
    for name in ("dataset", "symbol", "from", "to"):
        table.add_column(name)
    for name in ("rows", "missing", "gaps", "longest gap"):
        table.add_column(name, justify="right")
    for one in covered:
        longest = max(one.gaps, key=lambda gap: gap.missing, default=None)
        table.add_row(
            one.dataset,
            one.symbol,
            _shown(one.from_ms),
            _shown(one.to_ms),
            f"{one.rows:,}",
            f"{one.missing:,}" if one.missing else "0",
            str(len(one.gaps)),
            "" if longest is None else f"{longest.missing:,} from {_shown(longest.from_ms)}",
            style="yellow" if one.missing else None,
        )
    console.print(table)


def _repairs(imported: Iterable[Imported], console: Console) -> None:
    for one in imported:
        if one.repairs.any:
            r = one.repairs
            first = ", ".join(f"{kind} from row {row}" for kind, row in r.first_rows.items())
            console.print(
                f"{one.path}: {r.bad_rows} bad rows left out, {r.out_of_order} sorted, "
                f"{r.duplicates} duplicates left out, {r.gaps} gaps of {r.missing_candles} candles "
                f"left open ({first})",
                style="yellow",
            )


def _line(archive: Path, covered: Sequence[Coverage], imported: Sequence[Imported]) -> str:
    content: dict[str, Any] = {
        "archive": str(archive),
        "datasets": [
            {
                "dataset": one.dataset,
                "symbol": one.symbol,
                "from": one.from_ms,
                "to": one.to_ms,
                "rows": one.rows,
                "missing": one.missing,
                "gaps": [[g.from_ms, g.to_ms, g.missing] for g in one.gaps[:GAPS_IN_JSON]],
            }
            for one in covered
        ],
    }
    if imported:
        content["days_written"] = sum(one.days_written for one in imported)
        content["days_there_before"] = sum(one.days_there for one in imported)
    return json.dumps(content)


def _shown(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Import or fetch, then report; returns the exit code."""
    progress, out = Console(stderr=True), Console()
    archive, imported = Archive(options.archive), []
    if options.data:
        imported = import_files(options, settings, progress)
        wanted = [(one.dataset, one.symbol, one.from_ms, one.to_ms) for one in imported]
    else:
        now_ms = time.time_ns() // 1_000_000
        spans = fetch_spans(options, settings, progress, now_ms)
        wanted = [(span.dataset, span.symbol, span.from_ms, span.to_ms) for span in spans]
    covered = [coverage(archive, *one) for one in wanted]
    _repairs(imported, out)
    report(covered, out)
    sys.stdout.write(_line(options.archive, covered, imported) + "\n")
    return DONE if options.data or not any(one.missing for one in covered) else NOT_ALL


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(options.config)
        options.archive = options.archive or Path(settings.recorder.path)
        return run(options, settings)
    except (ResearchError, ConfigError, ArchiveError, OSError) as error:
        sys.stderr.write(f"data: {error}\n")
        return BAD_INPUT
    except VenueError as error:
        sys.stderr.write(
            f"data: the venue did not answer ({error}); what was fetched is kept, and the same "
            "command goes on from there\n"
        )
        return NOT_ALL
    except KeyboardInterrupt:
        sys.stderr.write("data: interrupted; the same command goes on from here\n")
        return INTERRUPTED


def _parser() -> Parser:
    parser = Parser(
        prog="python -m shared.research.data",
        description="Imports files, or fetches candles and funding, into the recorder's archive.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", nargs="+", default=(), help="files, folders or SYMBOL=file (default: the venue)")
    add("--symbol", nargs="+", default=(), help="only these (default: those of config.yml)")
    add("--from", dest="from_ms", type=time_ms, help="first time to fetch (default: 3 days ago)")
    add("--to", dest="to_ms", type=time_ms, help="last time to fetch (default: now)")
    add("--timeframe", choices=sorted(TIMEFRAME_MS, key=lambda t: TIMEFRAME_MS[t]), default="1m")
    add("--no-funding", action="store_true", help="fetch candles only")
    add("--repair", action="store_true", help="leave faulty rows out, and report them")
    add("--replace", action="store_true", help="take what comes in where the archive differs")
    add("--archive", type=Path, help="folder (default: recorder.path of config.yml)")
    add("--config", help="default: T3_CONFIG or config.yml")
    return parser


if __name__ == "__main__":
    sys.exit(main())
