"""Results of ended runs: counted once, in the epoch they belong to."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Engine

from shared.providence.run_state import Records, new_records
from shared.providence.sizing import CohortSums
from shared.reconciliation.demand import EndedRuns
from shared.storage import cohorts
from shared.storage.runs import assign_height

NOTHING = CohortSums(0, 0, 0.0, 0.0)


def ended_runs(*pnl: float, product_id: int = 1, height: int = 0, fills: int = 2) -> Records:
    records = new_records(len(pnl))
    records["run_id"] = np.arange(1, len(pnl) + 1)
    records["product_id"], records["height"], records["fill_seq"] = product_id, height, fills
    records["start_balance"], records["live_pnl"] = 100.0, pnl
    return records


def add(engine: Engine, *groups: Records) -> None:
    for records in groups:
        with engine.begin() as conn:
            cohorts.add(conn, records)


def ended(engine: Engine) -> dict[int, EndedRuns]:
    with engine.connect() as conn:
        return cohorts.ended(conn)


def test_winners_and_losers_add_up_by_product(engine: Engine) -> None:
    add(engine, ended_runs(50.0, -25.0, 0.0), ended_runs(25.0), ended_runs(-50.0, product_id=2))
    assert ended(engine) == {
        1: EndedRuns(CohortSums(4, 2, 0.75, 0.25), NOTHING),
        2: EndedRuns(CohortSums(1, 0, 0.0, 0.5), NOTHING),
    }


def test_runs_that_never_traded_say_nothing(engine: Engine) -> None:
    add(engine, ended_runs(5.0, fills=0), ended_runs())
    assert ended(engine) == {}


def test_a_height_turns_the_open_epoch_into_history(engine: Engine) -> None:
    add(engine, ended_runs(50.0))
    height = assign_height(engine, "take_profit", account_value=None, now_ms=1)
    add(engine, ended_runs(-25.0), ended_runs(25.0, 25.0, height=height))
    assert ended(engine) == {1: EndedRuns(CohortSums(1, 0, 0.0, 0.25), CohortSums(3, 3, 1.0, 0.0))}
