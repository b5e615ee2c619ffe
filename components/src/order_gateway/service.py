"""The life of one order: check, journal, sign, send, resolve, publish."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from order_gateway.emergency_exits import EmergencyExits, unsaved_record
from order_gateway.errors import Conflict, NotReady
from order_gateway.in_flight import InFlight
from order_gateway.journal import Journal, OpeningForbidden
from order_gateway.leverage import LeverageSetter
from order_gateway.markets import Market
from order_gateway.order_check import OrderCheck, PreparedOrder
from order_gateway.publisher import OrderPublisher
from order_gateway.readiness import Readiness
from order_gateway.risk_gate import RiskGate
from order_gateway.sender import ActionSender
from order_gateway.signing_desk import SigningDesk
from shared import instruments
from shared.exchange.signing import SignedAction, order_action
from shared.orders.intents import OrderRequest, derive_cloid
from shared.orders.replies import Verdict
from shared.orders.states import OrderState
from shared.storage.orders import IntentMismatch, JournalConflict, OrderRecord, check_same
from shared.storage.risk_state import NOTHING_STORED

log = structlog.get_logger(__name__)

OPENING_AT_ONCE = 32
"""Opening orders under way; more are refused, so that exits and switches always find a thread."""
NAMES_KEPT = 100_000
WITHOUT_DATABASE = "without the database"


class OrderService:
    """Turns order requests into journaled, sent and resolved orders, each exactly once."""

    def __init__(
        self,
        *,
        wallet: str,
        expires_after_ms: int,
        journal: Journal,
        check: OrderCheck,
        risk: RiskGate,
        desk: SigningDesk,
        sender: ActionSender,
        publisher: OrderPublisher,
        readiness: Readiness,
        in_flight: InFlight,
        leverage: LeverageSetter,
        emergency: EmergencyExits,
        clock_ms: Callable[[], int],
        on_trade: Callable[[], None],
    ) -> None:
        self._wallet = wallet
        self._expires_after_ms = expires_after_ms
        self._journal = journal
        self._check = check
        self._risk = risk
        self._desk = desk
        self._sender = sender
        self._publisher = publisher
        self._readiness = readiness
        self._in_flight = in_flight
        self._leverage = leverage
        self._emergency = emergency
        self._clock_ms = clock_ms
        self._on_trade = on_trade
        self._seen: dict[str, None] = {}
        self._opening = threading.BoundedSemaphore(OPENING_AT_ONCE)

    def execute(self, request: OrderRequest) -> OrderRecord:
        """Carry out an intent, or return what became of it if it is known already.

        Raises a ``GatewayError``; then nothing was sent because of this call.
        """
        if request.reduce_only:
            return self._execute(request)
        if not self._opening.acquire(blocking=False):
            raise NotReady(f"{OPENING_AT_ONCE} opening orders are under way; exits go first")
        try:
            return self._execute(request)
        finally:
            self._opening.release()

    def _execute(self, request: OrderRequest) -> OrderRecord:
        self._readiness.require(exit_order=request.reduce_only)
        try:
            known, state = self._journal.look_up(request.intent_id, request.symbol)
        except SQLAlchemyError as error:
            if not request.reduce_only:
                raise NotReady("the database does not answer; only exits are taken") from error
            return self._exit_without_database(request)
        known = known or self._emergency.known(request)
        if known is not None:
            return _repeated(known, request)
        order = self._check.prepare(request)
        if not request.reduce_only:
            self._emergency.require_imported(request.symbol)
            self._leverage.require(request.symbol)
        started = time.monotonic()
        with self._in_flight.hold(request.intent_id):
            self._check.allow(order, state)
            record = self._send_once(order)
        instruments.record_order_time(request.origin, time.monotonic() - started)
        return record

    def remember(self, records: Iterable[OrderRecord]) -> None:
        """Keep the newest names of journaled intents: with the journal away, none is sent again."""
        for record in records:
            self._seen[record.intent_id] = None
        while len(self._seen) > NAMES_KEPT:
            self._seen.pop(next(iter(self._seen)), None)

    def finish(self, record: OrderRecord, verdict: Verdict, reply: object = None) -> OrderRecord:
        """Journal a verdict, let go of the reserved exposure where it is final, and publish."""
        updated = self._journal.conclude(record, verdict, reply)
        if not updated.is_open:
            self._risk.release(updated.intent_id, traded=updated.filled_size > 0)
        if updated.filled_size > record.filled_size:
            self._on_trade()
        self._publisher.updated(updated)
        return updated

    def _exit_without_database(self, request: OrderRequest) -> OrderRecord:
        """A reduce-only order under the emergency journal; risk sees the order alone."""
        known = self._emergency.known(request)
        if known is not None:
            return known
        if request.intent_id in self._seen:
            raise NotReady(f"{request.intent_id} was sent before; what became of it is in MariaDB")
        order = self._check.prepare(request)
        with self._in_flight.hold(request.intent_id):
            self._check.allow(order, NOTHING_STORED)
            record = unsaved_record(
                request,
                cloid=self._cloid_without_database(request),
                size=order.facts.size,
                limit_price=order.facts.limit_price,
                now_ms=self._clock_ms(),
            )
            record = self._emergency.send(record, request, self._sign(record, order.market))
        self._publisher.updated(record)
        return record

    def _send_once(self, order: PreparedOrder) -> OrderRecord:
        request, facts = order.request, order.facts
        try:
            record = self._journal.open(
                request,
                cloid=self._cloid(request),
                size=facts.size,
                limit_price=facts.limit_price,
            )
        except JournalConflict as error:
            known, _ = self._journal.look_up(request.intent_id, request.symbol)
            if known is not None:  # the same intent, at the same moment, by another thread
                if not known.is_open:
                    self._risk.release(request.intent_id, traded=known.filled_size > 0)
                return _repeated(known, request)
            self._risk.release(request.intent_id, traded=False)
            raise Conflict(str(error)) from error
        except SQLAlchemyError:  # at most PENDING, and never sent: nothing is on its way
            self._risk.release(request.intent_id, traded=False)
            raise
        self.remember([record])
        action = self._sign(record, order.market)
        record = self._mark_sent(order, record, action)
        verdict, reply = self._sender.order(
            action,
            size=record.size,
            tif=record.tif,
            priority="exit" if record.reduce_only else "reconcile",
        )
        return self._conclude(record, verdict, reply)

    def _mark_sent(
        self, order: PreparedOrder, record: OrderRecord, action: SignedAction
    ) -> OrderRecord:
        """Commit SENT; an order that may not be sent any more is concluded as never sent."""
        try:
            self._readiness.require(exit_order=record.reduce_only)
            return self._journal.sent(record, action)
        except OpeningForbidden as error:
            self._never_sent(record, str(error))
            raise self._check.blocked(order, error.blocked) from error
        except NotReady as error:
            self._never_sent(record, str(error))
            raise
        except JournalConflict as error:  # a gateway that took over has found it unsent
            self._risk.release(record.intent_id, traded=False)
            raise Conflict(str(error)) from error

    def _never_sent(self, record: OrderRecord, reason: str) -> None:
        try:
            self.finish(record, Verdict(OrderState.NOT_PLACED, f"never sent: {reason}"))
        except JournalConflict:  # as another gateway has written already
            self._risk.release(record.intent_id, traded=False)

    def _conclude(self, record: OrderRecord, verdict: Verdict, reply: object) -> OrderRecord:
        """Journal what the reply proves; what another gateway has settled meanwhile stands."""
        try:
            return self._finish_unless_settled(record, verdict, reply)
        except SQLAlchemyError as error:
            log.error("outcome_not_journaled", intent_id=record.intent_id, reason=str(error))  # noqa: TRY400
            reason = "sent; its outcome will be journaled when the database answers again"
            return dataclasses.replace(record, state=OrderState.UNKNOWN, reason=reason)

    def _finish_unless_settled(
        self, record: OrderRecord, verdict: Verdict, reply: object
    ) -> OrderRecord:
        try:
            return self.finish(record, verdict, reply)
        except JournalConflict as error:
            said = verdict.state.value
            log.error("order_settled_elsewhere", reply=said, reason=str(error))  # noqa: TRY400
            return self._journal.by_cloid(record.cloid) or record

    def _cloid(self, request: OrderRequest) -> str:
        return derive_cloid(self._wallet, self._journal.identity(), request.intent_id)

    def _cloid_without_database(self, request: OrderRequest) -> str:
        """As always where the journal's name is known; else of a journal of that name."""
        try:
            return self._cloid(request)
        except SQLAlchemyError:
            return derive_cloid(self._wallet, WITHOUT_DATABASE, request.intent_id)

    def _sign(self, record: OrderRecord, market: Market) -> SignedAction:
        """Sign a journaled order with a fresh nonce and its expiry."""
        action = order_action(
            asset=market.asset.index,
            is_buy=record.side == "buy",
            price=record.limit_price,
            size=record.size,
            reduce_only=record.reduce_only,
            tif=record.tif,
            cloid=record.cloid,
        )
        expires_ms = self._clock_ms() + self._expires_after_ms
        return self._desk.order(action, expires_after_ms=expires_ms)


def _repeated(known: OrderRecord, request: OrderRequest) -> OrderRecord:
    try:
        check_same(known, request)
    except IntentMismatch as error:
        raise Conflict(str(error)) from error
    return known
