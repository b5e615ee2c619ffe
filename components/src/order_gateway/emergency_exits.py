"""Carries out exits while the database is away, and brings them into the journal afterwards."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import structlog
from sqlalchemy import Engine

from order_gateway.emergency import EmergencyJournal, EmergencyOrder
from order_gateway.errors import Conflict, NotReady
from order_gateway.sender import ActionSender
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.signing import SignedAction
from shared.orders.intents import OrderRequest
from shared.orders.replies import Verdict
from shared.orders.states import OPEN, OrderState
from shared.storage.orders import OpenIntentExists, OrderRecord, OrderStore

log = structlog.get_logger(__name__)

NO_ROW = 0
NO_EPOCH = -1


class EmergencyExits:
    """Exits without MariaDB. What is taken here is never sent a second time by anyone."""

    def __init__(
        self,
        *,
        journal: EmergencyJournal,
        sender: ActionSender,
        engine: Engine,
        signer: str,
        clock_ms: Callable[[], int],
    ) -> None:
        self._journal = journal
        self._sender = sender
        self._engine = engine
        self._signer = signer
        self._clock_ms = clock_ms
        self._importing = threading.Lock()

    def known(self, request: OrderRequest) -> OrderRecord | None:
        """What became of an exit that was taken without the database."""
        order = self._journal.find(request.intent_id)
        if order is None:
            return None
        if order.request.payload() != request.payload():
            raise Conflict(f"intent {request.intent_id} exists with another payload")
        return _record(order)

    def require_imported(self, symbol: str) -> None:
        """Raise ``NotReady`` while the journal lacks an exit of ``symbol``: nothing opens on it."""
        if any(order.request.symbol == symbol for order in self._journal.waiting()):
            raise NotReady(f"an exit of {symbol} without the database is not in the journal yet")

    def waiting_cloids(self) -> frozenset[str]:
        """Client order ids of the exits that are not imported yet."""
        return frozenset(order.cloid for order in self._journal.waiting())

    def highest_nonce(self) -> int:
        """The highest nonce of the exits that are not imported yet; 0 if there are none."""
        return max((order.nonce for order in self._journal.waiting()), default=0)

    def send(self, record: OrderRecord, request: OrderRequest, action: SignedAction) -> OrderRecord:
        """Put the exit on the disk, send it, put its outcome there too."""
        now_ms = self._clock_ms()
        try:
            self._journal.sent(
                request,
                cloid=record.cloid,
                size=record.size,
                limit_price=record.limit_price,
                action=action,
                now_ms=now_ms,
            )
        except OSError as error:
            raise NotReady(f"neither database nor emergency journal: {error.strerror}") from error
        log.error("exit_without_database", intent_id=request.intent_id, cloid=record.cloid)
        verdict, _ = self._sender.order(action, size=record.size, tif=record.tif, priority="exit")
        try:
            self._journal.concluded(request.intent_id, verdict)
        except OSError as error:
            log.error("emergency_outcome_not_written", reason=str(error))  # noqa: TRY400
        return _outcome(record, action, verdict, now_ms)

    def import_all(self) -> list[OrderRecord]:
        """Write what was taken without the database into the journal there; oldest first.

        An exit whose outcome is open waits while another order of its symbol is open.
        """
        done: list[OrderRecord] = []
        with self._importing:
            for order in self._journal.waiting():
                try:
                    done.append(retry_deadlocks(partial(self._import, order)))
                except OpenIntentExists:
                    log.warning("emergency_import_waits", intent_id=order.request.intent_id)
                    continue
                self._forget(order)
        return done

    def _forget(self, order: EmergencyOrder) -> None:
        """The journal has it; where the disk takes no note of that, a restart imports it again."""
        try:
            self._journal.imported(order.request.intent_id, self._clock_ms())
        except OSError as error:
            log.error("emergency_import_not_noted", reason=error.strerror)  # noqa: TRY400

    def _import(self, order: EmergencyOrder) -> OrderRecord:
        now_ms = self._clock_ms()
        with UnitOfWork(self._engine) as uow:
            store = OrderStore(uow.conn)
            record = store.find(order.request.intent_id)
            if record is None:
                record = store.insert_pending(
                    dataclasses.replace(order.request, plan_epoch=None),
                    cloid=order.cloid,
                    size=order.size,
                    limit_price=order.limit_price,
                    now_ms=order.sent_ms,
                )
            if record.state is OrderState.PENDING:
                store.mark_sent(
                    record,
                    nonce=order.nonce,
                    expires_after_ms=order.expires_after_ms,
                    body_sha256=order.body_sha256,
                    now_ms=order.sent_ms,
                )
                record = store.find(order.request.intent_id) or record
            if record.state is OrderState.SENT:
                record = store.apply(record, order.outcome, now_ms=now_ms)
            store.save_nonce(self._signer, order.nonce)
            uow.commit()
        log.info("emergency_imported", intent_id=record.intent_id, state=record.state.value)
        return record


def unsaved_record(
    request: OrderRequest, *, cloid: str, size: Decimal, limit_price: Decimal, now_ms: int
) -> OrderRecord:
    """An intent that no database has yet, as a record."""
    return OrderRecord(
        id=NO_ROW,
        intent_id=request.intent_id,
        cloid=cloid,
        symbol=request.symbol,
        plan_epoch=NO_EPOCH,
        leg=request.leg,
        origin=request.origin,
        side=request.side,
        size=size,
        order_type=request.order_type,
        tif=request.tif,
        reduce_only=request.reduce_only,
        limit_price=limit_price,
        state=OrderState.PENDING,
        nonce=None,
        expires_after_ms=None,
        body_sha256=None,
        oid=None,
        filled_size=Decimal(0),
        avg_price=None,
        fee_usd=Decimal(0),
        reason=None,
        request=request.payload(),
        created_ms=now_ms,
        sent_ms=None,
        updated_ms=now_ms,
        resolved_ms=None,
    )


def _record(order: EmergencyOrder) -> OrderRecord:
    record = unsaved_record(
        order.request,
        cloid=order.cloid,
        size=order.size,
        limit_price=order.limit_price,
        now_ms=order.sent_ms,
    )
    action = SignedAction({}, order.nonce, order.expires_after_ms, order.body_sha256)
    return _outcome(record, action, order.outcome, order.sent_ms)


def _outcome(
    record: OrderRecord, action: SignedAction, verdict: Verdict, sent_ms: int
) -> OrderRecord:
    return dataclasses.replace(
        record,
        state=verdict.state,
        nonce=action.nonce,
        expires_after_ms=action.expires_after_ms,
        body_sha256=action.sha256,
        oid=verdict.oid,
        filled_size=verdict.filled_size,
        avg_price=verdict.avg_price,
        reason=verdict.reason,
        sent_ms=sent_ms,
        resolved_ms=None if verdict.state in OPEN else sent_ms,
    )
