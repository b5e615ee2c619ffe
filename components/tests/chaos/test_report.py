"""Figures and matrix of outcomes."""

from __future__ import annotations

from chaos.checker import Violation
from chaos.report import matrix, summary
from chaos.runner import Outcome, Struck
from chaos.schedule import Strike

KILL = Struck(Strike(1, "kill", "redis"), ())
DROP = Struck(Strike(2, "venue", "dropped reply", 3), ("SENT", "UNKNOWN"))
OUTCOMES = [
    Outcome(1, (KILL, DROP), (), 4.0, ()),
    Outcome(2, (DROP,), ("BTC: 5 refusals",), 8.04, ()),
    Outcome(3, (KILL,), (), None, (Violation("overlap", "BTC"),)),
]


def test_figures_of_a_run() -> None:
    assert summary(OUTCOMES, 17) == {
        "seeds": 3,
        "faults": 4,
        "orders": 17,
        "violations": 1,
        "halted": 1,
        "recovery_p50_s": 4.0,
        "recovery_p99_s": 8.0,
    }
    assert summary([], 0)["recovery_p50_s"] is None


def test_every_fault_has_a_row_and_every_strike_a_cell() -> None:
    page = matrix(OUTCOMES, 17)
    rows = {line.split(" | ")[0]: line for line in page.splitlines() if line.startswith("| ")}
    assert rows["| kill -9 redis"] == "| kill -9 redis | 1T 1V |  |  |  |  |  |"
    assert rows["| dropped reply"] == "| dropped reply |  |  | 1T 1H | 1T 1H |  |  |"
    assert rows["| clock skew"].count("|") == rows["| kill -9 redis"].count("|")
