"""The days of ``run_fills``: its partitions, and what lies in them.

The application has no right to change tables. Two procedures of the schema's owner make days ahead
and drop the oldest one, and refuse anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, text

from shared.providence.fills import FILL_DTYPE, Fills
from shared.storage.fills import COLUMNS
from shared.storage.tables import run_fills as t

DAY_MS: Final = 86_400_000
_BOUNDS: Final = text(
    """
    SELECT CAST(partition_description AS SIGNED) AS end_ms FROM information_schema.partitions
    WHERE table_schema = DATABASE() AND table_name = 'run_fills' AND partition_name <> 'p_future'
    ORDER BY partition_ordinal_position
    """
)


@dataclass(frozen=True, slots=True)
class FillDay:
    """A partition: fills of ticks before ``end_ms`` that are in no partition before it.

    All of them are of the UTC day that ends then, but in the first one that was ever made.
    """

    end_ms: int


def days(conn: Connection) -> list[FillDay]:
    """The days that have a partition, oldest first."""
    return [FillDay(int(row.end_ms)) for row in conn.execute(_BOUNDS)]


def add_days(conn: Connection, until_ms: int) -> None:
    """Make a partition for each day up to ``until_ms``, at most a week ahead."""
    conn.execute(text("CALL add_run_fills_days(:until_ms)"), {"until_ms": until_ms})


def drop(conn: Connection, day: FillDay) -> None:
    """Drop the oldest day with all that is in it. Raises ``DBAPIError`` for any other."""
    conn.execute(text("CALL drop_run_fills_day(:end_ms)"), {"end_ms": day.end_ms})


def count(conn: Connection, day: FillDay) -> int:
    """Fills of the oldest day."""
    return int(conn.execute(select(func.count()).where(t.c.tick_ms < day.end_ms)).scalar_one())


def page(conn: Connection, day: FillDay, after: tuple[int, int], limit: int) -> Fills:
    """Fills of the oldest day by run and sequence number, those after ``after`` = (run, number)."""
    run_id, fill_seq = after
    later: ColumnElement[bool] = or_(
        t.c.run_id > run_id, and_(t.c.run_id == run_id, t.c.fill_seq > fill_seq)
    )
    statement = (
        select(*COLUMNS)
        .where(t.c.tick_ms < day.end_ms, later)
        .order_by(t.c.run_id, t.c.fill_seq)
        .limit(limit)
    )
    return np.array([tuple(row) for row in conn.execute(statement)], dtype=FILL_DTYPE)
