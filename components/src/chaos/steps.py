"""Holds an order at a step for as long as a strike needs, and tells when one has got there.

Nothing of the platform is changed: a row lock in MariaDB stands for a slow commit, a delay at the
venue for a slow network. The last step needs no hold: observers and looks come a second apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Engine, exists, func, select
from sqlalchemy.exc import SQLAlchemyError

from chaos.faults import ORDERS, Step
from chaos.venue import UNREACHABLE, VenueAdmin
from shared.database import UnitOfWork
from shared.storage.tables import nonces, order_execution_log, order_fills, reconciliation_log

log = structlog.get_logger(__name__)

HOLD_MS = 1_500
RECENT_MS = 10_000
FILLS = {"path": "/info", "type": "userFillsByTime"}
Reached = Callable[[], bool]

_orders = order_execution_log.c


@contextmanager
def armed(step: Step, engine: Engine, admin: VenueAdmin) -> Iterator[Reached]:
    """While the block lasts, the next order is held at ``step``; yields whether one is there.

    Raises one of ``UNREACHABLE`` when database or venue cannot be asked to hold anything.
    """
    match step:
        case Step.INTENT:
            with _commit_held(engine):
                yield lambda: _any(engine, _orders.state == "PENDING")
        case Step.SEND:
            with _request_held(admin, ORDERS, count=1) as has_hit:
                yield has_hit
        case Step.ACK:
            with _request_held(admin, ORDERS, "after", count=1) as has_hit:
                yield has_hit
        case Step.FILL:
            with _request_held(admin, FILLS):
                yield lambda: _any(engine, _is_filled(), ~_is_recorded())
        case Step.RECONCILE:
            yield lambda: _any(engine, _is_filled(), _is_recorded(), ~_is_seen())


@contextmanager
def _commit_held(engine: Engine) -> Iterator[None]:
    """No order becomes SENT: the row that counts the nonces is locked."""
    connection = engine.connect()
    try:
        connection.execute(select(nonces.c.last_nonce).with_for_update()).all()
        yield
    finally:
        try:
            connection.close()
        except SQLAlchemyError as error:
            log.info("lock_gone_with_database", error=str(error))


@contextmanager
def _request_held(
    admin: VenueAdmin, match: Mapping[str, str], when: str = "before", **more: Any
) -> Iterator[Reached]:
    """Requests that match wait at the venue; yields whether one does."""
    params = {"ms": HOLD_MS, "when": when}
    fault_id = admin.strike({"kind": "delay", "match": match, "params": params, **more})
    try:
        yield lambda: admin.hits(fault_id) > 0
    finally:
        try:
            admin.lift(fault_id)
        except UNREACHABLE as error:
            log.info("hold_gone_with_venue", error=str(error))


def _any(engine: Engine, *conditions: ColumnElement[bool]) -> bool:
    query = select(exists(select(_orders.id).where(*conditions)))
    with UnitOfWork(engine) as uow:
        return bool(uow.conn.execute(query).scalar_one())


def _is_filled() -> ColumnElement[bool]:
    since_ms = time.time_ns() // 1_000_000 - RECENT_MS
    return (
        _orders.state.in_(("FILLED", "PARTIAL"))
        & (_orders.filled_size > 0)
        & (_orders.resolved_ms > since_ms)
    )


def _is_recorded() -> ColumnElement[bool]:
    recorded = (
        select(func.coalesce(func.sum(order_fills.c.size), 0))
        .where(order_fills.c.cloid == _orders.cloid)
        .scalar_subquery()
    )
    return recorded >= _orders.filled_size


def _is_seen() -> ColumnElement[bool]:
    looks = reconciliation_log.c
    return exists(
        select(looks.id).where(
            looks.symbol == _orders.symbol,
            looks.at_ms > _orders.resolved_ms,
            looks.decision.in_(("hold", "trade")),
        )
    )
