"""The ``run_checkpoints`` table: the record each run was born with, and its newest one.

From the newest checkpoint a lost record is rebuilt by stepping through the tick inputs; from the
birth and the journal a ledger is verified.
"""

from __future__ import annotations

from typing import Final

import orjson
from sqlalchemy import Connection, Function, Select, func, select, text

from shared.ports import RunIds
from shared.providence.run_state import Records, new_records, pack, unpack
from shared.storage.tables import run_checkpoints as t

_ROWS_PER_INSERT: Final = 5_000
"""About 3 MB; a server may refuse packets of more than 16 MB."""
_INSERT: Final = text(
    """
    INSERT INTO run_checkpoints (run_id, tick, record, live_pnl)
    SELECT run_id, tick, UNHEX(record), live_pnl FROM JSON_TABLE(:rows, '$[*]' COLUMNS (
        run_id BIGINT PATH '$[0]', tick BIGINT PATH '$[1]',
        record VARCHAR(640) CHARACTER SET ascii PATH '$[2]', live_pnl DOUBLE PATH '$[3]'
    )) AS checkpoints
    """
)
# What lies between the birth and the checkpoint just written serves nobody.
_PRUNE: Final = text(
    """
    DELETE old FROM run_checkpoints AS old
    JOIN JSON_TABLE(:rows, '$[*]' COLUMNS (
        run_id BIGINT PATH '$[0]', born BIGINT PATH '$[1]', tick BIGINT PATH '$[2]'
    )) AS kept ON kept.run_id = old.run_id
    WHERE old.tick > kept.born AND old.tick < kept.tick
    """
)


def insert(conn: Connection, records: Records) -> None:
    """Add a checkpoint of each record at its own tick."""
    for start in range(0, len(records), _ROWS_PER_INSERT):
        part = records[start : start + _ROWS_PER_INSERT]
        rows = [
            (run_id, tick, blob.hex(), live_pnl)
            for run_id, tick, blob, live_pnl in zip(
                part["run_id"].tolist(),
                part["tick"].tolist(),
                pack(part),
                part["live_pnl"].tolist(),
                strict=True,
            )
        ]
        conn.execute(_INSERT, {"rows": orjson.dumps(rows).decode()})


def replace(conn: Connection, records: Records) -> None:
    """Add a checkpoint of each record and drop those between it and the run's birth."""
    if not len(records):
        return
    insert(conn, records)
    kept = zip(
        records["run_id"].tolist(),
        records["spawn_tick"].tolist(),
        records["tick"].tolist(),
        strict=True,
    )
    conn.execute(_PRUNE, {"rows": orjson.dumps(list(kept)).decode()})


def newest(conn: Connection, run_ids: RunIds, until_tick: int) -> Records:
    """The newest checkpoint of each run at or before ``until_tick``, in rising order of id."""
    return _pick(conn, run_ids, func.max(t.c.tick), until_tick)


def births(conn: Connection, run_ids: RunIds) -> Records:
    """The oldest checkpoint of each run, in rising order of id."""
    return _pick(conn, run_ids, func.min(t.c.tick), None)


def _pick(
    conn: Connection, run_ids: RunIds, which: Function[int], until_tick: int | None
) -> Records:
    if not len(run_ids):
        return new_records(0)
    candidates: Select[tuple[int, int]] = (
        select(t.c.run_id, which.label("tick"))
        .where(t.c.run_id.in_(run_ids.tolist()))
        .group_by(t.c.run_id)
    )
    if until_tick is not None:
        candidates = candidates.where(t.c.tick <= until_tick)
    chosen = candidates.subquery()
    statement = (
        select(t.c.record)
        .join(chosen, (t.c.run_id == chosen.c.run_id) & (t.c.tick == chosen.c.tick))
        .order_by(t.c.run_id)
    )
    return unpack([bytes(row.record) for row in conn.execute(statement)])
