"""What a person sees: a live screen on a terminal, one plain line every ten seconds elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.drawing import chart, clock, format_price, sparkline, thin
from demo.readings import OrderReading, PositionReading, PriceReading
from demo.session import State
from demo.supervisor import FATAL, RUNNING, ProcessInfo

PLAIN_EVERY_SECS = 10.0
SPARK_POINTS = 24
WIDE_COLUMNS, ROOMY_COLUMNS = 120, 140
MIN_CHART_ROWS = 5
MIN_ORDERS = 2
_OLD_PRICE_SECS = 3.0
_GAIN, _LOSS, _QUIET, _ALERT, _NAME = "green", "red", "bright_black", "yellow", "bold"
_STATE_STYLES = {
    "FILLED": _GAIN,
    "PARTIAL": _ALERT,
    "UNKNOWN": f"bold {_LOSS}",
    "REJECTED": _LOSS,
    "NOT_PLACED": _LOSS,
    "SENT": _ALERT,
    "PENDING": _ALERT,
    "RESTING": "cyan",
}


class View(Protocol):
    """Shows states as they come."""

    def show(self, state: State) -> None:
        """Show one state."""


class PlainView:
    """One line at each change of stage and every ten seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._shown = 0.0

    def show(self, state: State) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if state.stage == self._stage and now - self._shown < PLAIN_EVERY_SECS:
            return
        if state.stage == "running" and self._stage != "running" and state.plan.pages is not None:
            for line in state.plan.pages.lines(state.plan.paths.home):
                sys.stdout.write(f"demo: {line}\n")
        self._stage, self._shown = state.stage, now
        sys.stdout.write(plain_line(state) + "\n")
        sys.stdout.flush()


