"""Example: follow `prices:updated` as a member of a consumer group.

Several of these share the work: each entry is handled by one of them. An entry is acknowledged
after it was handled; what a crashed member left behind is claimed by another. Every
`REPORT_SECS` the log tells how long ago each symbol was last seen.

Run: `python -m price_stream_consumer`
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis
import structlog

from shared import service
from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.database import make_redis
from shared.market_data.quotes import Quote
from shared.storage import redis_keys
from shared.storage.consumer_group import ConsumerGroup, Entry
from shared.storage.streams import StoredPriceError, decode_entry

log = structlog.get_logger(__name__)

GROUP = "price_stream_consumers"
BATCH = 100
BLOCK_MS = 1_000
REPORT_SECS = 30.0
CLAIM_EVERY_SECS = 10.0


@dataclass
class LastSeen:
    """The newest quote of each symbol, by the time it was received."""

    quotes: dict[str, Quote] = field(default_factory=dict)
    handled: int = 0

    def take(self, quotes: Sequence[Quote]) -> None:
        """Remember quotes; entries that come twice or late change nothing."""
        for quote in quotes:
            known = self.quotes.get(quote.symbol)
            if known is None or quote.received_ms > known.received_ms:
                self.quotes[quote.symbol] = quote

    def ages_ms(self, now_ms: int) -> dict[str, int]:
        """How long ago each symbol was last seen."""
        return {symbol: now_ms - quote.received_ms for symbol, quote in self.quotes.items()}


class PriceStreamConsumer:
    """Reads batches, hands them to ``handle``, acknowledges them."""

    def __init__(self, group: ConsumerGroup, handle: Callable[[Sequence[Quote]], None]) -> None:
        self._group = group
        self._handle = handle

    def recover(self) -> int:
        """Handle what this member and members that died left pending; returns how many."""
        recovered = 0
        while entries := self._group.own_pending(BATCH):
            recovered += self._process(entries)
        for entries in self._group.abandoned(BATCH):
            recovered += self._process(entries)
        return recovered

    def step(self, block_ms: int = BLOCK_MS) -> int:
        """Handle one batch of new entries; returns how many."""
        return self._process(self._group.read(BATCH, block_ms))

    def _process(self, entries: Sequence[Entry]) -> int:
        for entry_id, fields in entries:
            if not fields:
                continue  # trimmed from the stream while it was pending
            try:
                self._handle(decode_entry(fields, entry_id))
            except StoredPriceError as error:
                # Reading it again cannot help, so it is acknowledged with the others.
                log.error("entry_not_understood", reason=str(error))  # noqa: TRY400
        self._group.acknowledge(entries)
        return len(entries)


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    client = make_redis(settings, secrets)
    member = f"{socket.gethostname()}:{os.getpid()}"
    group = ConsumerGroup(client, redis_keys.PRICES_STREAM, GROUP, member)
    service.wait_for("redis", group.join, (redis.RedisError,), stop)
    clock = SystemClock()
    seen = LastSeen()
    consumer = PriceStreamConsumer(group, seen.take)
    reported_ms = clock.now_ms()
    claimed_ms = 0
    while not stop.is_set():
        now_ms = clock.now_ms()
        try:
            if now_ms - claimed_ms > CLAIM_EVERY_SECS * 1000:
                claimed_ms = now_ms
                consumer.recover()
            seen.handled += consumer.step()
        except redis.RedisError as error:
            log.warning("stream_away", reason=str(error))
            stop.wait(1.0)
        if now_ms - reported_ms > REPORT_SECS * 1000:
            reported_ms = now_ms
            log.info("prices_seen", entries=seen.handled, ages_ms=seen.ages_ms(now_ms))


def main() -> int:
    """Exit code of the process."""
    return service.run("price_stream_consumer", body)


if __name__ == "__main__":
    sys.exit(main())
