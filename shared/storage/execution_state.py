"""Where each symbol's orders stand, read together for all symbols."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, func, select

from shared.reconciliation.consensus import RecordedFill
from shared.reconciliation.intents import Execution
from shared.storage.tables import order_execution_log as log
from shared.storage.tables import order_fills, plan_epochs


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
        return ExecutionState(
            executions={
                symbol: Execution(
                    plan_epoch=epochs[symbol][0] if symbol in epochs else 0,
                    open_intent=open_intents.get(symbol),
                    settled_ms=max(
                        epochs[symbol][1] if symbol in epochs else 0, filled.get(symbol, 0)
                    ),
                )
                for symbol in wanted
            },
            fills=self._fills(wanted, fills_since_ms),
        )

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
