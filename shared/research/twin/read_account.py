"""The account's part of a recorded window: executions, orders, funding, transfers, readings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sqlalchemy import Connection, select

from shared.research.errors import ResearchError
from shared.research.tables import FloatArray
from shared.research.twin.recorded import Flow, LivedAccount, LivedFill, Remainder
from shared.storage.tables import attribution, balance_history, order_execution_log, order_fills

RECONCILE = "reconcile"
NO_COLUMN = -1


def read_account(
    conn: Connection, columns: Mapping[str, int], from_ms: int, to_ms: int
) -> LivedAccount:
    """What the account did in (``from_ms``, ``to_ms``]; ``columns`` by symbol.

    Raises
    ------
    ResearchError
        If the account was never read in the window.
    """
    fills = _fills(conn, columns, from_ms, to_ms)
    readings = _readings(conn, from_ms, to_ms)
    if not len(readings):
        raise ResearchError(f"the account was not read between {from_ms} and {to_ms}")
    remainders, orders = _orders(conn, columns, from_ms, to_ms)
    return LivedAccount(
        start_usd=float(readings[0, 1]),
        start_size=tuple(
            _start_size(conn, symbol, [f for f in fills if f.column == column], from_ms)
            for symbol, column in columns.items()
        ),
        fills=tuple(fills),
        remainders=tuple(remainders),
        funding=tuple(_flows(conn, "funding", columns, from_ms, to_ms)),
        transfers=tuple(_flows(conn, "transfer", columns, from_ms, to_ms)),
        readings=readings,
        orders=orders,
    )


def _fills(
    conn: Connection, columns: Mapping[str, int], from_ms: int, to_ms: int
) -> list[LivedFill]:
    t, log = order_fills.c, order_execution_log.c
    query = (
        select(order_fills, log.origin)
        .join(order_execution_log, log.intent_id == t.intent_id, isouter=True)
        .where(t.time_ms > from_ms, t.time_ms <= to_ms, t.coin.in_(list(columns)))
        .order_by(t.time_ms, t.tid)
    )
    return [
        LivedFill(
            time_ms=int(row.time_ms),
            column=columns[row.coin],
            size=float(row.size if row.side == "buy" else -row.size),
            price=float(row.price),
            fee_usd=float(row.fee_usd),
            start_size=float(row.start_position),
            ours=row.origin == RECONCILE,
        )
        for row in conn.execute(query)
    ]


def _start_size(conn: Connection, symbol: str, own: list[LivedFill], from_ms: int) -> float:
    if own:
        return own[0].start_size
    t = order_fills.c
    row = conn.execute(
        select(t.start_position, t.side, t.size)
        .where(t.coin == symbol, t.time_ms <= from_ms)
        .order_by(t.time_ms.desc(), t.tid.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return 0.0
    return float(row.start_position + (row.size if row.side == "buy" else -row.size))


def _orders(
    conn: Connection, columns: Mapping[str, int], from_ms: int, to_ms: int
) -> tuple[list[Remainder], int]:
    """What orders of reconciliation did not get, and how many orders there were."""
    t = order_execution_log.c
    rows = conn.execute(
        select(order_execution_log)
        .where(
            t.created_ms > from_ms,
            t.created_ms <= to_ms,
            t.origin == RECONCILE,
            t.symbol.in_(list(columns)),
        )
        .order_by(t.symbol, t.created_ms, t.id)
    ).all()
    found = []
    for place, row in enumerate(rows):
        missing = row.size - row.filled_size
        if missing == 0:
            continue
        after = rows[place + 1] if place + 1 < len(rows) else None
        follows = after is not None and after.symbol == row.symbol
        found.append(
            Remainder(
                columns[row.symbol],
                float(missing if row.side == "buy" else -missing),
                int(row.resolved_ms or row.updated_ms),
                int(after.created_ms) if after is not None and follows else to_ms,
            )
        )
    return found, len(rows)


def _flows(
    conn: Connection, kind: str, columns: Mapping[str, int], from_ms: int, to_ms: int
) -> list[Flow]:
    t = attribution.c
    rows = conn.execute(
        select(t.time_ms, t.symbol, t.account_usd)
        .where(t.kind == kind, t.time_ms > from_ms, t.time_ms <= to_ms)
        .order_by(t.time_ms, t.symbol)
    )
    return [
        Flow(int(row.time_ms), columns.get(row.symbol, NO_COLUMN), float(row.account_usd))
        for row in rows
    ]


def _readings(conn: Connection, from_ms: int, to_ms: int) -> FloatArray:
    """[N, 2]; the first is the newest one up to the first tick, if there is one."""
    t = balance_history.c
    before = conn.execute(
        select(t.venue_ms, t.account_value)
        .where(t.venue_ms <= from_ms)
        .order_by(t.venue_ms.desc(), t.id.desc())
        .limit(1)
    ).all()
    within = conn.execute(
        select(t.venue_ms, t.account_value)
        .where(t.venue_ms > from_ms, t.venue_ms <= to_ms)
        .order_by(t.venue_ms, t.id)
    ).all()
    rows = [(int(row.venue_ms), float(row.account_value)) for row in (*before, *within)]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)
