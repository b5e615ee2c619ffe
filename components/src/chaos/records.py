"""Reads the history that is checked: the venue's ledger, our journal and our reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import requests
from sqlalchemy import Connection, Engine, func, select

from chaos.checker import History, Intent, Limits, VenueFill, VenueOrder
from shared.config import Settings
from shared.database import UnitOfWork
from shared.storage.refusals import PREFIX as REFUSALS
from shared.storage.risk_state import RiskStateStore
from shared.storage.tables import (
    alert_outbox,
    balance_history,
    order_execution_log,
    reconciliation_log,
    risk_state,
)

INPUTS = {"price": "price_usd", "balance": "balance_usd", "runs": "runs", "orders": "orders"}
PRICE_TOLERANCE = Decimal("1.02")
"""The cap is checked against the highest account value and prices of a moment later."""
_TIMEOUT_SECS = 30


@dataclass(frozen=True, slots=True)
class VenueAdmin:
    """The paper exchange's admin routes."""

    url: str
    token: str

    def ledger(self) -> dict[str, Any]:
        """Every order and fill there ever was."""
        found: dict[str, Any] = self._call("GET", "ledger")
        return found

    def strike(self, fault: Mapping[str, Any]) -> int:
        """Put a fault in force; returns its id."""
        return int(self._call("POST", "faults", dict(fault))["id"])

    def lift(self, fault_id: int | None = None) -> None:
        """Lift one fault, or all."""
        self._call("DELETE", "faults", None if fault_id is None else {"id": fault_id})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        reply = requests.request(
            method,
            f"{self.url}/admin/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=_TIMEOUT_SECS,
        )
        reply.raise_for_status()
        return reply.json()


@dataclass(frozen=True, slots=True)
class Records:
    """The platform's own words, and the venue's."""

    engine: Engine
    admin: VenueAdmin
    wallet: str
    settings: Settings

    def history(self) -> History:
        """Everything until now: the venue first, so that the journal knows at least as much."""
        ledger = self.admin.ledger()
        own = self.wallet.lower()
        with UnitOfWork(self.engine) as uow:
            reasons = _reasons(uow.conn)
            return History(
                intents=_intents(uow.conn),
                orders=[_order(o) for o in ledger["orders"] if o["user"].lower() == own],
                fills=[_fill(f) for f in ledger["fills"] if f["user"].lower() == own],
                unknown_inputs={name: lacks for name, lacks in reasons.items() if lacks},
                planned=frozenset(reasons),
                limits=self._limits(uow.conn),
            )

    def open_states(self) -> list[str]:
        """States of the orders that are under way."""
        t = order_execution_log.c
        with UnitOfWork(self.engine) as uow:
            rows = uow.conn.execute(select(t.state).where(t.open_symbol.is_not(None)))
            return sorted(rows.scalars())

    def halts(self) -> list[str]:
        """What stops opening orders, each with its reason."""
        with UnitOfWork(self.engine) as uow:
            risk = RiskStateStore(uow.conn).load()
        found = [f"{s}: {p.reason}" for s, p in sorted(risk.pauses.items())]
        return [*found, f"kill switch: {risk.kill_switch.reason}"][
            : None if risk.kill_switch.engaged else len(found)
        ]

    def has_alert(self, since_ms: int) -> bool:
        """Whether a halt was put into the outbox since then."""
        t = alert_outbox.c
        query = select(func.count()).where(
            t.kind.in_(("symbol_halted", "kill_switch")), t.last_ms >= since_ms
        )
        with UnitOfWork(self.engine) as uow:
            return bool(uow.conn.execute(query).scalar_one())

    def resume(self, now_ms: int) -> None:
        """What a person does after a halt."""
        with UnitOfWork(self.engine) as uow:
            store = RiskStateStore(uow.conn)
            risk = store.load()
            for symbol in risk.pauses:
                store.set_pause(symbol, False, now_ms, reason="chaos goes on", actor="chaos")
            if risk.kill_switch.engaged:
                store.set_kill_switch(False, reason="chaos goes on", actor="chaos", now_ms=now_ms)
            uow.conn.execute(risk_state.delete().where(risk_state.c.name.startswith(REFUSALS)))
            uow.commit()

    def _limits(self, conn: Connection) -> Limits:
        highest = conn.execute(select(func.max(balance_history.c.account_value))).scalar_one()
        account = (highest or Decimal(0)) * PRICE_TOLERANCE
        risk = self.settings.risk
        return Limits(
            account * Decimal(str(risk.max_symbol_notional)),
            account * Decimal(str(risk.max_total_notional)),
        )


def _intents(conn: Connection) -> list[Intent]:
    rows = conn.execute(select(order_execution_log).order_by(order_execution_log.c.id))
    return [
        Intent(
            intent_id=row.intent_id,
            cloid=row.cloid,
            symbol=row.symbol,
            origin=row.origin,
            size=row.size,
            reduce_only=row.reduce_only,
            state=row.state,
            filled_size=row.filled_size,
            sent_ms=row.sent_ms,
            resolved_ms=row.resolved_ms,
        )
        for row in rows
    ]


def _reasons(conn: Connection) -> dict[str, list[str]]:
    """Per planned intent what its plan did not know."""
    t = reconciliation_log.c
    rows = conn.execute(select(t.intent_id, t.detail).where(t.intent_id.is_not(None)))
    return {row.intent_id: _lacking(row.detail) for row in rows}


def _lacking(detail: Mapping[str, Any]) -> list[str]:
    observed = {name: detail[key] for name, key in INPUTS.items()}
    observed["position"] = detail["quorum"]["position"]
    return sorted(name for name, one in observed.items() if one["status"] != "Known")


def _order(raw: Mapping[str, Any]) -> VenueOrder:
    return VenueOrder(int(raw["oid"]), raw.get("cloid"), raw["coin"], int(raw["timestamp"]))


def _fill(raw: Mapping[str, Any]) -> VenueFill:
    size = Decimal(raw["sz"])
    return VenueFill(
        tid=int(raw["tid"]),
        cloid=raw.get("cloid"),
        symbol=raw["coin"],
        time_ms=int(raw["time"]),
        size=size if raw["side"] == "B" else -size,
        price=Decimal(raw["px"]),
        start=Decimal(raw["startPosition"]),
    )
