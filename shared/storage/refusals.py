"""Refusals in a row by symbol; they survive a restart as the risk manager's state does."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.mysql import insert

from shared.reconciliation.progress import Refusals
from shared.storage.tables import risk_state

PREFIX = "refusals:"


class RefusalStore:
    """Rows of ``risk_state`` over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def load(self, symbols: Collection[str]) -> dict[str, Refusals]:
        """The count of every symbol."""
        rows = self._conn.execute(
            select(risk_state.c.name, risk_state.c.value, risk_state.c.reason).where(
                risk_state.c.name.in_([PREFIX + symbol for symbol in sorted(symbols)])
            )
        )
        found = {
            row.name.removeprefix(PREFIX): Refusals(
                int(row.value["count"]),
                int(row.value["last_ms"]),
                row.reason,
                row.value.get("intent_id", ""),
            )
            for row in rows
        }
        return {symbol: found.get(symbol, Refusals()) for symbol in symbols}

    def save(self, refusals: Mapping[str, Refusals], now_ms: int) -> None:
        """Write the counts of these symbols."""
        for symbol, refused in sorted(refusals.items()):
            columns = {
                "value": {
                    "count": refused.count,
                    "last_ms": refused.last_ms,
                    "intent_id": refused.intent_id,
                },
                "reason": refused.said[:255],
                "actor": "reconciliation",
                "updated_ms": now_ms,
            }
            statement = insert(risk_state).values(name=PREFIX + symbol, **columns)
            self._conn.execute(statement.on_duplicate_key_update(**columns))

    def forget(self, symbol: str) -> None:
        """Count from zero: a person has looked into what was refused."""
        self._conn.execute(delete(risk_state).where(risk_state.c.name == PREFIX + symbol))
