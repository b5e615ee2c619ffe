"""Judges each complete reading of the account, and ends its epoch once.

The epoch's state and what its end asks of the runs are one transaction: a reading that comes
twice, a second process, or a crash in between ends nothing twice and forgets nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, Engine

from shared import instruments
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.errors import VenueError
from shared.exchange.ledger_updates import LedgerUpdate
from shared.observation import Known, aged
from shared.ports import Clock
from shared.risk.account_epochs import (
    Epoch,
    EpochEnd,
    EpochRules,
    Flow,
    Reading,
    advance,
    restart,
    shift,
)
from shared.storage import runs
from shared.storage.balance_stream import KNOWN, BalanceUpdate
from shared.storage.take_profit_state import TakeProfitState, TakeProfitStateStore

log = structlog.get_logger(__name__)

FLOWS_EVERY_MS = 60_000
"""The venue's ledger is read this often; and always before a reading ends an epoch."""


class Ledger(Protocol):
    """Deposits, withdrawals and transfers of the account."""

    def updates(self, start_ms: int, end_ms: int) -> Sequence[LedgerUpdate]:
        """All entries of [``start_ms``, ``end_ms``], or a ``VenueError``."""


class TakeProfit:
    """The use case over MariaDB and the venue's ledger."""

    def __init__(
        self,
        *,
        engine: Engine,
        ledger: Ledger,
        clock: Clock,
        rules: EpochRules,
        max_age_ms: int,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._clock = clock
        self._rules = rules
        self._max_age_ms = max_age_ms

    def handle(self, update: BalanceUpdate) -> EpochEnd | None:
        """Judge one reading; returns how the epoch ended, None if it goes on.

        Readings that are not known, too old, or cannot be told from a transfer are passed over.
        """
        if update.status != KNOWN:
            log.info("balance_not_known", status=update.status)
            return None
        observed = aged(update, update.venue_ms, self._clock.now_ms(), self._max_age_ms)
        if not isinstance(observed, Known):
            return None
        reading = Reading(update.venue_ms, float(update.account_value))
        while True:
            stored = self._load()
            before = _epoch(stored)
            if reading.at_ms <= before.last_ms:
                return None
            after = self._with_flows(before, reading)
            if after is None:
                return None
            epoch, end = advance(after, reading, self._rules)
            if self._commit(stored, epoch, end, reading):
                if end is not None:
                    instruments.record_take_profit(end.value)
                return end

    def _with_flows(self, epoch: Epoch, reading: Reading) -> Epoch | None:
        """The epoch with the flows that it needs before this reading; None: do not judge it."""
        if epoch.last_ms == 0:
            return epoch
        needed = epoch.needs_flows(reading, self._rules)
        if not needed and reading.at_ms - epoch.flows_until_ms < FLOWS_EVERY_MS:
            return epoch
        try:
            updates = self._ledger.updates(epoch.flows_until_ms + 1, reading.at_ms)
        except VenueError as error:
            log.warning("ledger_not_read", error=str(error), needed=needed)
            return None if needed else epoch
        strange = sorted({u.kind for u in updates if u.usd is None})
        if strange:
            log.warning("ledger_not_understood", kinds=strange, effect="the baseline starts anew")
            return restart(epoch, reading.at_ms)
        flows = [Flow(u.time_ms, float(u.usd)) for u in updates if u.usd is not None]
        for flow in flows:
            log.info("baseline_shifted", usd=flow.usd, at_ms=flow.at_ms)
        return shift(epoch, flows, reading.at_ms)

    def _load(self) -> TakeProfitState | None:
        with UnitOfWork(self._engine) as uow:
            return TakeProfitStateStore(uow.conn).load()

    def _commit(
        self,
        stored: TakeProfitState | None,
        epoch: Epoch,
        end: EpochEnd | None,
        reading: Reading,
    ) -> bool:
        """Write the epoch and what its end asks for; False if the row has changed meanwhile."""

        def work() -> bool:
            now_ms = self._clock.now_ms()
            with UnitOfWork(self._engine) as uow:
                store = TakeProfitStateStore(uow.conn)
                if store.load(lock=True) != stored:
                    return False
                last_event_ms = 0 if stored is None else stored.last_event_ms
                state = _state(epoch, now_ms if end is not None else last_event_ms)
                store.save(state, now_ms)
                self._ask(uow.conn, end, reading, now_ms)
                uow.commit()
            return True

        return retry_deadlocks(work)

    def _ask(self, conn: Connection, end: EpochEnd | None, reading: Reading, now_ms: int) -> None:
        if end is EpochEnd.TAKE_PROFIT:
            height = runs.give_height(conn, end.value, reading.value, now_ms)
            log.warning("take_profit", account_value=reading.value, height=height)
        elif end is EpochEnd.DRAWDOWN:
            asked = runs.ask_to_exit(conn, None, end.value)
            log.warning("drawdown_reset", account_value=reading.value, runs=len(asked))


def _epoch(state: TakeProfitState | None) -> Epoch:
    if state is None:
        return Epoch()
    more: Any = state.samples
    return Epoch(
        samples=tuple(Reading(int(at_ms), float(value)) for at_ms, value in more["samples"]),
        baseline=state.baseline,
        peak=None if state.peak is None else Reading(int(more["peak_ms"]), state.peak),
        last=None if more["last"] is None else Reading(*more["last"]),
        last_ms=int(more["last_ms"]),
        flows_until_ms=state.ledger_cursor_ms,
        pending=None if more["pending"] is None else EpochEnd(more["pending"]),
        pending_count=int(more["pending_count"]),
    )


def _state(epoch: Epoch, last_event_ms: int) -> TakeProfitState:
    return TakeProfitState(
        baseline=epoch.baseline,
        peak=None if epoch.peak is None else epoch.peak.value,
        samples={
            "samples": [[s.at_ms, s.value] for s in epoch.samples],
            "peak_ms": None if epoch.peak is None else epoch.peak.at_ms,
            "last": None if epoch.last is None else [epoch.last.at_ms, epoch.last.value],
            "last_ms": epoch.last_ms,
            "pending": None if epoch.pending is None else epoch.pending.value,
            "pending_count": epoch.pending_count,
        },
        ledger_cursor_ms=epoch.flows_until_ms,
        last_event_ms=last_event_ms,
    )


def current(engine: Engine) -> Epoch:
    """The epoch as stored."""
    with UnitOfWork(engine) as uow:
        return _epoch(TakeProfitStateStore(uow.conn).load())
