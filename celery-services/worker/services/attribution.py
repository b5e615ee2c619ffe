"""Attribute the account's fills, funding and transfers, one transaction per event.

The event's row and the symbol's book change together, and the row's key is the venue's own
identity of the event. So a task that is repeated, runs twice at once or dies in between attributes
each event once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from shared.config import Settings
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.funding_payments import FundingPayment, parse_funding_payments
from shared.exchange.ledger_updates import LedgerUpdate, parse_ledger_updates
from shared.orders import attribution
from shared.orders.attribution import AccountFill, Asked, Book, Split
from shared.ports import Clock
from shared.risk.transfers import Gap
from shared.storage.attribution import AttributionStore, Event, PendingFill, signed_ref
from shared.storage.balances import BalanceStore
from shared.storage.reconciliation_log import ReconciliationLog
from worker.services.run_weights import RunWeights, Weights

log = structlog.get_logger(__name__)

FILLS_PER_CALL = 200
OVERLAP_MS = 60_000

Info = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Attribution:
    """The use case, with the settings that reconciliation plans with."""

    engine: Engine
    weights: RunWeights
    clock: Clock
    risk_pos_percentage: float
    desired_run_count: int

    @classmethod
    def of(
        cls, settings: Settings, engine: Engine, weights: RunWeights, clock: Clock
    ) -> Attribution:
        """With the settings of reconciliation."""
        return cls(
            engine,
            weights,
            clock,
            settings.reconciliation_engine.risk_pos_percentage,
            settings.providence.desired_run_count,
        )

    def attribute_fills(self) -> int:
        """Attribute stored fills, oldest first; returns how many were."""
        with UnitOfWork(self.engine) as uow:
            pending = AttributionStore(uow.conn).pending_fills(FILLS_PER_CALL)
        known: dict[str, Weights] = {}
        count = 0
        for one in pending:
            count += self._once(one.event, partial(self._fill, pending=one, known=known))
        return count

    def attribute_funding(self, info: Info, wallet: str) -> int:
        """Read the venue's funding payments and attribute the new ones. Raises ``VenueError``.

        The first ones are looked for from the first reading of the account on.
        """
        with UnitOfWork(self.engine) as uow:
            newest_ms = AttributionStore(uow.conn).cursor_ms("funding")
            begun_ms = BalanceStore(uow.conn).first_ms() or self.clock.now_ms()
        start_ms = newest_ms - OVERLAP_MS if newest_ms else begun_ms
        payments = parse_funding_payments(info("userFunding", user=wallet, startTime=start_ms))
        count = 0
        for payment in payments:
            event = Event("funding", payment.time_ms, 0, payment.symbol, payment.usd, payment.size)
            count += self._once(event, partial(self._funding, payment=payment, event=event))
        return count

    def attribute_transfers(self, info: Info, wallet: str, dexes: Sequence[str]) -> int:
        """Give deposits and withdrawals since the first fill to the house; ``VenueError``.

        Of an entry of an unknown kind, the house gets what the account changed by around it.
        """
        with UnitOfWork(self.engine) as uow:
            since_ms = AttributionStore(uow.conn).cursor_ms("transfer")
        start_ms = max(since_ms - OVERLAP_MS, 0)
        raw = info("userNonFundingLedgerUpdates", user=wallet, startTime=start_ms)
        updates = parse_ledger_updates(raw, wallet, dexes)
        return sum(self._transfer(updates, number) for number in range(len(updates)))

    def _transfer(self, updates: Sequence[LedgerUpdate], number: int) -> int:
        update = updates[number]
        usd = self._unknown_usd(updates, number) if update.usd is None else update.usd
        if usd is None or update.usd == 0:
            return 0
        ref = signed_ref(number, updates)
        event = Event("transfer", update.time_ms, ref, "", usd)
        count = self._once(event, partial(self._house, event=event))
        if count and update.usd is None:
            log.error("transfer_unknown", kind=update.kind, time_ms=update.time_ms, usd=str(usd))
        return count

    def _unknown_usd(self, updates: Sequence[LedgerUpdate], number: int) -> Decimal | None:
        """What the account changed by around an entry, less what is known to have moved then.

        None while no later reading is stored. The first of several such entries gets all of it.
        """
        at_ms = updates[number].time_ms
        with UnitOfWork(self.engine) as uow:
            balances = BalanceStore(uow.conn)
            before, after = balances.value_before(at_ms), balances.value_from(at_ms)
        if before is None or after is None:
            return None if after is None else Decimal(0)
        gap = Gap(before, after)
        beside = [other for other in updates if gap.holds(other.time_ms)]
        if next(other for other in beside if other.usd is None) is not updates[number]:
            return Decimal(0)
        return gap.usd - sum((o.usd for o in beside if o.usd is not None), Decimal(0))

    def _house(self, conn: Connection, event: Event) -> None:
        split = Split(0.0, float(event.account_usd), 0)
        AttributionStore(conn).add(event, split, self.clock.now_ms())

    def _once(self, event: Event, work: Callable[[Connection], None]) -> int:
        """Do ``work`` in a transaction of its own; 0 if the event was attributed before."""

        def attempt() -> int:
            with UnitOfWork(self.engine) as uow:
                if AttributionStore(uow.conn).is_known(event):
                    return 0
                work(uow.conn)
                uow.commit()
            return 1

        try:
            return retry_deadlocks(attempt)
        except IntegrityError:
            log.info("attributed_by_another", kind=event.kind, time_ms=event.time_ms)
            return 0

    def _funding(self, conn: Connection, payment: FundingPayment, event: Event) -> None:
        store = AttributionStore(conn)
        book = store.book(payment.symbol, lock=True)
        book, split = attribution.apply_funding(book, float(payment.usd), float(payment.size))
        store.save_book(payment.symbol, book, self.clock.now_ms())
        store.add(event, split, self.clock.now_ms())

    def _fill(self, conn: Connection, pending: PendingFill, known: dict[str, Weights]) -> None:
        store, event = AttributionStore(conn), pending.event
        book = store.book(event.symbol, lock=True)
        fill = AccountFill(
            float(event.size),
            float(event.price),
            float(pending.fee),
            float(pending.start_position),
        )
        next_price = store.price_after(event)
        asked = None if next_price is not None else self._asked(conn, event, known)
        if next_price is not None:
            book, split = attribution.apply_late_fill(book, fill, float(next_price))
        else:
            book, split = attribution.apply_fill(book, fill, asked)
        if asked is not None:
            book = self._without_ended(store, event.symbol, book, asked)
        store.save_book(event.symbol, book, self.clock.now_ms())
        store.add(event, split, self.clock.now_ms())

    def _without_ended(
        self, store: AttributionStore, symbol: str, book: Book, asked: Asked
    ) -> Book:
        book, gone = attribution.retire(book, asked.run_ids)
        store.retire(symbol, gone)
        return book

    def _asked(self, conn: Connection, event: Event, known: dict[str, Weights]) -> Asked | None:
        """What the runs asked for when the fill's order was planned; None if they did not."""
        if event.intent_id is None:
            return None
        decisions = ReconciliationLog(conn).of_intent(event.intent_id)
        if not decisions or decisions[-1].detail.get("plan") is None:
            return None
        if event.symbol not in known:
            known[event.symbol] = self.weights.of_symbol(event.symbol)
        run_ids, weights = known[event.symbol]
        detail = decisions[-1].detail
        sizes = attribution.asked_sizes(
            weights,
            self._usd_per_weight(detail),
            float(detail["price_usd"]["value"]),
            _scale(detail["target"]),
        )
        target = float(Decimal(detail["plan"]["target_size"]))
        return Asked(run_ids.astype(np.int64), sizes, target)

    def _usd_per_weight(self, detail: Any) -> float:
        balance_usd = float(detail["balance_usd"]["value"])
        factor = float(detail["runs"]["value"]["cohort_factor"])
        run_count = detail["target"].get("run_count") or max(self.desired_run_count, 1)
        return balance_usd * self.risk_pos_percentage * factor / run_count


def _scale(target: Any) -> float:
    """What inversion, bans and caps left of what was wanted."""
    wanted = Decimal(target["wanted_usd"])
    if wanted == 0 or target["notional_usd"]["status"] != "Known":
        return 1.0
    return float(Decimal(target["notional_usd"]["value"]) / wanted)
