"""The ``iteration_shards`` table: how far each group of runs is, and the fence of its commits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, select, update
from sqlalchemy.dialects.mysql import insert as upsert

from shared.ports import IterationCommit, Shard
from shared.storage.tables import iteration_shards as t

_COLUMNS = (t.c.id, t.c.last_tick, t.c.interval_ms, t.c.version, t.c.committed_ms)
# Built once: it runs for every shard at every tick.
_ADVANCE: Final = (
    update(t)
    .where(
        t.c.id == bindparam("shard"),
        t.c.last_tick == bindparam("base"),
        t.c.version == bindparam("base_version"),
    )
    .values(
        {
            name: bindparam(name)
            for name in (
                "last_tick",
                "interval_ms",
                "sums",
                "sums_tick",
                "committed_ms",
                "worker",
            )
        }
    )
)


def get(conn: Connection, shard_id: int) -> Shard | None:
    """One shard, None if it was never made."""
    row = conn.execute(select(*_COLUMNS).where(t.c.id == shard_id)).one_or_none()
    return None if row is None else _shard(row)


def get_all(conn: Connection, shard_ids: Collection[int] | None = None) -> list[Shard]:
    """These shards, as far as they were made, or all; in rising order of id."""
    return _read(conn, _of(select(*_COLUMNS), shard_ids))


def lock(conn: Connection, shard_ids: Collection[int] | None = None) -> list[Shard]:
    """Lock these shards (all for None) until the transaction ends, in rising order of id.

    The one order in which shards are locked: two who lock several cannot wait for each other.
    """
    return _read(conn, _of(select(*_COLUMNS).with_for_update(), shard_ids))


def create(
    conn: Connection, shard_ids: Collection[int], tick_ms: int, interval_ms: int, now_ms: int
) -> None:
    """Make those that are missing, without members and stepped up to ``tick_ms``."""
    rows = [
        {
            "id": shard_id,
            "last_tick": tick_ms,
            "interval_ms": interval_ms,
            "version": 0,
            "sums": {},
            "sums_tick": 0,
            "committed_ms": now_ms,
            "worker": "",
        }
        for shard_id in sorted(shard_ids)
    ]
    if rows:
        statement = upsert(t).values(rows)
        conn.execute(statement.on_duplicate_key_update(id=statement.inserted.id))


def advance(conn: Connection, commit: IterationCommit) -> bool:
    """Move the shard on if its tick and version still are those of ``commit.shard``."""
    values = {
        "shard": commit.shard.shard_id,
        "base": commit.shard.last_tick,
        "base_version": commit.shard.version,
        "last_tick": commit.tick,
        "interval_ms": commit.interval_ms,
        "sums": dict(commit.sums),
        "sums_tick": commit.tick,
        "committed_ms": commit.committed_ms,
        "worker": commit.worker,
    }
    return conn.execute(_ADVANCE, values).rowcount == 1


def bump(conn: Connection, shard_ids: Collection[int]) -> None:
    """Void every member list read before: members or what is asked of them have changed."""
    conn.execute(update(t).where(t.c.id.in_(sorted(shard_ids))).values(version=t.c.version + 1))


def move_on(conn: Connection, shard_ids: Collection[int], tick_ms: int, interval_ms: int) -> None:
    """Set locked shards without active runs to ``tick_ms``; nothing was to be stepped before."""
    if shard_ids:
        conn.execute(
            update(t)
            .where(t.c.id.in_(sorted(shard_ids)), t.c.last_tick < tick_ms)
            .values(last_tick=tick_ms, interval_ms=interval_ms)
        )


def sums(conn: Connection) -> list[tuple[Shard, int, Mapping[str, Any]]]:
    """Every shard with the tick (ms) and the JSON of its sums, in rising order of id."""
    rows = conn.execute(select(*_COLUMNS, t.c.sums_tick, t.c.sums).order_by(t.c.id))
    return [(_shard(row), row.sums_tick, row.sums) for row in rows]


def _of(statement: Select[Any], shard_ids: Collection[int] | None) -> Select[Any]:
    return statement if shard_ids is None else statement.where(t.c.id.in_(sorted(shard_ids)))


def _read(conn: Connection, statement: Select[Any]) -> list[Shard]:
    return [_shard(row) for row in conn.execute(statement.order_by(t.c.id))]


def _shard(row: Any) -> Shard:
    return Shard(row.id, row.last_tick, row.interval_ms, row.version, row.committed_ms)
