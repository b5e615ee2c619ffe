"""The account's ledger at the venue, page by page."""

from __future__ import annotations

from collections.abc import Sequence

from shared.exchange.errors import VenueRejected
from shared.exchange.ledger_updates import LedgerUpdate, parse_ledger_updates
from shared.exchange_manager import ExchangeManager

PAGE = 500
MAX_PAGES = 50


class VenueLedger:
    """``userNonFundingLedgerUpdates`` of the manager's wallet (weight 20 a page)."""

    def __init__(self, manager: ExchangeManager) -> None:
        self._manager = manager

    def updates(self, start_ms: int, end_ms: int) -> Sequence[LedgerUpdate]:
        """All entries of [``start_ms``, ``end_ms``]; raises ``VenueError``, never a part of them.

        A page that is full of entries of one millisecond cannot be paged over; then nothing is
        known.
        """
        found: list[LedgerUpdate] = []
        for _ in range(MAX_PAGES):
            page = self._page(start_ms, end_ms)
            if len(page) < PAGE:
                return [*found, *page]
            # the last millisecond may go on in the next page: leave it to that
            last_ms = max(update.time_ms for update in page)
            if last_ms == start_ms:
                break
            found += [update for update in page if update.time_ms < last_ms]
            start_ms = last_ms
        raise VenueRejected(f"the ledger has more entries than {MAX_PAGES} pages can hold")

    def _page(self, start_ms: int, end_ms: int) -> tuple[LedgerUpdate, ...]:
        reply = self._manager.info(
            "userNonFundingLedgerUpdates",
            user=self._manager.wallet,
            startTime=start_ms,
            endTime=end_ms,
        )
        return parse_ledger_updates(reply, self._manager.wallet, self._manager.dexes)
