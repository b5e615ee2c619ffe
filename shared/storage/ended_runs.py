"""Rows of runs that ended long ago, as they leave the database in the order in which they ended.

What a later reader still needs of them stays: the cohorts' results (``cohort_results``), the sum of
what they made of the account's money (``attribution_runs``, as run 0), and the highest id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
import pyarrow as pa
from sqlalchemy import Connection, delete, func, literal, select
from sqlalchemy.dialects.mysql import insert

from shared.storage.tables import attribution_runs as attributed
from shared.storage.tables import run_checkpoints, runs

SUMMARY_RUN: Final = 0
"""Stands for all runs that have left ``attribution_runs``; no run has this id."""

_MONEY: Final = ("pnl_usd", "fees_usd", "funding_usd", "fills")
_MADE: Final = {name: f"account_{name}" for name in _MONEY}
SCHEMA: Final = pa.schema(
    [(name, pa.int64()) for name in ("id", "shard_id", "product_id")]
    + [(name, pa.string()) for name in ("symbol", "interpretation")]
    + [(name, pa.int64()) for name in ("parent_id", "generation", "spawn_tick", "exit_tick")]
    + [("exit_reason", pa.string())]
    + [(name, pa.int64()) for name in ("height", "height_tick", "completed_tick")]
    + [(name, pa.float64()) for name in ("start_balance", "live_pnl")]
    + [("fill_count", pa.int64()), ("run_state", pa.string()), ("created_ms", pa.int64())]
    + [(_MADE[name], pa.float64()) for name in _MONEY[:3]]
    + [(_MADE["fills"], pa.int64())]
)
"""An archived run: its row, its last record as JSON, and its part of the account in USD."""


# Ids are given by counting on from the highest, so that run stays.
_MAY_GO: Final = runs.c.id < select(func.max(runs.c.id)).scalar_subquery()


def first_end(conn: Connection) -> int | None:
    """Tick (ms) at which the first of the stored runs ended, that with the highest id aside."""
    statement = (
        select(runs.c.completed_tick)
        .where(runs.c.completed_tick.is_not(None), _MAY_GO)
        .order_by(runs.c.completed_tick)
        .limit(1)
    )
    end = conn.execute(statement).scalar_one_or_none()
    return None if end is None else int(end)


def page(conn: Connection, before_ms: int, limit: int) -> Any:
    """The first runs that ended before ``before_ms``, as an Arrow table of ``SCHEMA``."""
    own = [runs.c[name] for name in SCHEMA.names if name in runs.c]
    money = [attributed.c[name].label(label) for name, label in _MADE.items()]
    statement = (
        select(*own, *money)
        .outerjoin(
            attributed,
            (attributed.c.run_id == runs.c.id) & (attributed.c.symbol == runs.c.symbol),
        )
        .where(runs.c.completed_tick < before_ms, _MAY_GO)
        .order_by(runs.c.completed_tick, runs.c.id)
        .limit(limit)
    )
    rows = [
        {**row, "run_state": orjson.dumps(row["run_state"]).decode()}
        for row in conn.execute(statement).mappings()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def forget(conn: Connection, run_ids: Sequence[int]) -> None:
    """Delete these runs with their checkpoints; what they made of the account is added up."""
    if not run_ids:
        return
    gone = attributed.c.run_id.in_(run_ids)
    sums = select(
        literal(SUMMARY_RUN),
        attributed.c.symbol,
        *(func.sum(attributed.c[name]) for name in _MONEY),
    ).where(gone)
    statement = insert(attributed).from_select(
        ["run_id", "symbol", *_MONEY], sums.group_by(attributed.c.symbol)
    )
    added = {name: attributed.c[name] + statement.inserted[name] for name in _MONEY}
    conn.execute(statement.on_duplicate_key_update(**added))
    conn.execute(delete(attributed).where(gone))
    conn.execute(delete(run_checkpoints).where(run_checkpoints.c.run_id.in_(run_ids)))
    conn.execute(delete(runs).where(runs.c.id.in_(run_ids)))