class LiveView:
    """The whole screen, redrawn with each state."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._screen = Screen()

    def show(self, state: State) -> None:
        """Draw a state."""
        size = self._console.size
        self._screen.note(state)
        self._live.update(self._screen.render(state, size.width, size.height), refresh=True)


@contextmanager
def make_view() -> Iterator[View]:
    """The view that fits stdout: a terminal that can be drawn on, or anything else."""
    console = Console()
    if not console.is_terminal or console.is_dumb_terminal or os.environ.get("TERM") == "dumb":
        yield PlainView()
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield LiveView(console, live)


def plain_line(state: State) -> str:
    """A state in one line."""
    snapshot = state.snapshot
    counts = snapshot.counts
    running = sum(1 for info in state.processes if info.state == RUNNING)
    parts = [
        f"demo: {state.stage}",
        f"{running}/{len(state.processes)} processes",
        f"{snapshot.ticks} ticks",
        f"{snapshot.runs_active} runs",
        f"{snapshot.iterations} iterations",
        f"orders {counts.sent} sent {counts.filled} filled {counts.unknown} unknown",
    ]
    if snapshot.equity:
        parts.append(f"equity {snapshot.equity[-1]:,.2f} USD")
    if state.errors:
        parts.append(f"{state.errors} errors")
    return ", ".join([*parts, *snapshot.faults])


class Screen:
    """Turns states into pictures; keeps the recent prices for their sparklines."""

    def __init__(self) -> None:
        self._prices: dict[str, deque[float]] = {}

    def note(self, state: State) -> None:
        """Remember the prices of a state."""
        for price in state.snapshot.prices:
            kept = self._prices.setdefault(price.symbol, deque(maxlen=SPARK_POINTS))
            kept.append(price.mid)

    def render(self, state: State, width: int, height: int) -> RenderableType:
        """The screen for a terminal of this size; one column where it is narrow.

        What does not fit is left out, the least important first; the last line says how to stop.
        """
        if width >= WIDE_COLUMNS:
            return self._wide(state, width, height)
        return Group(*self._narrow(state, width, height))

    def _wide(self, state: State, width: int, height: int) -> RenderableType:
        symbols = len(state.plan.settings.reconciliation_engine.symbols)
        top_rows = max(symbols, 4) + 4
        process_rows, processes = self._processes(
            state, columns=4, rows=height - 3 - top_rows - symbols - 3
        )
        middle_rows = max(height - 3 - top_rows - process_rows, 6)
        layout = Layout()
        layout.split_column(
            Layout(_header(state, wide=True), size=3),
            Layout(name="top", size=top_rows),
            Layout(name="middle", size=middle_rows),
            Layout(processes, size=process_rows),
        )
        layout["top"].split_row(
            Layout(self._prices_panel(state, width * 5 // 13 - 33), ratio=5),
            Layout(_population_panel(state, width * 4 // 13 - 39), ratio=4),
            Layout(_equity_panel(state), ratio=4),
        )
        layout["middle"].split_row(
            Layout(name="account", ratio=3),
            Layout(_orders_panel(state), ratio=2 if width >= ROOMY_COLUMNS else 3),
        )
        chart_rows = middle_rows - symbols - 3
        if chart_rows < MIN_CHART_ROWS:
            layout["account"].update(_positions_panel(state))
        else:
            layout["account"].split_column(
                Layout(_positions_panel(state), size=symbols + 3),
                Layout(_equity_chart(state, width * 3 // 5 - 16, chart_rows - 2)),
            )
        return layout

    def _narrow(self, state: State, width: int, height: int) -> list[RenderableType]:
        symbols = len(state.plan.settings.reconciliation_engine.symbols)
        left = height - 4 - 1
        shown = set()
        for name, rows in (
            ("positions", symbols + 3),
            ("prices", symbols + 3),
            ("orders", MIN_ORDERS + 3),
            ("population", len(state.snapshot.population) + 3),
        ):
            if rows <= left:
                shown.add(name)
                left -= rows
        process_rows, processes = self._processes(state, columns=max(width // 26, 1), rows=left + 1)
        orders = MIN_ORDERS + left + 1 - process_rows
        panels: dict[str, RenderableType] = {
            "prices": self._prices_panel(state),
            "positions": _positions_panel(state),
            "orders": _orders_panel(state, limit=orders),
            "population": _population_panel(state),
        }
        fitting = (panel for name, panel in panels.items() if name in shown)
        return [_header(state, wide=False), *fitting, processes]

    def _processes(self, state: State, columns: int, rows: int) -> tuple[int, RenderableType]:
        """Every process where ``rows`` suffice, else one line; and the rows it takes."""
        needed = -(-len(state.processes) // columns) + 2 + len(_footer(state, columns))
        if needed <= rows:
            return needed, _processes_panel(state, columns)
        return 1, _processes_line(state)

    def _prices_panel(self, state: State, points: int = SPARK_POINTS) -> Panel:
        table = _table("", "mid", "", "age")
        table.columns[1].justify = table.columns[3].justify = "right"
        for price in state.snapshot.prices:
            history = list(self._prices.get(price.symbol, ()))[-points:]
            table.add_row(
                Text(price.symbol, _NAME),
                format_price(price.mid),
                Text(sparkline(history), _trend_style(history)),
                _age(price),
            )
        return _panel(table, "prices", empty="waiting for the first price")


def _header(state: State, *, wide: bool) -> Panel:
    snapshot = state.snapshot
    uptime = max(snapshot.at_ms - state.started_ms, 0) // 1000
    style = _GAIN if state.stage == "running" else _ALERT
    line = Text.assemble(
        (" 3T ", "bold reverse"),
        "  ",
        (state.plan.settings.mode, "bold cyan"),
        "  ",
        (f"● {state.stage}", style),
        (f"  up {clock(uptime)}", ""),
    )
    facts = Text.assemble(
        *_fact("ticks", f"{snapshot.ticks:,}"),
        *_fact("lag", _lag(state)),
        *_fact("runs", f"{snapshot.runs_active:,}"),
        *_fact("errors", str(state.errors), _LOSS if state.errors else ""),
        *_fact("iterations", f"{snapshot.iterations:,}"),
    )
    if snapshot.faults:
        facts = Text(snapshot.faults[0], _LOSS, overflow="ellipsis")
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True)
    if wide:
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(line, facts)
    else:
        grid.add_row(line)
        grid.add_row(facts)
    return Panel(grid, border_style=_QUIET, padding=(0, 1))


def _fact(name: str, value: str, style: str = "") -> tuple[tuple[str, str], ...]:
    return ((f"  {name} ", _QUIET), (value, style or _NAME))


def _lag(state: State) -> str:
    """How far the slowest shard's last commit lies behind now."""
    committed = state.snapshot.committed_tick_ms
    if committed is None or not state.snapshot.runs_active:
        return "–"
    return f"{max(state.snapshot.at_ms - committed, 0) / 1000:.1f} s"


