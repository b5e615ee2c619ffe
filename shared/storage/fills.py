"""The ``run_fills`` table: the append-only journal of every run."""

from __future__ import annotations

from typing import Final

import numpy as np
import orjson
from sqlalchemy import Connection, select, text

from shared.ports import RunIds
from shared.providence.fills import FILL_DTYPE, Fills
from shared.storage.tables import run_fills as t

# One statement and one parameter for any number of rows: MariaDB reads the numbers from JSON
# faster than the connector can quote them, and to the same bits.
_INSERT: Final = text(
    """
    INSERT INTO run_fills
        (run_id, fill_seq, tick_ms, product_id, size, price, fee, funding_index, reason)
    SELECT * FROM JSON_TABLE(:fills, '$[*]' COLUMNS (
        run_id BIGINT PATH '$[0]', fill_seq INT PATH '$[1]', tick_ms BIGINT PATH '$[2]',
        product_id INT PATH '$[3]', size DOUBLE PATH '$[4]', price DOUBLE PATH '$[5]',
        fee DOUBLE PATH '$[6]', funding_index DOUBLE PATH '$[7]', reason INT PATH '$[8]'
    )) AS fills
    """
)

_ROWS_PER_INSERT: Final = 20_000
"""About 2 MB of JSON; a server may refuse packets of more than 16 MB."""

COLUMNS: Final = (
    t.c.run_id,
    t.c.fill_seq,
    t.c.tick_ms,
    t.c.product_id,
    t.c.size,
    t.c.price,
    t.c.fee,
    t.c.funding_index,
    t.c.reason,
)
"""The columns in the order of ``FILL_DTYPE``."""


def insert(conn: Connection, fills: Fills) -> None:
    """Append fills; a fill that is already there fails the transaction."""
    for start in range(0, len(fills), _ROWS_PER_INSERT):
        rows = fills[start : start + _ROWS_PER_INSERT].tolist()
        conn.execute(_INSERT, {"fills": orjson.dumps(rows).decode()})


def of_runs(conn: Connection, run_ids: RunIds) -> Fills:
    """The journal of these runs, by run and sequence number."""
    statement = (
        select(*COLUMNS).where(t.c.run_id.in_(run_ids.tolist())).order_by(t.c.run_id, t.c.fill_seq)
    )
    rows = [tuple(row) for row in conn.execute(statement)]
    return np.array(rows, dtype=FILL_DTYPE)
