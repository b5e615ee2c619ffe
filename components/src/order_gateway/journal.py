"""The transactions of an order's life, each committed before the next step begins."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from order_gateway.errors import NotReady
from order_gateway.lease_keeper import LeaseKeeper
from shared import spent_time
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.signing import SignedAction
from shared.orders.intents import OrderRequest
from shared.orders.replies import Verdict
from shared.orders.states import OrderState
from shared.risk.checks import Blocked, forbids_opening
from shared.storage.leases import LeaseLost, LeaseStore
from shared.storage.orders import FillStore, OrderRecord, OrderStore
from shared.storage.risk_state import RiskState, RiskStateStore

T = TypeVar("T")
JOURNAL = "journal"
"""The part of an order's time that is spent here."""


class OpeningForbidden(Exception):
    """The kill switch or a pause was set while the order was on its way here; it is not SENT."""

    def __init__(self, blocked: Blocked) -> None:
        super().__init__(f"{blocked.rule}: {blocked.value}")
        self.blocked = blocked


class Journal:
    """MariaDB as the gateway uses it. Every write that lets bytes out is fenced by the lease."""

    def __init__(
        self, engine: Engine, keeper: LeaseKeeper, signer: str, clock_ms: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._keeper = keeper
        self._signer = signer
        self._clock_ms = clock_ms
        self._identity: str | None = None

    def look_up(self, intent_id: str, symbol: str) -> tuple[OrderRecord | None, RiskState]:
        """The intent, if it is known, and the risk state of its symbol, as one reading."""
        with spent_time.part(JOURNAL), UnitOfWork(self._engine) as uow:
            known = OrderStore(uow.conn).find(intent_id)
            return known, RiskStateStore(uow.conn).load_for(symbol)

    def by_cloid(self, cloid: str) -> OrderRecord | None:
        """The order with this client order id."""
        with UnitOfWork(self._engine) as uow:
            return OrderStore(uow.conn).find_by_cloid(cloid)

    def open_orders(self) -> list[OrderRecord]:
        """Every order that has not reached a final state."""
        with UnitOfWork(self._engine) as uow:
            return OrderStore(uow.conn).open_orders()

    def recent(
        self, *, symbol: str | None, state: OrderState | None, limit: int
    ) -> list[OrderRecord]:
        """The newest orders."""
        with UnitOfWork(self._engine) as uow:
            return OrderStore(uow.conn).recent(symbol=symbol, state=state, limit=limit)

    def sent_since(self, since_ms: int) -> list[int]:
        """Send times of opening orders after ``since_ms``."""
        with UnitOfWork(self._engine) as uow:
            return OrderStore(uow.conn).sent_since(since_ms)

    def stored_fill_size(self, intent_id: str) -> Decimal:
        """Coins that the stored fills of an intent add up to."""
        with UnitOfWork(self._engine) as uow:
            return sum((f.size for f in FillStore(uow.conn).of_intent(intent_id)), Decimal(0))

    def plan_epoch(self, symbol: str) -> int:
        """The symbol's current plan epoch."""
        with UnitOfWork(self._engine) as uow:
            return OrderStore(uow.conn).plan_epoch(symbol)

    def identity(self) -> str:
        """The name of this journal, given to it by the first gateway that uses it; cached."""
        if self._identity is None:
            with UnitOfWork(self._engine) as uow:
                store = RiskStateStore(uow.conn)
                self._identity = store.journal_id(secrets.token_hex(8), self._clock_ms())
                uow.commit()
        return self._identity

    def last_nonce(self) -> int:
        """The highest nonce this signer ever used."""
        with UnitOfWork(self._engine) as uow:
            return OrderStore(uow.conn).last_nonce(self._signer)

    def open(
        self, request: OrderRequest, *, cloid: str, size: Decimal, limit_price: Decimal
    ) -> OrderRecord:
        """Commit the intent as PENDING; raises a ``JournalConflict``."""

        def work() -> OrderRecord:
            with UnitOfWork(self._engine) as uow:
                record = OrderStore(uow.conn).insert_pending(
                    request,
                    cloid=cloid,
                    size=size,
                    limit_price=limit_price,
                    now_ms=self._clock_ms(),
                )
                uow.commit()
                return record

        return _committed(work)

    def sent(self, record: OrderRecord, action: SignedAction) -> OrderRecord:
        """Commit PENDING → SENT with nonce, expiry and body hash, while the lease is held.

        Raises ``OpeningForbidden`` for an order that would open, if the kill switch or a pause
        was set since it was allowed: they win against every order that is not SENT yet.
        """
        lease = self._keeper.held()
        now_ms = self._clock_ms()
        expires_ms = action.expires_after_ms
        if expires_ms is None:
            raise ValueError("an order is never sent without an expiry")

        def work() -> None:
            with UnitOfWork(self._engine) as uow:
                LeaseStore(uow.conn).require(lease)
                store = OrderStore(uow.conn)
                store.save_nonce(self._signer, action.nonce)
                store.mark_sent(
                    record,
                    nonce=action.nonce,
                    expires_after_ms=expires_ms,
                    body_sha256=action.sha256,
                    now_ms=now_ms,
                )
                if not record.reduce_only:  # last: whoever sets a switch waits for this commit only
                    _require_not_forbidden(uow.conn, record.symbol)
                uow.commit()

        _committed(work)
        return dataclasses.replace(
            record,
            state=OrderState.SENT,
            nonce=action.nonce,
            expires_after_ms=expires_ms,
            body_sha256=action.sha256,
            sent_ms=now_ms,
            updated_ms=now_ms,
        )

    def conclude(self, record: OrderRecord, verdict: Verdict, reply: Any = None) -> OrderRecord:
        """Commit what a reply or the evidence proves."""

        def work() -> OrderRecord:
            with UnitOfWork(self._engine) as uow:
                updated = OrderStore(uow.conn).apply(
                    record, verdict, now_ms=self._clock_ms(), venue_reply=reply
                )
                uow.commit()
                return updated

        return _committed(work)

    def use_nonce(self, nonce: int) -> None:
        """Commit a nonce that an action other than an order is about to use."""
        lease = self._keeper.held()

        def work() -> None:
            with UnitOfWork(self._engine) as uow:
                LeaseStore(uow.conn).require(lease)
                OrderStore(uow.conn).save_nonce(self._signer, nonce)
                uow.commit()

        _committed(work)


def _require_not_forbidden(conn: Connection, symbol: str) -> None:
    state = RiskStateStore(conn).hold_for(symbol)
    blocked = forbids_opening(state.kill_switch, state.pause_reason(symbol))
    if blocked is not None:
        raise OpeningForbidden(blocked)


def _committed(work: Callable[[], T]) -> T:
    with spent_time.part(JOURNAL):
        try:
            return retry_deadlocks(work)
        except LeaseLost as error:
            raise NotReady(str(error)) from error
