"""Figures and matrix of outcomes, and outcomes that outlive a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.checker import Violation
from chaos.faults import FAULTS, Step
from chaos.outcomes import DamagedOutcomes, OutcomeFile
from chaos.report import coverage, matrix, summary
from chaos.runner import Outcome, Struck
from chaos.schedule import Strike

KILL = Struck(Strike(Step.SEND, "kill -9 redis", 0, 0), at_step=True)
DROP = Struck(Strike(Step.ACK, "dropped reply", 0.5, 3), at_step=True)
VAIN = Struck(Strike(Step.ACK, "kill -9 redis", 0, 0), at_step=False)
OUTCOMES = [
    Outcome(1, (KILL, DROP), (), 4.0, (), 9, 20.0),
    Outcome(2, (DROP,), ("BTC: 5 refusals",), 8.04, (), 8, 22.0),
    Outcome(3, (KILL, VAIN), (), None, (Violation("overlap", "BTC"),), 0, 140.0),
]


def test_figures_of_a_run() -> None:
    assert summary(OUTCOMES) == {
        "seeds": 3,
        "faults": 5,
        "orders": 17,
        "violations": 1,
        "halted": 1,
        "recovery_p50_s": 4.0,
        "recovery_p99_s": 8.0,
    }
    assert summary([])["recovery_p50_s"] is None


def test_every_fault_has_a_row_and_every_strike_a_cell() -> None:
    page = matrix(OUTCOMES)
    rows = {line.split(" | ")[0]: line for line in page.splitlines() if line.startswith("| ")}
    assert rows["| kill -9 redis"] == "| kill -9 redis |  | 1T 1V |  |  |  | 1V |"
    assert rows["| dropped reply"] == "| dropped reply |  |  | 1T 1H |  |  |  |"
    assert {f"| {name}" for name in FAULTS} <= set(rows)


def test_a_cell_counts_as_struck_only_with_an_order_at_its_step() -> None:
    assert coverage(OUTCOMES).startswith(f"2 of {len(FAULTS) * len(Step)} ")
    assert "1 strikes without an order" in coverage(OUTCOMES)


def test_a_stopped_run_goes_on_and_a_finished_one_begins_anew(tmp_path: Path) -> None:
    kept = OutcomeFile(tmp_path / "chaos", first=1, count=3, strikes=2)
    assert kept.read() == []
    kept.start([])
    kept.add(OUTCOMES[0])
    kept.add(OUTCOMES[1])
    assert kept.read() == OUTCOMES[:2]
    assert OutcomeFile(tmp_path / "chaos", first=2, count=3, strikes=2).read() == []
    kept.add(OUTCOMES[2])
    assert kept.read() == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    kept = OutcomeFile(tmp_path, first=1, count=3, strikes=2)
    kept.start(OUTCOMES[:1])
    with kept.path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(DamagedOutcomes, match="line 2"):
        kept.read()
