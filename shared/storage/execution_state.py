"""Where each symbol's orders stand, read together for all symbols."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from shared.orders.states import OrderState
from shared.reconciliation.consensus import RecordedFill
from shared.reconciliation.intents import Execution
from shared.reconciliation.progress import Ended
from shared.storage.risk_state import RiskStateStore
from shared.storage.tables import order_execution_log as log
from shared.storage.tables import order_fills, plan_epochs

RECENT_EPOCHS = 5
"""So many finished intents of a symbol are looked at; earlier ones were when they were recent."""
CLOCK_TOLERANCE_MS = 3_600_000
"""A fill's venue time is at most this much before its intent's creation by our clock."""


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """One read of the journal: per symbol its epoch, open intent, last settlement and fills."""

    executions: dict[str, Execution]
    fills: dict[str, tuple[RecordedFill, ...]]


class ExecutionStateStore:
    """Reads of the intent journal over one connection."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def read(self, symbols: Collection[str], fills_since_ms: int) -> ExecutionState:
        """The state of every symbol of ``symbols``, with its fills from ``fills_since_ms`` on.

        The open intents are read first: an intent that ends while this runs is then reported
        as open, never as absent with an old settlement.
        """
        wanted = sorted(symbols)
        open_intents = self._open_intents()
        epochs = self._epochs(wanted)
        filled = self._last_fills(wanted)
        resumed = RiskStateStore(self._conn).resumed_ms(wanted)
        unrecorded = self._unrecorded(epochs)
        ended = self._ended(epochs)
        return ExecutionState(
            executions={
                symbol: Execution(
                    plan_epoch=epochs[symbol][0] if symbol in epochs else 0,
                    open_intent=open_intents.get(symbol),
                    settled_ms=max(
                        epochs[symbol][1] if symbol in epochs else 0,
                        filled.get(symbol, 0),
                        resumed.get(symbol, 0),
                    ),
                    unrecorded=unrecorded.get(symbol),
                    ended=_unless_resumed(ended.get(symbol), resumed.get(symbol, 0)),
                )
                for symbol in wanted
            },
            fills=self._fills(wanted, fills_since_ms),
        )

    def ours(self, symbols: Collection[str]) -> list[str]:
        """Those of ``symbols`` whose last fill was asked for by reconciliation."""
        return [symbol for symbol in sorted(symbols) if self._last_origin(symbol) == "reconcile"]

    def _last_origin(self, symbol: str) -> str | None:
        query = (
            select(log.c.origin)
            .select_from(
                order_fills.join(log, log.c.intent_id == order_fills.c.intent_id, isouter=True)
            )
            .where(order_fills.c.coin == symbol)
            .order_by(order_fills.c.time_ms.desc())
            .limit(1)
        )
        return self._conn.execute(query).scalar_one_or_none()

    def venue_reply(self, intent_id: str) -> Any:
        """What the venue answered to an intent, as JSON; None if nothing is kept."""
        query = select(log.c.venue_reply).where(log.c.intent_id == intent_id)
        return self._conn.execute(query).scalar_one_or_none()

    def _open_intents(self) -> dict[str, str]:
        rows = self._conn.execute(
            select(log.c.open_symbol, log.c.intent_id).where(log.c.open_symbol.is_not(None))
        )
        return {row.open_symbol: row.intent_id for row in rows}

    def _epochs(self, symbols: list[str]) -> dict[str, tuple[int, int]]:
        """Per symbol its plan epoch and when that began: the last resolution."""
        epochs = plan_epochs
        rows = self._conn.execute(
            select(epochs.c.symbol, epochs.c.epoch, epochs.c.advanced_ms).where(
                epochs.c.symbol.in_(symbols)
            )
        )
        return {row.symbol: (int(row.epoch), int(row.advanced_ms)) for row in rows}

    def _last_fills(self, symbols: list[str]) -> dict[str, int]:
        """Per symbol the venue's time of its last fill, whoever traded."""
        rows = self._conn.execute(
            select(order_fills.c.coin, func.max(order_fills.c.time_ms))
            .where(order_fills.c.coin.in_(symbols))
            .group_by(order_fills.c.coin)
        )
        return {coin: int(time_ms) for coin, time_ms in rows}

    def _unrecorded(self, epochs: dict[str, tuple[int, int]]) -> dict[str, str]:
        """Per symbol a recent intent whose recorded fills do not add up to what it filled."""
        if not epochs:
            return {}
        recent = or_(
            *(
                and_(log.c.symbol == symbol, log.c.plan_epoch >= epoch - RECENT_EPOCHS)
                for symbol, (epoch, _) in epochs.items()
            )
        )
        recorded = (
            select(func.coalesce(func.sum(order_fills.c.size), 0))
            .where(
                order_fills.c.coin == log.c.symbol,
                order_fills.c.time_ms >= log.c.created_ms - CLOCK_TOLERANCE_MS,
                order_fills.c.intent_id == log.c.intent_id,
            )
            .scalar_subquery()
        )
        rows = self._conn.execute(
            select(log.c.symbol, log.c.intent_id).where(recent, log.c.filled_size > recorded)
        )
        return {row.symbol: row.intent_id for row in rows}

    def _ended(self, epochs: dict[str, tuple[int, int]]) -> dict[str, Ended]:
        """Per symbol its last finished intent, where reconciliation asked for it."""
        if not epochs:
            return {}
        last = or_(
            *(
                and_(log.c.symbol == symbol, log.c.plan_epoch == epoch - 1)
                for symbol, (epoch, _) in epochs.items()
            )
        )
        rows = self._conn.execute(
            select(
                log.c.symbol,
                log.c.intent_id,
                log.c.state,
                log.c.filled_size,
                log.c.expires_after_ms,
                log.c.resolved_ms,
                log.c.reason,
            ).where(last, log.c.origin == "reconcile", log.c.resolved_ms.is_not(None))
        )
        return {
            row.symbol: Ended(
                intent_id=row.intent_id,
                state=OrderState(row.state),
                has_filled=row.filled_size > 0,
                in_time=row.expires_after_ms is None or row.resolved_ms <= row.expires_after_ms,
                at_ms=int(row.resolved_ms),
                reason=row.reason or row.state,
            )
            for row in rows
        }

    def _fills(self, symbols: list[str], since_ms: int) -> dict[str, tuple[RecordedFill, ...]]:
        rows = self._conn.execute(
            select(
                order_fills.c.coin, order_fills.c.time_ms, order_fills.c.side, order_fills.c.size
            )
            .where(order_fills.c.coin.in_(symbols), order_fills.c.time_ms >= since_ms)
            .order_by(order_fills.c.time_ms, order_fills.c.tid)
        )
        found: dict[str, list[RecordedFill]] = {symbol: [] for symbol in symbols}
        for row in rows:
            signed: Decimal = row.size if row.side == "buy" else -row.size
            found[row.coin].append(RecordedFill(int(row.time_ms), signed))
        return {symbol: tuple(fills) for symbol, fills in found.items()}


def _unless_resumed(ended: Ended | None, resumed_ms: int) -> Ended | None:
    """A person who resumes a symbol has looked into what became of its orders."""
    return ended if ended is not None and ended.at_ms > resumed_ms else None
