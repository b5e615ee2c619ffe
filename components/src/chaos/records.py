"""Reads the history that is checked: the venue's ledger, our journal and our reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, func, select

from chaos.checker import History, Intent, Limits, Plan, VenueFill, VenueOrder
from chaos.venue import VenueAdmin
from demo.readings import position_reading
from shared.config import Settings
from shared.database import UnitOfWork
from shared.storage.risk_state import RiskStateStore
from shared.storage.tables import (
    alert_outbox,
    balance_history,
    order_execution_log,
    reconciliation_log,
    run_fills,
)

INPUTS = {"price": "price_usd", "balance": "balance_usd", "runs": "runs", "orders": "orders"}
MAX_REPEATED = 100
FOR_EVER_MS = 2**62
PRICE_TOLERANCE = Decimal("1.02")
"""The cap is checked against the highest account value and prices of a moment later."""


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
            return History(
                intents=_intents(uow.conn),
                orders=[_order(o) for o in ledger["orders"] if o["user"].lower() == own],
                fills=[_fill(f) for f in ledger["fills"] if f["user"].lower() == own],
                plans=_plans(uow.conn),
                limits=self._limits(uow.conn),
                repeated_steps=repeated_steps(uow.conn),
                forbidden=forbidden(self.settings.risk.audit_trail),
            )

    def order_count(self) -> int:
        """Intents in the journal."""
        with UnitOfWork(self.engine) as uow:
            return int(
                uow.conn.execute(select(func.count()).select_from(order_execution_log)).scalar_one()
            )

    def at_target(self, since_ms: int) -> set[str]:
        """Symbols that a look after ``since_ms`` left at their target, everything known."""
        t = reconciliation_log.c
        query = select(t.symbol, t.at_ms, t.decision, t.detail).where(t.at_ms > since_ms)
        threshold_usd = self.settings.reconciliation_engine.minimum_trade_threshold
        with UnitOfWork(self.engine) as uow:
            looks = [position_reading(*row) for row in uow.conn.execute(query)]
        return {
            look.symbol
            for look in looks
            if look.quorum_known and look.left_usd is not None and look.left_usd < threshold_usd
        }

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

    def has_blocked(self, since_ms: int) -> bool:
        """Whether the kill switch has blocked an order since then, by the audit trail."""
        return any(
            line["event"] == "order_blocked"
            and line["rule"] == "kill_switch"
            and line["at_ms"] > since_ms
            for line in _audit(self.settings.risk.audit_trail)
        )

    def paused(self) -> list[str]:
        """Symbols that wait for a person."""
        with UnitOfWork(self.engine) as uow:
            return sorted(RiskStateStore(uow.conn).load().pauses)

    def is_switched(self) -> bool:
        """Whether the kill switch is set."""
        with UnitOfWork(self.engine) as uow:
            return RiskStateStore(uow.conn).load().kill_switch.engaged

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


def _plans(conn: Connection) -> list[Plan]:
    t = reconciliation_log.c
    rows = conn.execute(select(t.intent_id, t.detail).where(t.intent_id.is_not(None)))
    return [_plan(row.intent_id, row.detail) for row in rows]


def _plan(intent_id: str, detail: Mapping[str, Any]) -> Plan:
    observed = {name: detail[key] for name, key in INPUTS.items()}
    position = observed["position"] = detail["quorum"]["position"]
    lacked = sorted(name for name, one in observed.items() if one["status"] != "Known")
    known = position["status"] == "Known"
    return Plan(intent_id, tuple(lacked), Decimal(position["value"]) if known else None)


def forbidden(audit_trail: Path) -> list[tuple[int, int]]:
    """From when to when the kill switch was set (UTC ms), by the gateway's audit trail."""
    found: list[tuple[int, int]] = []
    since_ms: int | None = None
    for record in _audit(audit_trail):
        if record["event"] == "kill_switch_set" and since_ms is None:
            since_ms = record["at_ms"]
        elif record["event"] == "kill_switch_lifted" and since_ms is not None:
            found.append((since_ms, record["at_ms"]))
            since_ms = None
    return found if since_ms is None else [*found, (since_ms, FOR_EVER_MS)]


def _audit(trail: Path) -> Iterator[dict[str, Any]]:
    """Its whole lines, oldest first; the one that is being written is left out."""
    for line in trail.read_bytes().split(b"\n")[:-1]:
        yield orjson.loads(line)


def repeated_steps(conn: Connection) -> list[tuple[int, int]]:
    """(run id, fill number) of at most ``MAX_REPEATED`` fills that are journaled twice."""
    t = run_fills.c
    query = select(t.run_id, t.fill_seq).group_by(t.run_id, t.fill_seq)
    rows = conn.execute(query.having(func.count() > 1).limit(MAX_REPEATED))
    return [(int(row.run_id), int(row.fill_seq)) for row in rows]


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
