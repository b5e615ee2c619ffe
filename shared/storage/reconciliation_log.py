"""Why there was a trade, or none: one record per look at a symbol.

Looks that find the same thing again are folded into the record of the last one for up to
``FOLD_MS``: the record moves on to the newest look and keeps in its detail when the first was
(``first_ms``) and how many there were (``looks``). Orders are never folded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, tuple_, update

from shared.storage.tables import reconciliation_log as log

FOLD_MS = 600_000
_NUMBER = re.compile(r"\d+(\.\d+)?")


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
        """Keep decisions; one that says what the symbol's last one says is folded into it."""
        last = self._last({entry.symbol for entry in entries if entry.intent_id is None})
        fresh, folded = [], []
        for entry in entries:
            row = last.get(entry.symbol)
            if row is not None and _says_the_same(row, entry):
                folded.append(_folded(row, entry))
            else:
                fresh.append(_columns(entry))
        if fresh:
            self._conn.execute(insert(log), fresh)
        if folded:
            self._conn.execute(
                update(log)
                .where(log.c.id == bindparam("of_id"))
                .values(
                    at_ms=bindparam("new_ms"),
                    gap_usd=bindparam("new_gap"),
                    detail=bindparam("new_detail"),
                ),
                folded,
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

    def _last(self, symbols: Collection[str]) -> dict[str, Row[Any]]:
        """The newest record of each symbol that has one."""
        if not symbols:
            return {}
        newest = (
            select(log.c.symbol, func.max(log.c.at_ms))
            .where(log.c.symbol.in_(sorted(symbols)))
            .group_by(log.c.symbol)
        )
        rows = self._conn.execute(
            select(log).where(tuple_(log.c.symbol, log.c.at_ms).in_(newest)).order_by(log.c.id)
        )
        return {row.symbol: row for row in rows}

    def _many(self, query: Select[Any]) -> list[WhyEntry]:
        return [_entry(row) for row in self._conn.execute(query)]


def _says_the_same(row: Row[Any], entry: WhyEntry) -> bool:
    """Whether a look found what the record says, numbers aside, and not too long after it began."""
    first_ms = int(row.detail.get("first_ms", row.at_ms))
    return (
        row.intent_id is None
        and entry.intent_id is None
        and row.decision == entry.decision
        and 0 <= entry.at_ms - first_ms < FOLD_MS
        and _wording(row.detail) == _wording(entry.detail)
    )


def _wording(detail: Mapping[str, Any]) -> str:
    return _NUMBER.sub("#", str(detail.get("reason", "")))


def _columns(entry: WhyEntry) -> dict[str, Any]:
    return {
        "at_ms": entry.at_ms,
        "symbol": entry.symbol,
        "decision": entry.decision,
        "intent_id": entry.intent_id,
        "gap_usd": entry.gap_usd,
        "detail": dict(entry.detail),
    }


def _folded(row: Row[Any], entry: WhyEntry) -> dict[str, Any]:
    since = {
        "first_ms": int(row.detail.get("first_ms", row.at_ms)),
        "looks": int(row.detail.get("looks", 1)) + 1,
    }
    return {
        "of_id": row.id,
        "new_ms": max(int(row.at_ms), entry.at_ms),
        "new_gap": entry.gap_usd,
        "new_detail": {**entry.detail, **since},
    }


def _entry(row: Row[Any]) -> WhyEntry:
    return WhyEntry(
        at_ms=int(row.at_ms),
        symbol=row.symbol,
        decision=row.decision,
        intent_id=row.intent_id,
        gap_usd=row.gap_usd,
        detail=row.detail,
    )