def _population_panel(state: State, bar: int = 8) -> Panel:
    """``bar``: cells of the longest bar, at most 8; without room for one there is none."""
    rows, bar = state.snapshot.population, min(bar, 8)
    table = _table("interpretation", "runs", *([""] if bar > 0 else []), "mean PnL")
    table.columns[1].justify = table.columns[-1].justify = "right"
    largest = max((row.active for row in rows), default=1)
    for row in rows:
        length = Text("▇" * max(round(bar * row.active / largest), 1), "cyan")
        table.add_row(
            Text(row.interpretation, _NAME),
            f"{row.active:,}",
            *([length] if bar > 0 else []),
            _signed(row.mean_pnl_usd, 2),
        )
    return _panel(table, "population", empty="no run is alive yet")


def _equity_panel(state: State) -> Panel:
    equity, queues = state.snapshot.equity, state.snapshot.queues
    if equity:
        change = _signed(equity[-1] - equity[0], 2)
        figure = Text.assemble((f"{equity[-1]:,.2f}", "bold"), " USD  ", change)
    else:
        figure = Text("waiting for the first balance", _QUIET)
    waiting = Text.assemble(
        *(part for name, size in queues.items() for part in _fact(name, f"{size:,}"))
    )
    counts = state.snapshot.counts
    orders = Text.assemble(
        *_fact("sent", str(counts.sent)),
        *_fact("filled", str(counts.filled), _GAIN if counts.filled else ""),
        *_fact("unknown", str(counts.unknown), _LOSS if counts.unknown else ""),
    )
    body = Group(
        Padding(figure, (0, 0, 1, 2)),
        orders,
        waiting,
    )
    return Panel(body, title="account", title_align="left", border_style=_QUIET)


def _equity_chart(state: State, columns: int, rows: int) -> Panel:
    equity = thin(state.snapshot.equity, columns)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style=_QUIET)
    grid.add_column(no_wrap=True)
    for number, line in enumerate(chart(equity, rows)):
        level = max(equity) if number == 0 else min(equity) if number == rows - 1 else None
        label = "" if level is None else f"{level:,.2f}"
        grid.add_row(label, Text(line, "cyan"))
    body: RenderableType = grid if equity else Text(" waiting for the first balance", _QUIET)
    return Panel(body, title="equity in USD", title_align="left", border_style=_QUIET)


def _positions_panel(state: State) -> Panel:
    table = _table("", "desired", "actual", "gap", "quorum", "age", "decision")
    for column in table.columns[1:6]:
        column.justify = "right"
    table.columns[6].ratio = 1
    threshold = state.plan.settings.reconciliation_engine.minimum_trade_threshold
    for position in state.snapshot.positions:
        table.add_row(
            Text(position.symbol, _NAME),
            _usd(position.desired_usd),
            _usd(position.actual_usd),
            _gap(position.gap_usd, threshold),
            _quorum(position),
            Text(f"{max(state.snapshot.at_ms - position.at_ms, 0) // 1000} s", _QUIET),
            _decision(position),
        )
    return _panel(table, "positions in USD", empty="no look at the account yet")


def _orders_panel(state: State, limit: int | None = None) -> Panel:
    table = _table("time", "", "order", "state", "at", "USD")
    for column in table.columns[4:]:
        column.justify = "right"
    for order in state.snapshot.orders[:limit]:
        table.add_row(
            Text(datetime.fromtimestamp(order.created_ms / 1000, UTC).strftime("%H:%M:%S"), _QUIET),
            Text(order.symbol, _NAME),
            Text(f"{order.side} {order.size.normalize():f}", _side_style(order)),
            Text(order.state.lower(), _STATE_STYLES.get(order.state, _QUIET)),
            "" if order.avg_price is None else format_price(float(order.avg_price)),
            "" if order.avg_price is None else f"{order.filled_size * order.avg_price:,.0f}",
        )
    return _panel(table, "intents", empty="no order yet")


