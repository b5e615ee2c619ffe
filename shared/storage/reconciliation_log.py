"""Why there was a trade, or none: one record per look at a symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update

from shared.storage.tables import reconciliation_log as log


@dataclass(frozen=True, slots=True)
class WhyEntry:
    """One decision about one symbol and everything it was made from.

    ``gap_usd`` is the distance between position and target where both are known; ``detail``
    plain JSON: inputs, runs, quorum, plan and, for a trade, the gateway's reply.
    """

    at_ms: int
    symbol: str
    decision: str
    intent_id: str | None
    gap_usd: float | None
    detail: Mapping[str, Any]


class ReconciliationLog:
    """The records over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def add(self, entries: Sequence[WhyEntry]) -> None:
        """Append decisions."""
        if entries:
            self._conn.execute(
                insert(log),
                [
                    {
                        "at_ms": entry.at_ms,
                        "symbol": entry.symbol,
                        "decision": entry.decision,
                        "intent_id": entry.intent_id,
                        "gap_usd": entry.gap_usd,
                        "detail": dict(entry.detail),
                    }
                    for entry in entries
                ],
            )

    def complete(self, entries: Sequence[WhyEntry]) -> None:
        """Rewrite decisions once their reply is there; found by their time and symbol."""
        if entries:
            self._conn.execute(
                update(log)
                .where(
                    log.c.symbol == bindparam("of_symbol"),
                    log.c.at_ms == bindparam("of_ms"),
                )
                .values(
                    decision=bindparam("new_decision"),
                    intent_id=bindparam("new_intent"),
                    detail=bindparam("new_detail"),
                ),
                [
                    {
                        "of_symbol": entry.symbol,
                        "of_ms": entry.at_ms,
                        "new_intent": entry.intent_id,
                        "new_decision": entry.decision,
                        "new_detail": dict(entry.detail),
                    }
                    for entry in entries
                ],
            )

    def of_symbol(self, symbol: str, limit: int = 20) -> list[WhyEntry]:
        """The newest decisions about a symbol, newest first."""
        query = select(log).where(log.c.symbol == symbol)
        return self._many(query.order_by(log.c.at_ms.desc(), log.c.id.desc()).limit(limit))

    def of_intent(self, intent_id: str) -> list[WhyEntry]:
        """The decisions that named an intent, oldest first."""
        return self._many(select(log).where(log.c.intent_id == intent_id).order_by(log.c.id))

    def newest(self) -> list[WhyEntry]:
        """The last decision about each symbol, by symbol."""
        symbols = self._conn.execute(select(log.c.symbol).distinct()).scalars().all()
        return [self.of_symbol(symbol, limit=1)[0] for symbol in sorted(symbols)]

    def _many(self, query: Select[Any]) -> list[WhyEntry]:
        return [_entry(row) for row in self._conn.execute(query)]


def _entry(row: Row[Any]) -> WhyEntry:
    return WhyEntry(
        at_ms=int(row.at_ms),
        symbol=row.symbol,
        decision=row.decision,
        intent_id=row.intent_id,
        gap_usd=row.gap_usd,
        detail=row.detail,
    )
