"""What take_profit remembers of the account's epoch: one row, locked while it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.mysql import insert

from shared.storage.tables import take_profit_state as t

_ROW = 1


@dataclass(frozen=True, slots=True)
class TakeProfitState:
    """The row: USD and UTC ms. ``samples`` is plain JSON whose meaning is take_profit's own."""

    baseline: float | None
    peak: float | None
    samples: Mapping[str, Any]
    ledger_cursor_ms: int
    last_event_ms: int


class TakeProfitStateStore:
    """The row over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def load(self, *, lock: bool = False) -> TakeProfitState | None:
        """The row, None before the first save; ``lock`` holds it until the transaction ends."""
        query = select(t).where(t.c.id == _ROW)
        row = self._conn.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None:
            return None
        return TakeProfitState(
            baseline=row.baseline,
            peak=row.peak,
            samples=row.samples,
            ledger_cursor_ms=int(row.ledger_cursor_ms),
            last_event_ms=int(row.last_event_ms),
        )

    def save(self, state: TakeProfitState, now_ms: int) -> None:
        """Write the row."""
        values = {
            "baseline": state.baseline,
            "peak": state.peak,
            "samples": dict(state.samples),
            "ledger_cursor_ms": state.ledger_cursor_ms,
            "last_event_ms": state.last_event_ms,
            "updated_ms": now_ms,
        }
        self._conn.execute(insert(t).values(id=_ROW, **values).on_duplicate_key_update(**values))
