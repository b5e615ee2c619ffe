"""The ``runs`` table: who lives, what is asked of them, and the controls that ask it.

Rows are never deleted: a run's id, once given, names it for good. A control takes effect at a named
tick later than anything that was stepped; it locks the shards it concerns, so that an iteration
under way either came before it or starts again with it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, func, insert, select, text, update

from shared.database import UnitOfWork, retry_deadlocks
from shared.ports import Members, PopulationCount, RunIds, Shard, ids
from shared.providence.codes import Interpretation, Reason
from shared.providence.rules import RUIN
from shared.providence.run_state import RUN_DTYPE, Records
from shared.storage import shards
from shared.storage.tables import epochs
from shared.storage.tables import runs as t

# A bounded type keeps the joined rows in memory: as JSON, MariaDB would write them to disk first.
# What does not fit is NULL, which the column refuses.
_REFRESH: Final = text(
    """
    UPDATE runs JOIN JSON_TABLE(:rows, '$[*]' COLUMNS (
        id BIGINT PATH '$[0]', live_pnl DOUBLE PATH '$[1]', fill_count INT PATH '$[2]',
        run_state VARCHAR(4000) CHARACTER SET ascii PATH '$[3]'
    )) AS now ON now.id = runs.id
    SET runs.live_pnl = now.live_pnl, runs.fill_count = now.fill_count,
        runs.run_state = now.run_state
    """
)
# A run that was asked to exit keeps the reason it was asked for, unless another exit came first.
_COMPLETE: Final = text(
    """
    UPDATE runs JOIN JSON_TABLE(:rows, '$[*]' COLUMNS (
        id BIGINT PATH '$.run_id', tick BIGINT PATH '$.tick', reason INT PATH '$.exit_reason'
    )) AS now ON now.id = runs.id
    SET runs.status = 'completed', runs.completed_tick = now.tick,
        runs.exit_reason = IF(
            now.reason = :asked AND runs.exit_reason IS NOT NULL, runs.exit_reason,
            ELT(now.reason + 1, :r0, :r1, :r2, :r3, :r4, :r5, :r6)
        )
    """
)
_SHARDS_PER_STATEMENT: Final = 20
_ROWS_PER_INSERT: Final = 2_000
"""About 3 MB; a server may refuse packets of more than 16 MB."""
_REASONS: Final = {f"r{reason.value}": reason.name.lower() for reason in Reason}


def members(conn: Connection, shard_id: int) -> Members:
    """Active runs of a shard with the controls asked of them."""
    statement = (
        select(t.c.id, t.c.exit_tick, t.c.height, t.c.height_tick)
        .where(t.c.shard_id == shard_id, t.c.status == "active")
        .order_by(t.c.id)
    )
    rows = np.array(
        [
            (row.id, row.exit_tick or 0, row.height or 0, row.height_tick or 0)
            for row in conn.execute(statement)
        ],
        dtype=np.int64,
    ).reshape(-1, 4)
    return Members(rows[:, 0].copy(), rows[:, 1], rows[:, 2].astype(np.int32), rows[:, 3])


def refresh(conn: Connection, records: Records) -> None:
    """Bring live PnL, fill count and the JSON form of these runs up to date."""
    if len(records):
        rows = [
            (state["run_id"], state["live_pnl"], state["fill_seq"], orjson.dumps(state).decode())
            for state in _plain(records)
        ]
        conn.execute(_REFRESH, {"rows": orjson.dumps(rows).decode()})


def complete(conn: Connection, records: Records) -> None:
    """Record that these runs have ended, why, and at which tick."""
    if len(records):
        rows = orjson.dumps(_plain(records)).decode()
        conn.execute(_COMPLETE, {"rows": rows, "asked": Reason.SIGNAL.value, **_REASONS})


def count(conn: Connection) -> PopulationCount:
    """How many runs are active, and how many of them were not asked to exit."""
    statement = select(func.count(), func.count(t.c.exit_tick)).where(t.c.status == "active")
    active, asked = conn.execute(statement).one()
    return PopulationCount(int(active), int(active) - int(asked))


def count_active(conn: Connection) -> int:
    """How many runs are active, from an index alone."""
    statement = select(func.count()).where(t.c.status == "active")
    return int(conn.execute(statement).scalar_one())


def occupancy(conn: Connection, shard_ids: Collection[int] | None = None) -> dict[int, int]:
    """Active runs per shard; shards without any are left out."""
    statement = select(t.c.shard_id, func.count()).where(t.c.status == "active")
    if shard_ids is not None:
        statement = statement.where(t.c.shard_id.in_(sorted(shard_ids)))
    return {int(s): int(n) for s, n in conn.execute(statement.group_by(t.c.shard_id))}


def symbol_counts(conn: Connection) -> dict[int, int]:
    """Active runs per product id."""
    statement = select(t.c.product_id, func.count()).where(t.c.status == "active")
    return {int(p): int(n) for p, n in conn.execute(statement.group_by(t.c.product_id))}


def next_id(conn: Connection) -> int:
    """The first id that was never given; hold the first shard's lock until it is used."""
    return int(conn.execute(select(func.coalesce(func.max(t.c.id), 0))).scalar_one()) + 1


