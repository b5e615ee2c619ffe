"""What was deposited and withdrawn, so that neither looks like profit or loss."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Engine

from shared.database import UnitOfWork
from shared.exchange.errors import DecodeError
from shared.exchange.ledger_updates import LedgerUpdate, parse_ledger_updates
from shared.exchange_manager import ExchangeManager
from shared.risk.day_start import ValueReading
from shared.risk.transfers import Gap, Transfer, net_usd
from shared.storage.balances import BalanceStore

PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Moved:
    """USD that entered the account less what left it, and the entries that nobody understands."""

    usd: Decimal
    unknown: tuple[LedgerUpdate, ...] = ()


class TransferReader:
    """Tells transfers from profit and loss between two readings of the account."""

    def __init__(self, manager: ExchangeManager, engine: Engine) -> None:
        self._manager = manager
        self._engine = engine

    def between(self, before: ValueReading, now: ValueReading) -> Moved:
        """What was moved after ``before`` and is in ``now``.

        Around an entry of an unknown kind the account's own change counts as moved. Raises
        ``VenueError`` if the ledger cannot be read as a whole.
        """
        updates = [
            update
            for update in self._updates(before.at_ms + 1, now.at_ms)
            if before.at_ms < update.time_ms <= now.at_ms
        ]
        unknown = tuple(update for update in updates if update.usd is None)
        gaps = [self._around(update.time_ms, before, now) for update in unknown]
        return Moved(net_usd((Transfer(u.time_ms, u.usd) for u in updates), gaps), unknown)

    def _updates(self, start_ms: int, end_ms: int) -> tuple[LedgerUpdate, ...]:
        reply = self._manager.info(
            "userNonFundingLedgerUpdates",
            user=self._manager.wallet,
            startTime=start_ms,
            endTime=end_ms,
        )
        updates = parse_ledger_updates(reply, self._manager.wallet, self._manager.dexes)
        if len(updates) >= PAGE_SIZE:
            raise DecodeError("ledger", f"more than {PAGE_SIZE} entries between two looks at it")
        return updates

    def _around(self, at_ms: int, before: ValueReading, now: ValueReading) -> Gap:
        """The readings next to a moment, none of them from outside ``before`` and ``now``."""
        with UnitOfWork(self._engine) as uow:
            balances = BalanceStore(uow.conn)
            earlier, later = balances.value_before(at_ms), balances.value_from(at_ms)
        return Gap(
            before if earlier is None or earlier.at_ms < before.at_ms else earlier,
            now if later is None or later.at_ms > now.at_ms else later,
        )
