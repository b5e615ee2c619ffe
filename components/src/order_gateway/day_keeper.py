"""What the day's loss is measured from: kept in MariaDB, moved with deposits and withdrawals."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from decimal import Decimal

import structlog
from sqlalchemy import Engine

from order_gateway.audit_writer import AuditWriter
from order_gateway.ledger import Moved, TransferReader
from shared.database import UnitOfWork
from shared.exchange.ledger_updates import LedgerUpdate
from shared.exchange.precision import plain
from shared.risk.day_start import DayStart, ValueReading, day_begin_ms, day_starts, utc_day
from shared.risk.limits import DayBaseline
from shared.storage.balances import BalanceStore
from shared.storage.risk_state import RiskState, RiskStateStore, UnknownEntry

log = structlog.get_logger(__name__)

LEDGER_INTERVAL_SECS = 60.0


class DayKeeper:
    """Begins a day's baseline and shifts it; every change is audited."""

    def __init__(
        self,
        *,
        engine: Engine,
        transfers: TransferReader,
        audit: AuditWriter,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._transfers = transfers
        self._audit = audit
        self._clock_ms = clock_ms
        self._ledger_read_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether the venue's ledger has not been read for a minute."""
        return time.monotonic() - self._ledger_read_at > LEDGER_INTERVAL_SECS

    def todays(self, state: RiskState) -> DayBaseline | None:
        """The stored baseline, if it is that of the UTC day which is now."""
        baseline = state.baseline
        return baseline if baseline and baseline.day == utc_day(self._clock_ms()) else None

    def begin(self, now: ValueReading) -> DayBaseline:
        """The day's baseline: the account at its start, with what was transferred since.

        Where nobody read the account about midnight, the reading which is worth most now.
        Raises ``VenueError`` if that takes the ledger and it cannot be read.
        """
        now_ms = self._clock_ms()
        worth: list[tuple[Decimal, DayStart, Moved]] = []
        for start in self._starts(day_begin_ms(now_ms), now):
            moved = Moved(Decimal(0)) if start.reading == now else self._read(start.reading, now)
            worth.append((start.reading.usd + moved.usd, start, moved))
        self._report({update for *_, moved in worth for update in moved.unknown})
        usd, start, moved = max(worth, key=lambda one: one[0])
        baseline = DayBaseline(utc_day(now_ms), usd)
        self._store(baseline, now, f"{start.source}, at {start.reading.at_ms}")
        fields = {
            "day": baseline.day,
            "account_value": plain(usd),
            "source": start.source,
            "reading_usd": plain(start.reading.usd),
            "reading_ms": start.reading.at_ms,
            "net_transfers_usd": plain(moved.usd),
        }
        self._audit.write("day_started", fields)
        return baseline

    def shift(self, state: RiskState, baseline: DayBaseline, now: ValueReading) -> DayBaseline:
        """Add to the baseline what ``now`` already contains of transfers; ``VenueError``."""
        moved = self._read(state.ledger_cursor or now, now)
        self._report(moved.unknown)
        shifted = DayBaseline(baseline.day, baseline.account_value + moved.usd)
        self._store(shifted, now, f"transfers of {moved.usd} USD" if moved.usd else None)
        if moved.usd:
            self._audit.write("baseline_shifted", {"net_transfers_usd": plain(moved.usd)})
        return shifted

    def _starts(self, begin_ms: int, now: ValueReading) -> tuple[DayStart, ...]:
        with UnitOfWork(self._engine) as uow:
            balances = BalanceStore(uow.conn)
            before, first = balances.value_before(begin_ms), balances.value_from(begin_ms)
        if first is None or first.at_ms > now.at_ms:
            first = now
        return day_starts(begin_ms, first, before)

    def _read(self, since: ValueReading, now: ValueReading) -> Moved:
        self._ledger_read_at = time.monotonic()  # one that fails is due again as any other
        return self._transfers.between(since, now)

    def _report(self, unknown: Collection[LedgerUpdate]) -> None:
        """Say that there are entries which nobody understands, and remember the newest."""
        for update in sorted(unknown, key=lambda update: update.time_ms):
            fields = {"kind": update.kind, "time_ms": update.time_ms}
            log.error("ledger_entry_unknown", **fields)
            self._audit.write("ledger_entry_unknown", fields)
        if unknown:
            newest = max(unknown, key=lambda update: update.time_ms)
            with UnitOfWork(self._engine) as uow:
                entry = UnknownEntry(newest.kind, newest.time_ms)
                RiskStateStore(uow.conn).set_unknown_entry(entry, self._clock_ms())
                uow.commit()

    def _store(self, baseline: DayBaseline, account: ValueReading, change: str | None) -> None:
        """The baseline, if ``change`` says why it is another, and how far the ledger is in it."""
        now_ms = self._clock_ms()
        with UnitOfWork(self._engine) as uow:
            store = RiskStateStore(uow.conn)
            if change is not None:
                store.set_baseline(baseline, now_ms, change)
            store.set_ledger_cursor(account, now_ms)
            uow.commit()
