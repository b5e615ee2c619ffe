"""What was deposited and withdrawn, so that neither looks like profit or loss."""

from __future__ import annotations

from decimal import Decimal

import structlog

from shared.exchange.errors import DecodeError
from shared.exchange.ledger_updates import parse_ledger_updates
from shared.exchange_manager import ExchangeManager

log = structlog.get_logger(__name__)

PAGE_SIZE = 500


def net_transfers(manager: ExchangeManager, after_ms: int, until_ms: int) -> Decimal:
    """USD that entered the account in (``after_ms``, ``until_ms``], less what left it.

    An entry of a kind that is not known here is reported and counts as neither. Raises
    ``VenueError`` if the ledger cannot be read as a whole.
    """
    reply = manager.info(
        "userNonFundingLedgerUpdates",
        user=manager.wallet,
        startTime=after_ms + 1,
        endTime=until_ms,
    )
    updates = parse_ledger_updates(reply, manager.wallet, manager.dexes)
    if len(updates) >= PAGE_SIZE:
        raise DecodeError("ledger", f"more than {PAGE_SIZE} entries between two looks at it")
    total = Decimal(0)
    for update in updates:
        if not after_ms < update.time_ms <= until_ms:
            continue
        if update.usd is None:
            log.error("ledger_entry_unknown", kind=update.kind, time_ms=update.time_ms)
        else:
            total += update.usd
    return total