def _processes_panel(state: State, columns: int) -> Panel:
    grid = Table.grid(expand=True, padding=(0, 1))
    for _ in range(columns):
        grid.add_column(ratio=1, no_wrap=True)
    cells = [_process(info, state.restarts.get(info.name, 0)) for info in state.processes]
    rows = -(-len(cells) // columns) if cells else 0
    for row in range(rows):
        grid.add_row(*cells[row::rows])
    return Panel(
        Group(grid, *_footer(state, columns)),
        title="processes",
        title_align="left",
        border_style=_QUIET,
    )


def _processes_line(state: State) -> Text:
    """How many run, and the names of those that do not."""
    idle = [info for info in state.processes if info.state != RUNNING]
    count, total = len(state.processes) - len(idle), len(state.processes)
    line = Text(" ", no_wrap=True, overflow="ellipsis")
    line.append("● ", _ALERT if idle else _GAIN)
    line.append(f"{count} of {total} processes run")
    for info in idle:
        line.append(f"  {info.name} {info.state.lower()}", _LOSS if info.state == FATAL else _ALERT)
    return line.append("  Ctrl-C stops them", _QUIET)


def _footer(state: State, columns: int) -> list[Text]:
    """How to stop, and the pages for a browser: in one line where there is room."""
    lines = ["Ctrl-C stops every process; logs are in .local/demo/logs"]
    if state.plan.pages is not None:
        pages = state.plan.pages.lines(state.plan.paths.home)
        lines += ["  ".join(pages)] if columns > 3 else pages
    return [Text(line, _QUIET, no_wrap=True, overflow="ellipsis") for line in lines]


def _process(info: ProcessInfo, restarts: int) -> Text:
    again = (f" ↻{restarts}" if restarts else "", _ALERT)
    if info.state == RUNNING:
        return Text.assemble(
            ("● ", _GAIN), info.name, (f" {clock(info.uptime_secs)}", _QUIET), again
        )
    style = _LOSS if info.state == FATAL else _ALERT
    return Text.assemble(("● ", style), info.name, (f" {info.state.lower()}", style), again)


def _table(*headings: str) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1), header_style=_QUIET)
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    return table


def _panel(table: Table, title: str, empty: str) -> Panel:
    body: RenderableType = table if table.row_count else Text(f" {empty}", _QUIET)
    return Panel(body, title=title, title_align="left", border_style=_QUIET)


def _age(price: PriceReading) -> Text:
    return Text(f"{price.age_secs:.1f} s", _ALERT if price.age_secs > _OLD_PRICE_SECS else _QUIET)


def _usd(value: float | None) -> Text:
    return Text("unknown", _ALERT) if value is None else _signed(value, 0)


def _gap(value: float | None, threshold: float) -> Text:
    if value is None:
        return Text("–", _QUIET)
    return Text(f"{value:,.0f}", _QUIET if value < threshold else _ALERT)


def _quorum(position: PositionReading) -> Text:
    if position.quorum_known:
        return Text(position.quorum, _GAIN)
    return Text("unknown", _ALERT)


def _decision(position: PositionReading) -> Text:
    why = position.reason if position.quorum_known else position.quorum
    style = _ALERT if position.decision == "unknown" else _NAME
    return Text.assemble((position.decision, style), (f"  {why}", _QUIET))


def _side_style(order: OrderReading) -> str:
    return _GAIN if order.side == "buy" else _LOSS


def _signed(value: float, decimals: int) -> Text:
    rounded = round(value, decimals)
    text = f"{rounded:+,.{decimals}f}" if rounded else f"{0:.{decimals}f}"
    return Text(text, _GAIN if rounded > 0 else _LOSS if rounded < 0 else _QUIET)


def _trend_style(values: Sequence[float] | deque[float]) -> str:
    if len(values) < 2 or values[-1] == values[0]:
        return _QUIET
    return _GAIN if values[-1] > values[0] else _LOSS