def add(
    conn: Connection,
    records: Records,
    shard_ids: NDArray[np.int32],
    symbols: Mapping[int, str],
    now_ms: int,
) -> None:
    """Insert a row for each record; ``shard_ids`` beside them, ``symbols`` by product id."""
    rows = [
        {
            "id": state["run_id"],
            "shard_id": shard_id,
            "product_id": state["product_id"],
            "symbol": symbols[state["product_id"]],
            "status": "active",
            "interpretation": Interpretation(state["interpretation"]).name.lower(),
            "parent_id": state["parent_id"] or None,
            "generation": state["generation"],
            "spawn_tick": state["spawn_tick"],
            "start_balance": state["start_balance"],
            "live_pnl": state["live_pnl"],
            "fill_count": state["fill_seq"],
            "run_state": state,
            "created_ms": now_ms,
        }
        for state, shard_id in zip(_plain(records), shard_ids.tolist(), strict=True)
    ]
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        conn.execute(insert(t), rows[start : start + _ROWS_PER_INSERT])


def ask_to_exit(conn: Connection, run_ids: Collection[int] | None, reason: str) -> RunIds:
    """Within the caller's transaction: see :func:`request_exits`."""
    concerned = None if run_ids is None else _shards_of(conn, run_ids)
    locked = shards.lock(conn, concerned)
    asked = {"exit_tick": _next_tick(locked), "exit_reason": reason}
    chosen: list[int] = []
    for some in _in_groups(locked):
        open_runs = _active_in(some) & t.c.exit_tick.is_(None)
        if run_ids is not None:
            open_runs &= t.c.id.in_(sorted(run_ids))
        found = conn.scalars(select(t.c.id).where(open_runs)).all()
        if found:
            conn.execute(update(t).where(open_runs).values(**asked))
            chosen += found
    if chosen:
        shards.bump(conn, [shard.shard_id for shard in locked])
    return ids(sorted(chosen))


def worst(conn: Connection, limit: int) -> list[int]:
    """Ids of runs that were not asked to exit, lowest ``live_pnl`` first, then the youngest."""
    statement = (
        select(t.c.id)
        .where(t.c.status == "active", t.c.exit_tick.is_(None))
        .order_by(t.c.live_pnl, t.c.id.desc())
        .limit(limit)
    )
    return [row.id for row in conn.execute(statement)]


def request_exits(engine: Engine, run_ids: Collection[int] | None, reason: str) -> RunIds:
    """Ask active runs (all of them for None) to exit from a named tick on; which were asked now.

    The tick is one interval after the latest that any of their shards has stepped. A run that was
    asked before keeps its tick and reason.
    """

    def work() -> RunIds:
        with UnitOfWork(engine) as uow:
            asked = ask_to_exit(uow.conn, run_ids, reason)
            uow.commit()
            return asked

    return retry_deadlocks(work)


def assign_height(
    engine: Engine, kind: str, *, account_value: float | None, now_ms: int | None = None
) -> int:
    """Close an epoch: every active run without a height gets the next one; returns it.

    It counts from a named tick on, one interval after the latest that any shard has stepped; the
    runs trade on. ``epochs`` keeps their number and mean ``ln(equity / start_balance)``, as of
    their checkpoints. ``kind`` says what closed it.
    """

    def work() -> int:
        with UnitOfWork(engine) as uow:
            height = give_height(uow.conn, kind, account_value, now_ms or _now_ms())
            uow.commit()
            return height

    return retry_deadlocks(work)


def give_height(conn: Connection, kind: str, account_value: float | None, now_ms: int) -> int:
    """Within the caller's transaction: see :func:`assign_height`."""
    locked = shards.lock(conn)
    height = int(conn.execute(select(func.coalesce(func.max(epochs.c.height), 0))).scalar_one()) + 1
    growth = func.ln(func.greatest(1.0 + t.c.live_pnl / t.c.start_balance, RUIN))
    effective_tick = _next_tick(locked)
    run_count, growths = 0, 0.0
    for some in _in_groups(locked):
        chosen = _active_in(some) & t.c.height.is_(None)
        count, grown = conn.execute(select(func.count(), func.sum(growth)).where(chosen)).one()
        if count:
            conn.execute(update(t).where(chosen).values(height=height, height_tick=effective_tick))
            run_count, growths = run_count + count, growths + grown
    shards.bump(conn, [shard.shard_id for shard in locked])
    conn.execute(
        insert(epochs).values(
            height=height,
            kind=kind,
            effective_tick=effective_tick,
            account_value=account_value,
            run_count=run_count,
            mean_log_growth=growths / run_count if run_count else None,
            created_ms=now_ms,
        )
    )
    return height


def _shards_of(conn: Connection, run_ids: Collection[int]) -> list[int]:
    """A run never changes its shard, so this needs no lock."""
    statement = select(t.c.shard_id).where(t.c.id.in_(sorted(run_ids))).distinct()
    return [row.shard_id for row in conn.execute(statement)]


def _in_groups(locked: Sequence[Shard]) -> Iterator[list[int]]:
    """Ids of locked shards, some at a time: no statement outlasts the connection's patience."""
    for start in range(0, len(locked), _SHARDS_PER_STATEMENT):
        yield [shard.shard_id for shard in locked[start : start + _SHARDS_PER_STATEMENT]]


def _active_in(shard_ids: Collection[int]) -> ColumnElement[bool]:
    return (t.c.status == "active") & t.c.shard_id.in_(shard_ids)


def _next_tick(locked: list[Shard]) -> int:
    return max((shard.last_tick + shard.interval_ms for shard in locked), default=0)


def _plain(records: Records) -> list[dict[str, Any]]:
    """The JSON form of each record, as ``run_state.to_json`` gives it."""
    names = RUN_DTYPE.names or ()
    return [dict(zip(names, row, strict=True)) for row in records.tolist()]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
