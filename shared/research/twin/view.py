"""A twin for people: a table, a picture and a line of JSON."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from shared.research.plots import BLUE, GREEN, INK, MUTED, ORANGE, RED, dates, start_drawing
from shared.research.tables import FloatArray
from shared.research.times import utc
from shared.research.twin.gap import CAUSES
from shared.research.twin.twin import Twin

MEANING: Final = {
    "signal": "the runs themselves: 0 while the journals are equal",
    "latency": "decided or filled at other times, or sized by another balance",
    "fill": "prices other than mid ± slippage, and what orders did not get",
    "fee": "the venue's fees against the configured ones",
    "funding": "what the venue paid against the index",
    "by hand": "orders that reconciliation did not ask for",
}
_COLOURS: Final = {
    "signal": RED,
    "latency": BLUE,
    "fill": ORANGE,
    "fee": GREEN,
    "funding": "#7a4fb5",
    "by hand": MUTED,
}


def shown_causes(twin: Twin) -> list[str]:
    """All causes but ``by hand`` where nothing was done by hand."""
    by_hand = any(not fill.ours for fill in twin.recorded.account.fills)
    return [cause for cause in CAUSES if cause != "by hand" or by_hand]


def line(twin: Twin, report: Path) -> dict[str, Any]:
    """The last line of stdout."""
    check, recorded = twin.check, twin.recorded
    return {
        "from": utc(recorded.from_ms),
        "to": utc(recorded.to_ms),
        "ticks": len(twin.window.tick_ms),
        "runs": len(recorded.lives.births),
        "virtual_fills": check.lived,
        "signal_equal": check.equal,
        "runs_differing": len(check.differing),
        "journal_sha256_lived": check.lived_sha256,
        "journal_sha256_replayed": check.replayed_sha256,
        "orders": recorded.account.orders,
        "lived_usd": round(float(twin.equity_lived[-1]) - recorded.account.start_usd, 6),
        "replayed_usd": round(float(twin.equity_replayed[-1]) - recorded.account.start_usd, 6),
        "gap_usd": {cause: float(twin.gap.at_end(cause).sum()) for cause in shown_causes(twin)},
        "report": str(report),
    }


def show(twin: Twin) -> Group:
    """The journals, and the gap by cause and symbol."""
    return Group(_headline(twin), Text(""), _journals(twin), Text(""), _gap_table(twin))


def _headline(twin: Twin) -> Text:
    recorded = twin.recorded
    text = Text("Twin of ", style="bold")
    text.append(f"{utc(recorded.from_ms)} to {utc(recorded.to_ms)}", style="bold")
    text.append(
        f"\n{len(twin.window.tick_ms):,} ticks of {recorded.interval_ms / 1000:g} s, "
        f"{len(recorded.lives.births):,} runs, {recorded.account.orders:,} orders, "
        f"start {recorded.account.start_usd:,.2f} USD",
        style="dim",
    )
    return text


def _journals(twin: Twin) -> Text:
    check = twin.check
    if check.equal:
        return Text.assemble(
            ("✔ signal equal to the bit: ", "bold green"),
            f"{check.lived:,} virtual fills, sha256 {check.lived_sha256[:16]}…",
        )
    some = ", ".join(str(run_id) for run_id in check.differing[:5])
    more = f" and {len(check.differing) - 5} more" if len(check.differing) > 5 else ""
    return Text.assemble(
        ("✘ signal differs: ", "bold red"),
        f"{check.lived:,} virtual fills were recorded and {check.replayed:,} replayed; runs "
        f"{some}{more}",
    )


def _gap_table(twin: Twin) -> Table:
    table = Table(title="Account, USD", title_justify="left", header_style="bold")
    table.add_column("")
    for symbol in twin.recorded.symbols:
        table.add_column(symbol, justify="right")
    table.add_column("total", justify="right", style="bold")
    table.add_column("bps", justify="right")
    table.add_column("what it is", style="dim")
    start = twin.recorded.account.start_usd
    _row(table, "replayed", twin.replayed.total[-1], start, "what the twin made")
    for cause in shown_causes(twin):
        _row(table, f"+ {cause}", twin.gap.at_end(cause), start, MEANING[cause])
    lived = (twin.lived.ours.total + twin.lived.by_hand.total)[-1]
    table.add_section()
    _row(table, "lived", lived, start, "by executions, fees and funding, at recorded mids")
    readings = twin.recorded.account.readings
    flows = sum(flow.usd for flow in twin.recorded.account.transfers)
    told = float(readings[-1, 1] - start) - flows
    table.add_row("", *[""] * len(lived), f"{told:+,.2f}", f"{1e4 * told / start:+,.2f}",
                  "by the venue's last reading, at its mark prices", style="dim")  # fmt: skip
    return table


def _row(table: Table, name: str, usd: FloatArray, start: float, meaning: str) -> None:
    total = float(usd.sum())
    table.add_row(
        name,
        *(_usd(value) for value in usd.tolist()),
        _usd(total),
        f"{1e4 * total / start:+,.2f}" if start > 0.0 else "",
        meaning,
    )


def _usd(value: float) -> str:
    return "0" if value == 0.0 else f"{value:+,.2f}"


def write(twin: Twin, folder: Path) -> Path:
    """``gap.csv`` (every tick, by cause) and ``twin.png``, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    causes = shown_causes(twin)
    sums = [twin.gap.by_cause[cause].sum(axis=1) for cause in causes]
    with (folder / "gap.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["tick_ms", "lived_usd", "replayed_usd", *causes])
        writer.writerows(
            zip(
                twin.window.tick_ms.tolist(),
                twin.equity_lived.tolist(),
                twin.equity_replayed.tolist(),
                *(values.tolist() for values in sums),
                strict=True,
            )
        )
    return _draw(twin, folder / "twin.png")


def _draw(twin: Twin, path: Path) -> Path:
    figure, (top, low) = start_drawing(10.0, 6.4, rows=2, heights=(3, 2))
    when = twin.window.tick_ms.astype("datetime64[ms]")
    readings = twin.recorded.account.readings
    inside = readings[:, 0] >= twin.recorded.from_ms
    told = readings[inside, 0].astype(np.int64).astype("datetime64[ms]")
    top.plot(told, readings[inside, 1], color=MUTED, linewidth=0.9, label="venue's readings")
    top.plot(when, twin.equity_replayed, color=ORANGE, linewidth=1.6, label="replayed")
    top.plot(when, twin.equity_lived, color=BLUE, linewidth=1.6, label="lived")
    top.set_title("Account, lived and replayed")
    top.set_ylabel("USD")
    top.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0))
    low.axhline(0.0, color=INK, linewidth=0.8)
    for cause in shown_causes(twin):
        usd = twin.gap.by_cause[cause].sum(axis=1)
        label = f"{cause} {usd[-1]:+,.2f}" if usd[-1] else f"{cause} 0"
        low.plot(when, usd, color=_COLOURS[cause], linewidth=1.4, label=label)
    low.set_title("Lived minus replayed, by cause")
    low.set_ylabel("USD")
    low.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0))
    for axes in (top, low):
        axes.ticklabel_format(axis="y", useOffset=False)
    dates(low)
    figure.savefig(path, dpi=130)
    return path
