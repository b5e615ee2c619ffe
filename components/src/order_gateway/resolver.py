"""Settles what is open: orders nobody answered for, resting orders, and those found at start."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal

import structlog
from opentelemetry import trace

from order_gateway.fills import fills_of, read_window
from order_gateway.in_flight import InFlight
from order_gateway.journal import Journal
from order_gateway.service import OrderService
from shared.exchange.errors import VenueError
from shared.exchange.payloads import OrderStatus, parse_exchange_status
from shared.exchange_manager import ExchangeManager
from shared.orders.evidence import (
    BOOK_STATUSES,
    EvidenceRules,
    FillsReading,
    OpenOrder,
    StatusReading,
    StillOpen,
    settle,
)
from shared.orders.replies import Verdict
from shared.orders.states import TRANSITIONS, OrderState
from shared.storage.orders import JournalConflict, OrderRecord

log = structlog.get_logger(__name__)
_tracer = trace.get_tracer("order_gateway")

READINGS_KEPT = 100
CLOCK_ALLOWANCE_MS = 60_000
"""Windows of fills start this much before the order was sent: two clocks may differ."""
ALERT_AFTER_MS = 30_000


class Resolver:
    """Applies the evidence rules to every open order; ``step`` is called again and again."""

    def __init__(
        self,
        *,
        journal: Journal,
        service: OrderService,
        manager: ExchangeManager,
        in_flight: InFlight,
        rules: EvidenceRules,
        clock_ms: Callable[[], int],
    ) -> None:
        self._journal = journal
        self._service = service
        self._manager = manager
        self._in_flight = in_flight
        self._rules = rules
        self._clock_ms = clock_ms
        self._readings: dict[str, deque[StatusReading]] = {}
        self._alerted: set[str] = set()

    def step(self) -> list[OrderRecord]:
        """Look at every open order once; returns those that are still open."""
        still_open = []
        for record in self._journal.open_orders():
            updated = self.look_at(record)
            if updated.is_open:
                still_open.append(updated)
                self._alert_if_old(updated)
        self._forget_all_but({r.cloid for r in still_open})
        return still_open

    def look_at(self, record: OrderRecord) -> OrderRecord:
        """Settle one order as far as the evidence goes; one being sent is left to its thread."""
        if record.intent_id in self._in_flight:
            return record
        if record.state is OrderState.PENDING:
            verdict = Verdict(OrderState.NOT_PLACED, "never sent: the gateway stopped before")
            return self._apply(record, verdict)
        if record.state is OrderState.SENT:
            verdict = Verdict(OrderState.UNKNOWN, "sent, and the reply was not recorded")
            record = self._apply(record, verdict)
        if record.state is OrderState.UNKNOWN:
            with _tracer.start_as_current_span(
                "settle_unknown_order", attributes={"intent_id": record.intent_id}
            ):
                return self._settle(record)
        return self._settle(record)

    def _settle(self, record: OrderRecord) -> OrderRecord:
        try:
            outcome = self._evidence(record)
        except VenueError as error:
            log.warning("evidence_not_readable", intent_id=record.intent_id, reason=str(error))
            return record
        if isinstance(outcome, StillOpen):
            log.debug("still_open", intent_id=record.intent_id, reason=outcome.reason)
            return record
        if outcome.state is record.state:
            unchanged = outcome.filled_size == record.filled_size
            return record if unchanged else self._apply(record, outcome)
        if outcome.state not in TRANSITIONS[record.state]:
            log.error(
                "evidence_contradicts_journal",
                intent_id=record.intent_id,
                state=record.state.value,
                evidence=outcome.state.value,
                reason=outcome.reason,
            )
            return record
        return self._apply(record, outcome)

    def _apply(self, record: OrderRecord, verdict: Verdict) -> OrderRecord:
        try:
            return self._service.finish(record, verdict)
        except JournalConflict as error:
            log.warning("order_changed_meanwhile", intent_id=record.intent_id, reason=str(error))
            return self._journal.by_cloid(record.cloid) or record

    def _evidence(self, record: OrderRecord) -> Verdict | StillOpen:
        venue_ms = parse_exchange_status(
            self._manager.info("exchangeStatus", priority="reconcile")
        ).venue_ms
        status = self._manager.order_status(record.cloid, priority="reconcile")
        readings = self._readings.setdefault(record.cloid, deque(maxlen=READINGS_KEPT))
        readings.append(_reading(status, venue_ms))
        if record.expires_after_ms is None or record.sent_ms is None:
            raise ValueError(f"{record.intent_id} is {record.state} without having been sent")
        if status is not None and status.placed_ms < record.created_ms - CLOCK_ALLOWANCE_MS:
            log.error("client_order_id_reused", intent_id=record.intent_id, oid=status.oid)
            return StillOpen("the venue shows an older order under this client order id")
        order = OpenOrder(record.cloid, record.size, record.tif, record.expires_after_ms)
        if status is None and venue_ms <= order.expires_after_ms + self._rules.margin_ms:
            fills = FillsReading(venue_ms, complete=False, fills=())
        elif status is not None and self._is_quiet(record, status):
            return StillOpen("in the book, unchanged")
        else:
            window = read_window(self._manager, record.sent_ms - CLOCK_ALLOWANCE_MS)
            fills = fills_of(window, record, venue_ms)
        return settle(order, readings, fills, self._rules)

    def _is_quiet(self, record: OrderRecord, status: OrderStatus) -> bool:
        """A resting order without a new fill in the store needs no window of fills."""
        return (
            record.state is OrderState.RESTING
            and status.status in BOOK_STATUSES
            and self._journal.stored_fill_size(record.intent_id) == record.filled_size
        )

    def _alert_if_old(self, record: OrderRecord) -> None:
        if record.state is not OrderState.UNKNOWN or record.cloid in self._alerted:
            return
        age_ms = self._clock_ms() - (record.sent_ms or record.created_ms)
        if age_ms > ALERT_AFTER_MS:
            self._alerted.add(record.cloid)
            log.error("order_unknown_for_long", intent_id=record.intent_id, age_ms=age_ms)

    def _forget_all_but(self, cloids: set[str]) -> None:
        self._alerted &= cloids
        for cloid in self._readings.keys() - cloids:
            del self._readings[cloid]


def _reading(status: OrderStatus | None, venue_ms: int) -> StatusReading:
    if status is None:
        return StatusReading(venue_ms, None)
    return StatusReading(
        venue_ms=venue_ms,
        status=status.status,
        oid=status.oid,
        executed=max(status.original_size - status.remaining, Decimal(0)),
        status_ms=status.status_ms,
    )
