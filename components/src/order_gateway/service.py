"""The life of one order: check, journal, sign, send, resolve, publish."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from decimal import Decimal

import structlog
from sqlalchemy.exc import SQLAlchemyError

from order_gateway.account import AccountView
from order_gateway.emergency_exits import EmergencyExits, unsaved_record
from order_gateway.errors import Conflict, InvalidOrder, NotReady, RiskBlocked
from order_gateway.in_flight import InFlight
from order_gateway.journal import Journal
from order_gateway.leverage import LeverageSetter
from order_gateway.markets import Market, Markets
from order_gateway.nonces import NonceAllocator
from order_gateway.prices import PriceReader
from order_gateway.publisher import OrderPublisher
from order_gateway.readiness import Readiness
from order_gateway.risk_gate import RiskGate
from order_gateway.sender import ActionSender
from shared import instruments
from shared.config_sections import GatewaySettings
from shared.exchange.precision import FilterViolation, plain
from shared.exchange.signing import ActionSigner, SignedAction, order_action
from shared.observation import Known, Observation, Stale
from shared.orders.intents import OrderRequest, derive_cloid
from shared.orders.replies import Verdict
from shared.orders.states import OrderState
from shared.risk.audit import AuditError, AuditTrail
from shared.risk.checks import Blocked
from shared.risk.limits import OrderFacts
from shared.storage.leases import LeaseLost
from shared.storage.orders import IntentMismatch, JournalConflict, OrderRecord, check_same
from shared.storage.risk_state import NOTHING_STORED, RiskState

log = structlog.get_logger(__name__)


class OrderService:
    """Turns order requests into journaled, sent and resolved orders, each exactly once."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        wallet: str,
        journal: Journal,
        markets: Markets,
        prices: PriceReader,
        account: AccountView,
        risk: RiskGate,
        signer: ActionSigner,
        nonces: NonceAllocator,
        sender: ActionSender,
        publisher: OrderPublisher,
        audit: AuditTrail,
        readiness: Readiness,
        in_flight: InFlight,
        leverage: LeverageSetter,
        emergency: EmergencyExits,
        clock_ms: Callable[[], int],
        on_trade: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._wallet = wallet
        self._journal = journal
        self._markets = markets
        self._prices = prices
        self._account = account
        self._risk = risk
        self._signer = signer
        self._nonces = nonces
        self._sender = sender
        self._publisher = publisher
        self._audit = audit
        self._readiness = readiness
        self._in_flight = in_flight
        self._leverage = leverage
        self._emergency = emergency
        self._clock_ms = clock_ms
        self._on_trade = on_trade
        self._seen: set[str] = set()

    def execute(self, request: OrderRequest) -> OrderRecord:
        """Carry out an intent, or return what became of it if it is known already.

        Raises a ``GatewayError``; then nothing was sent because of this call.
        """
        self._readiness.require(exit_order=request.reduce_only)
        try:
            known, state = self._journal.look_up(request.intent_id)
        except SQLAlchemyError as error:
            if not request.reduce_only:
                raise NotReady("the database does not answer; only exits are taken") from error
            return self._exit_without_database(request)
        known = known or self._emergency.known(request)
        if known is not None:
            return self._repeated(known, request)
        market = self._markets.require(request.symbol)
        if not request.reduce_only:
            self._leverage.require(request.symbol)
        reference = self.reference_price(request)
        facts = self.prepare(request, market, reference)
        started = time.monotonic()
        with self._in_flight.hold(request.intent_id):
            self.check_risk(request, facts, reference, state)
            record = self._send_once(request, market, facts)
        instruments.record_order_time(request.origin, time.monotonic() - started)
        return record

    def remember(self, records: Iterable[OrderRecord]) -> None:
        """Keep the names of journaled intents: while the journal is away, none is sent again."""
        self._seen.update(record.intent_id for record in records)

    def _exit_without_database(self, request: OrderRequest) -> OrderRecord:
        """A reduce-only order under the emergency journal; risk sees the order alone."""
        known = self._emergency.known(request)
        if known is not None:
            return known
        if request.intent_id in self._seen:
            raise NotReady(f"{request.intent_id} was sent before; what became of it is in MariaDB")
        market = self._markets.require(request.symbol)
        reference = self.reference_price(request)
        facts = self.prepare(request, market, reference)
        with self._in_flight.hold(request.intent_id):
            self.check_risk(request, facts, reference, NOTHING_STORED)
            record = unsaved_record(
                request,
                cloid=derive_cloid(self._wallet, self._journal.identity(), request.intent_id),
                size=facts.size,
                limit_price=facts.limit_price,
                now_ms=self._clock_ms(),
            )
            record = self._emergency.send(record, request, self.sign(record, market))
        self._publisher.updated(record)
        return record

    def reference_price(self, request: OrderRequest) -> Observation[Decimal]:
        """The price that the order is judged against."""
        return self._prices.reference(
            request.symbol, self._clock_ms(), exit_order=request.reduce_only
        )

    def _repeated(self, known: OrderRecord, request: OrderRequest) -> OrderRecord:
        try:
            check_same(known, request)
        except IntentMismatch as error:
            raise Conflict(str(error)) from error
        return known

    def prepare(
        self, request: OrderRequest, market: Market, reference: Observation[Decimal]
    ) -> OrderFacts:
        """Round to what the venue takes: sizes down, prices never worse."""
        try:
            size = market.filters.round_size(request.size)
            price = self._limit_price(request, market, reference)
            market.filters.check_notional(
                price, size, closes_whole_position=self._may_close_all(request, size)
            )
        except FilterViolation as error:
            raise InvalidOrder(error.rule, error.value, error.limit) from error
        return OrderFacts(
            symbol=request.symbol,
            side=request.side,
            size=size,
            limit_price=price,
            reduce_only=request.reduce_only,
            leverage=market.leverage,
        )

    def _limit_price(
        self, request: OrderRequest, market: Market, reference: Observation[Decimal]
    ) -> Decimal:
        if request.price is not None:
            return market.filters.round_price(request.price, request.side)
        if isinstance(reference, Known):
            bound_bps = Decimal(str(self._settings.max_slippage_bps))
            return market.filters.slippage_bound(reference.value, request.side, bound_bps)
        why = "the feed's price is too old" if isinstance(reference, Stale) else reference.reason
        limit = f"at most {self._risk.limits.max_price_age_ms / 1000:g} s old"
        raise RiskBlocked("price_age", why, limit)

    def _may_close_all(self, request: OrderRequest, size: Decimal) -> bool:
        """Whether a reduce-only order may be exempt from the minimum notional.

        While the position is not known the venue decides; an exit is never refused here.
        """
        if not request.reduce_only:
            return False
        account = self._account.latest()
        if not isinstance(account, Known):
            return True
        position = account.value.positions.get(request.symbol)
        return position is None or size >= abs(position.size)

    def check_risk(
        self,
        request: OrderRequest,
        facts: OrderFacts,
        reference: Observation[Decimal],
        state: RiskState,
    ) -> None:
        """Ask the risk rules and audit their decision; raises ``RiskBlocked`` or ``NotReady``."""
        decision = self._risk.decide(request.intent_id, facts, reference, state)
        fields = {
            "intent_id": request.intent_id,
            "symbol": facts.symbol,
            "side": facts.side,
            "size": plain(facts.size),
            "limit_price": plain(facts.limit_price),
            "reduce_only": facts.reduce_only,
            "origin": request.origin,
        }
        if isinstance(decision, Blocked):
            rule = {"rule": decision.rule, "value": decision.value, "limit": decision.limit}
            self._record("order_blocked", {**fields, **rule}, required=False)
            instruments.record_risk_block(decision.rule)
            raise RiskBlocked(decision.rule, decision.value, decision.limit)
        try:
            self._record("order_allowed", fields, required=not facts.reduce_only)
        except NotReady:
            self._risk.release(request.intent_id, traded=False)
            raise

    def _send_once(self, request: OrderRequest, market: Market, facts: OrderFacts) -> OrderRecord:
        cloid = derive_cloid(self._wallet, self._journal.identity(), request.intent_id)
        try:
            record = self._journal.open(
                request, cloid=cloid, size=facts.size, limit_price=facts.limit_price
            )
        except JournalConflict as error:
            known, _ = self._journal.look_up(request.intent_id)
            if known is not None:  # the same intent, at the same moment, by another thread
                return self._repeated(known, request)
            self._risk.release(request.intent_id, traded=False)
            raise Conflict(str(error)) from error
        self.remember([record])
        action = self.sign(record, market)
        try:
            record = self._journal.sent(record, action)
        except (LeaseLost, NotReady) as error:
            self.finish(record, Verdict(OrderState.NOT_PLACED, "never sent: the lease was lost"))
            raise NotReady(str(error)) from error
        verdict, reply = self._sender.order(
            action,
            size=record.size,
            tif=record.tif,
            priority="exit" if record.reduce_only else "reconcile",
        )
        try:
            return self.finish(record, verdict, reply)
        except SQLAlchemyError as error:
            log.error("outcome_not_journaled", intent_id=record.intent_id, reason=str(error))  # noqa: TRY400
            reason = "sent; its outcome will be journaled when the database answers again"
            return dataclasses.replace(record, state=OrderState.UNKNOWN, reason=reason)

    def finish(self, record: OrderRecord, verdict: Verdict, reply: object = None) -> OrderRecord:
        """Journal a verdict, let go of the reserved exposure where it is final, and publish."""
        updated = self._journal.conclude(record, verdict, reply)
        if not updated.is_open:
            self._risk.release(updated.intent_id, traded=updated.filled_size > 0)
        if updated.filled_size > record.filled_size:
            self._on_trade()
        self._publisher.updated(updated)
        return updated

    def sign(self, record: OrderRecord, market: Market) -> SignedAction:
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
        expires_ms = self._clock_ms() + round(self._settings.expires_after_secs * 1000)
        return self._signer.sign(action, nonce=self._nonces.next(), expires_after_ms=expires_ms)

    def _record(self, event: str, fields: dict[str, object], *, required: bool) -> None:
        """Write to the audit trail; without it nothing new is opened, but exits go on."""
        try:
            self._audit.append(event, self._clock_ms(), fields)
        except AuditError as error:
            log.error("audit_trail_failed", reason=str(error))  # noqa: TRY400
            if required:
                raise NotReady(f"the audit trail cannot be written: {error}") from error
