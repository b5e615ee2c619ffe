"""The transactions of an order's life, each committed before the next step begins."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import Engine

from order_gateway.lease_keeper import LeaseKeeper
from shared import spent_time
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.signing import SignedAction
from shared.orders.intents import OrderRequest
from shared.orders.replies import Verdict
from shared.orders.states import OrderState
from shared.storage.leases import LeaseStore
from shared.storage.orders import FillStore, OrderRecord, OrderStore
from shared.storage.risk_state import RiskState, RiskStateStore

T = TypeVar("T")
JOURNAL = "journal"
"""The part of an order's time that is spent here."""


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

    def look_up(self, intent_id: str) -> tuple[OrderRecord | None, RiskState]:
        """The intent, if it is known, and the risk state, as one reading."""
        with spent_time.part(JOURNAL), UnitOfWork(self._engine) as uow:
            return OrderStore(uow.conn).find(intent_id), RiskStateStore(uow.conn).load()

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
        """Commit PENDING → SENT with nonce, expiry and body hash, while the lease is held."""
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


def _committed(work: Callable[[], T]) -> T:
    with spent_time.part(JOURNAL):
        return retry_deadlocks(work)
