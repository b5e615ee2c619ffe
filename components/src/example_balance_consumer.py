"""Example: a consumer of ``balance:updated`` that logs how the account's value changes.

Start here to write a consumer of your own. It shows the four things that every member of a
consumer group has to do:

1. join: the group is made at the first start and remembers how far it has read;
2. read: each entry goes to one member of the group, so that several members share the work;
3. acknowledge after the work, not before it: what a crashed member left behind comes again, so
   handling an entry twice must do no harm (here: an entry that is not newer changes nothing);
4. take over what members that died have left pending.

Each entry is one complete reading of the account: ``account_value``, ``withdrawable`` and
``margin_used`` in USD, ``venue_ms`` the venue's time. Act only where ``status`` is ``Known``.

Run: ``python -m example_balance_consumer``
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import redis
import structlog

from shared import service
from shared.config import Secrets, Settings
from shared.database import make_redis
from shared.storage import redis_keys
from shared.storage.balance_stream import (
    KNOWN,
    BalanceEntryError,
    BalanceUpdate,
    decode_balance,
)
from shared.storage.consumer_group import ConsumerGroup, Entry

log = structlog.get_logger(__name__)

GROUP = "example_balance_consumers"
BATCH = 100
BLOCK_MS = 1_000


@dataclass
class AccountWatcher:
    """The work of this example: log the value of the account whenever it has changed."""

    last: BalanceUpdate | None = None

    def handle(self, update: BalanceUpdate) -> bool:
        """Whether the update was news; a repeated, late or unknown one is not."""
        if update.status != KNOWN:
            return False
        if self.last is not None and update.venue_ms <= self.last.venue_ms:
            return False
        before, self.last = self.last, update
        if before is None or before.account_value != update.account_value:
            change = None if before is None else str(update.account_value - before.account_value)
            log.info("account_value", usd=str(update.account_value), change_usd=change)
        return True


class BalanceConsumer:
    """One member of the group."""

    def __init__(self, group: ConsumerGroup, watcher: AccountWatcher) -> None:
        self._group = group
        self._watcher = watcher

    def step(self, block_ms: int = BLOCK_MS) -> int:
        """Handle what is pending and one batch of new entries; returns how many there were."""
        handled = self._handle(self._group.own_pending(BATCH))
        for entries in self._group.abandoned(BATCH):
            handled += self._handle(entries)
        return handled + self._handle(self._group.read(BATCH, block_ms))

    def _handle(self, entries: Sequence[Entry]) -> int:
        for entry_id, fields in entries:
            if not fields:
                continue  # trimmed from the stream while it was pending
            try:
                self._watcher.handle(decode_balance(fields, entry_id))
            except BalanceEntryError as error:
                # reading it again cannot help, so it is acknowledged like the others
                log.warning("entry_not_understood", reason=str(error))
        self._group.acknowledge(entries)
        return len(entries)


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    member = f"{socket.gethostname()}:{os.getpid()}"
    group = ConsumerGroup(make_redis(settings, secrets), redis_keys.BALANCE_STREAM, GROUP, member)
    service.wait_for("redis", group.join, (redis.RedisError,), stop)
    consumer = BalanceConsumer(group, AccountWatcher())
    while not stop.is_set():
        try:
            consumer.step()
        except redis.RedisError as error:
            log.warning("stream_away", reason=str(error))
            stop.wait(1.0)
            service.wait_for("redis", group.join, (redis.RedisError,), stop)


if __name__ == "__main__":
    sys.exit(service.run("example_balance_consumer", body))
