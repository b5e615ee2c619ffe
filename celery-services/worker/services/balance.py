"""Read the account, store it as the local voter's snapshot, tell everybody.

Only a complete reading of every configured dex is stored. A failed or partial one writes
nothing: what was known before stays, grows old, and is then stale to its readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import redis
import structlog
from sqlalchemy import Engine

from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.payloads import AccountSnapshot
from shared.ports import Clock
from shared.reconciliation.consensus import LOCAL_VOTER
from shared.storage.balance_stream import publish_balance
from shared.storage.balances import Balance, BalanceStore
from shared.storage.positions import PositionStore

log = structlog.get_logger(__name__)


class AccountReader(Protocol):
    """Where the account is read from."""

    @property
    def dexes(self) -> Sequence[str]:
        """Every configured dex; ``""`` is the venue's own."""

    def whole_account(self) -> AccountSnapshot:
        """All dexes as one snapshot, or a ``VenueError``."""


def update_balance(
    venue: AccountReader, engine: Engine, client: redis.Redis, clock: Clock
) -> Balance | None:
    """Store and publish one complete reading; None where a newer one is stored already.

    Raises ``VenueError`` when any dex cannot be read; then nothing is written.
    """
    account = venue.whole_account()
    balance = Balance.of(account, clock.now_ms())
    if not retry_deadlocks(lambda: _store(engine, account, balance, venue.dexes)):
        log.info("balance_not_newer", venue_ms=balance.venue_ms)
        return None
    publish_balance(client, balance)
    return balance


def _store(
    engine: Engine, account: AccountSnapshot, balance: Balance, dexes: Sequence[str]
) -> bool:
    with UnitOfWork(engine) as uow:
        newer = PositionStore(uow.conn).replace(LOCAL_VOTER, account, dexes, balance.read_ms)
        if newer:
            BalanceStore(uow.conn).add(balance)
            uow.commit()
    return newer
