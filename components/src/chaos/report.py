"""What a run of chaos says: one JSON line, and the fault matrix as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from chaos.runner import Outcome
from chaos.schedule import KILLED, VENUE_FAULTS

STEPS = ("idle", "PENDING", "SENT", "UNKNOWN", "RESTING")


def summary(outcomes: Sequence[Outcome], orders: int) -> dict[str, float | int | None]:
    """The figures of a run; percentiles by nearest rank, None if nothing recovered."""
    recovered = sorted(o.recovery_secs for o in outcomes if o.recovery_secs is not None)
    return {
        "seeds": len(outcomes),
        "faults": sum(len(o.struck) for o in outcomes),
        "orders": orders,
        "violations": sum(len(o.violations) for o in outcomes),
        "halted": sum(1 for o in outcomes if o.halts),
        "recovery_p50_s": _percentile(recovered, 0.50),
        "recovery_p99_s": _percentile(recovered, 0.99),
    }


def _percentile(rising: Sequence[float], share: float) -> float | None:
    if not rising:
        return None
    return round(rising[max(math.ceil(share * len(rising)) - 1, 0)], 1)


def matrix(outcomes: Sequence[Outcome], orders: int) -> str:
    """``docs/fault-matrix.md``: per fault and step of the orders under way, how it ended."""
    lines = [
        "# Fault matrix",
        "",
        "Written by `make chaos`; do not edit. Each cell counts how often a fault struck while",
        "orders were at that step (idle: none was under way; `?`: the journal could not be read",
        "just then), and how the seeds it belonged to ended: at target (T), halted with an alert",
        "(H), or with a violation (V). Cells without a number were not struck in this run.",
        "",
        f"`{json.dumps(summary(outcomes, orders))}`",
        "",
        "| fault | " + " | ".join((*STEPS, "?")) + " |",
        "|---|" + "---|" * (len(STEPS) + 1),
    ]
    for name in (*(f"kill -9 {k}" for k in KILLED), *VENUE_FAULTS):
        cells = [_cell(outcomes, name, step) for step in (*STEPS, "?")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(outcomes: Sequence[Outcome], fault: str, step: str) -> str:
    ends = [
        _end(outcome)
        for outcome in outcomes
        for one in outcome.struck
        if _name(one.strike.what, one.strike.name) == fault
        and step in (one.open_states or STEPS[:1])
    ]
    return " ".join(f"{ends.count(end)}{end}" for end in "THV" if end in ends)


def _end(outcome: Outcome) -> str:
    if outcome.violations:
        return "V"
    return "H" if outcome.halts else "T"


def _name(what: str, name: str) -> str:
    return f"kill -9 {name}" if what == "kill" else name
