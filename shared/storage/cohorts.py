"""The ``cohort_results`` table: what ended runs have earned, by epoch and product.

Added up in the transaction that ends a run, so that neither dead runs are forgotten (a cohort of
survivors would flatter itself) nor ended runs ever have to be read again.

A run belongs to the epoch of its height; without one, to the epoch that was open when it ended,
whose height is the next to be given. So giving a height turns the current cohort into history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, Executable, func, select, text
from sqlalchemy.dialects.mysql import insert

from shared.providence.run_state import Records
from shared.providence.sizing import CohortSums
from shared.reconciliation.demand import EndedRuns
from shared.storage.tables import cohort_results as t
from shared.storage.tables import epochs

# Those without a height belong to the epoch that was open at the tick they ended at.
_PRESENT: Final = text(
    """
    SELECT
        COALESCE(runs.height, 1 + (
            SELECT COALESCE(MAX(epochs.height), 0) FROM epochs
            WHERE epochs.effective_tick <= runs.completed_tick
        )) AS epoch,
        product_id, COUNT(*) AS runs, SUM(live_pnl > 0) AS wins,
        SUM(GREATEST(live_pnl / start_balance, 0)) AS sum_win,
        SUM(GREATEST(-live_pnl / start_balance, 0)) AS sum_loss
    FROM runs WHERE status = 'completed' AND fill_count > 0 GROUP BY 1, 2
    """
)
_SUMS = ("runs", "wins", "sum_win", "sum_loss")


def add(conn: Connection, completed: Records) -> None:
    """Count these ended runs; those that never traded say nothing.

    The caller holds the lock of their shard, without which no height can be given.
    """
    traded = completed[completed["fill_seq"] > 0]
    if not len(traded):
        return
    rows = list(_rows(traded, _newest_height(conn) + 1))
    statement = insert(t).values(rows)
    added = {name: t.c[name] + statement.inserted[name] for name in _SUMS}
    conn.execute(statement.on_duplicate_key_update(**added))


def ended(conn: Connection) -> dict[int, EndedRuns]:
    """Ended runs of every product, those of the open epoch apart from those before."""
    is_open = (t.c.epoch > _newest_height(conn)).label("is_open")
    statement = select(
        t.c.product_id, is_open, *(func.sum(t.c[name]).label(name) for name in _SUMS)
    ).group_by(t.c.product_id, is_open)
    nothing = CohortSums(0, 0, 0.0, 0.0)
    found: dict[int, EndedRuns] = {}
    for row in conn.execute(statement):
        sums = CohortSums(int(row.runs), int(row.wins), float(row.sum_win), float(row.sum_loss))
        before = found.get(row.product_id, EndedRuns(nothing, nothing))
        found[row.product_id] = (
            EndedRuns(sums, before.history) if row.is_open else EndedRuns(before.current, sums)
        )
    return found


def retired(conn: Connection) -> dict[tuple[int, int], CohortSums]:
    """Results by (epoch, product) of ended runs that have left the database: what is counted here
    beyond the runs that are still in it."""
    counted, present = _read(conn, select(t)), _read(conn, _PRESENT)
    gone: Counter[int] = Counter()
    for (_, product_id), row in counted.items():
        gone[product_id] += row.runs
    for (_, product_id), row in present.items():
        gone[product_id] -= row.runs
    found = {}
    for key, all_ in counted.items():
        left = present.get(key)
        runs_gone = all_.runs - (left.runs if left else 0)
        if gone[key[1]] > 0 and runs_gone > 0:
            found[key] = CohortSums(
                int(runs_gone),
                int(min(max(all_.wins - (left.wins if left else 0), 0), runs_gone)),
                max(float(all_.sum_win - (left.sum_win if left else 0.0)), 0.0),
                max(float(all_.sum_loss - (left.sum_loss if left else 0.0)), 0.0),
            )
    return found


def _read(conn: Connection, statement: Executable) -> dict[tuple[int, int], Any]:
    return {(row.epoch, row.product_id): row for row in conn.execute(statement)}


def _newest_height(conn: Connection) -> int:
    return int(conn.execute(select(func.coalesce(func.max(epochs.c.height), 0))).scalar_one())


def _rows(traded: Records, open_epoch: int) -> Iterator[dict[str, Any]]:
    """One row per epoch and product, in that order: the one order in which rows are locked."""
    epoch = np.where(traded["height"] > 0, traded["height"], open_epoch)
    growth = traded["live_pnl"] / traded["start_balance"]
    for number, product_id in sorted(
        set(zip(epoch.tolist(), traded["product_id"].tolist(), strict=True))
    ):
        own = growth[(epoch == number) & (traded["product_id"] == product_id)]
        yield {
            "epoch": number,
            "product_id": product_id,
            "runs": len(own),
            "wins": int((own > 0.0).sum()),
            "sum_win": float(own[own > 0.0].sum()),
            "sum_loss": float(-own[own <= 0.0].sum()) + 0.0,
        }
