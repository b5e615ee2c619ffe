"""What people should know of, read from MariaDB and Redis: the state, not the events before it.

So an alert does not depend on the process that saw its cause, or on that process having lived long
enough to say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from sqlalchemy import Connection, Engine

from shared.alerts import alert
from shared.alerts.alert import Alert, AlertKind
from shared.alerts.raising import Alerts
from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.breaker import breaker_name, shared_breaker
from shared.exchange.precision import plain
from shared.exchange.rate_budget import network_address
from shared.orders.states import OrderState
from shared.ports import Clock
from shared.reconciliation.consensus import LOCAL_VOTER
from shared.storage.orders import OrderRecord, OrderStore
from shared.storage.positions import PositionStore
from shared.storage.products import ProductStore
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry
from shared.storage.risk_state import RiskState, RiskStateStore

WATCHED = (
    AlertKind.KILL_SWITCH,
    AlertKind.SYMBOL_HALTED,
    AlertKind.UNKNOWN_ORDER,
    AlertKind.QUORUM_LOST,
    AlertKind.PRICE_STALE,
    AlertKind.SYMBOL_DELISTED,
    AlertKind.LEDGER_UNKNOWN,
)
IN_REDIS = (AlertKind.BREAKER_OPEN,)
LOOKS_MISSED = 5
ENTRY_TOLD_MS = 86_400_000
"""An entry of the venue's ledger that is older than this is no news."""


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How long a condition lasts before it is told, and how old the last look may be."""

    symbols: tuple[str, ...]
    quorum_lost_secs: float
    price_stale_secs: float
    unknown_order_ms: int
    look_ms: int
    route: str

    @classmethod
    def of(cls, settings: Settings) -> WatchLimits:
        """From ``config.yml``."""
        r = settings.reconciliation_engine
        return cls(
            symbols=r.symbols,
            quorum_lost_secs=settings.alerts.quorum_lost_secs,
            price_stale_secs=settings.alerts.price_stale_secs,
            unknown_order_ms=round(settings.alerts.unknown_order_secs * 1000),
            look_ms=round(LOOKS_MISSED * r.rebalance_frequency * 1000),
            route=breaker_name(
                settings.venue.rest_url, network_address(settings.exchanges.hyperliquid.proxy)
            ),
        )


def watch(engine: Engine, alerts: Alerts, limits: WatchLimits, clock: Clock) -> list[Alert]:
    """Raise what holds, settle what does not any more; returns what holds.

    Raises ``SQLAlchemyError`` without a database.
    """
    with UnitOfWork(engine) as uow:
        risk = RiskStateStore(uow.conn).load()
        open_orders = OrderStore(uow.conn).open_orders()
        looks = {entry.symbol: entry for entry in ReconciliationLog(uow.conn).newest()}
        delisted = _delisted(uow.conn, limits.symbols)
    found = conditions(risk, open_orders, looks, limits, clock.now_ms())
    found += [alert.symbol_delisted(symbol, held) for symbol, held in delisted.items()]
    for one in found:
        once = one.kind is AlertKind.LEDGER_UNKNOWN  # it has happened, and does not last
        alerts.raise_alert(one, hold_secs=_hold_secs(one.kind, limits), once=once)
    alerts.settle(WATCHED, found)
    return found


def watch_breaker(client: redis.Redis, alerts: Alerts, limits: WatchLimits) -> list[Alert]:
    """Raise that the venue's breaker is open, whichever process opened it; settle it if not.

    Raises ``RedisError`` without Redis: then nobody knows, and nothing is settled.
    """
    breaker = shared_breaker(client, limits.route)
    found = []
    if breaker.state != "closed":  # half open is a trial, which says nothing yet
        found.append(alert.breaker_open(breaker.name, breaker.failures))
    for one in found:
        alerts.raise_alert(one)
    alerts.settle(IN_REDIS, found)
    return found


def _delisted(conn: Connection, symbols: Sequence[str]) -> dict[str, str | None]:
    """Configured symbols that the venue lists no longer, each with the size held of it."""
    known = ProductStore(conn).all()
    gone = [symbol for symbol in symbols if symbol in known and not known[symbol].active]
    snapshot = PositionStore(conn).snapshot(LOCAL_VOTER) if gone else None
    held = {} if snapshot is None else snapshot.positions
    return {symbol: plain(held[symbol]) if held.get(symbol) else None for symbol in gone}


def conditions(
    risk: RiskState,
    open_orders: Sequence[OrderRecord],
    looks: Mapping[str, WhyEntry],
    limits: WatchLimits,
    now_ms: int,
) -> list[Alert]:
    """Everything that holds at ``now_ms``; pure."""
    found: list[Alert] = []
    switch = risk.kill_switch
    if switch.engaged:
        found.append(alert.kill_switch(switch.reason, switch.actor, switch.since_ms))
    for symbol, pause in sorted(risk.pauses.items()):
        found.append(alert.symbol_halted(symbol, pause.reason, pause.since_ms))
    entry = risk.unknown_entry
    if entry is not None and now_ms - entry.time_ms < ENTRY_TOLD_MS:
        found.append(alert.ledger_unknown(entry.kind, entry.time_ms))
    for order in open_orders:
        age_ms = now_ms - (order.sent_ms or order.created_ms)
        if order.state is OrderState.UNKNOWN and age_ms >= limits.unknown_order_ms:
            found.append(alert.unknown_order(order.intent_id, order.symbol, age_ms / 1000))
    for symbol in limits.symbols:
        if symbol in looks:
            found += _of_look(looks[symbol], limits, now_ms)
    return found


def _of_look(look: WhyEntry, limits: WatchLimits, now_ms: int) -> list[Alert]:
    age_ms = now_ms - look.at_ms
    if age_ms > limits.look_ms:
        reason = f"reconciliation has not looked at it for {age_ms / 1000:.0f} s"
        return [alert.quorum_lost(look.symbol, reason)]
    found = []
    position = look.detail.get("quorum", {}).get("position", {})
    if position.get("status") != "Known":
        found.append(alert.quorum_lost(look.symbol, _why(position, "its position")))
    price = look.detail.get("price_usd", {})
    if price.get("status") != "Known":
        found.append(alert.price_stale(look.symbol, _why(price, "its price")))
    return found


def _why(observed: Mapping[str, Any], what: str) -> str:
    if observed.get("status") == "Stale":
        return f"{what} is stale, as of {observed.get('as_of_ms')}"
    return f"{what} is unknown: {observed.get('reason', 'no reason was kept')}"


def _hold_secs(kind: AlertKind, limits: WatchLimits) -> float:
    if kind is AlertKind.QUORUM_LOST:
        return limits.quorum_lost_secs
    if kind is AlertKind.PRICE_STALE:
        return limits.price_stale_secs
    return 0.0
