"""The ``cohort_results`` table: what ended runs have earned, by epoch and product.

Added up in the transaction that ends a run, so that neither dead runs are forgotten (a cohort of
survivors would flatter itself) nor ended runs ever have to be read again.

A run belongs to the epoch of its height; without one, to the epoch that was open when it ended,
whose height is the next to be given. So giving a height turns the current cohort into history.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.mysql import insert

from shared.providence.run_state import Records
from shared.providence.sizing import CohortSums
from shared.reconciliation.demand import EndedRuns
from shared.storage.tables import cohort_results as t
from shared.storage.tables import epochs

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
