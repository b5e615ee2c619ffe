"""Prices by polling, for hosts that reach the venue through a proxy only.

Mids come with every poll (weight 2); marks, which move slowly and weigh 20, every ten seconds.

Run: `python -m price_poll_producer`
"""

from __future__ import annotations

import sys
import threading

import redis
import structlog

from price_stream_producer import prepare
from shared import service
from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.exchange.errors import VenueError
from shared.exchange.payloads import Asset
from shared.exchange_manager import ExchangeManager
from shared.market_data.intake import MarketView, QuoteIntake
from shared.market_data.quotes import Quote
from shared.ports import Clock

log = structlog.get_logger(__name__)

MARK_PERIOD_MS = 10_000
"""Marks are read this often; one that could not be read for three periods ends its quotes."""


class PollProducer:
    """Reads prices at a fixed pace and publishes them in batches."""

    def __init__(
        self,
        settings: Settings,
        assets: dict[str, Asset],
        manager: ExchangeManager,
        intake: QuoteIntake,
        clock: Clock,
    ) -> None:
        self._batch_size = settings.exchanges.hyperliquid.poll_batch_size
        self._dexes = sorted({symbol.rpartition(":")[0] for symbol in assets})
        self._manager = manager
        self._intake = intake
        self._clock = clock
        self._view = MarketView(frozenset(assets), 3 * MARK_PERIOD_MS)
        self._marks_read_ms = 0

    def poll(self) -> int:
        """Read and publish once; returns how many quotes were good. Raises ``VenueError``."""
        asked_ms = self._clock.now_ms()
        offset_ms = self._manager.health().clock_offset_ms
        symbols: set[str] = set()
        marks_due = asked_ms - self._marks_read_ms >= MARK_PERIOD_MS
        for dex in self._dexes:
            if marks_due:
                for context in self._manager.contexts(dex):
                    symbols |= self._view.context_arrived(
                        context.asset.symbol, context.mid, context.mark, asked_ms
                    )
            else:
                symbols |= self._view.mids_arrived(self._manager.mids(dex))
        if marks_due:
            self._marks_read_ms = asked_ms
        # A reply is at least as new as its request, so the request's time is its safe age.
        quotes = [
            Quote(symbol, mid, mark, asked_ms + offset_ms, asked_ms, "poll")
            for symbol, (mid, mark) in self._view.pairs(symbols, asked_ms).items()
        ]
        size = self._batch_size
        parts = (quotes[start : start + size] for start in range(0, len(quotes), size))
        return sum(len(self._intake.accept(part)) for part in parts)


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    manager, intake, assets = prepare(settings, secrets, stop)
    clock = SystemClock()
    producer = PollProducer(settings, assets, manager, intake, clock)
    period_ms = round(settings.exchanges.hyperliquid.poll_interval * 1000)
    failing = False
    while not stop.is_set():
        started_ms = clock.now_ms()
        try:
            producer.poll()
        except (VenueError, redis.RedisError) as error:
            # The manager has retried already; what it could not read stays old.
            if not failing:
                log.warning("price_poll_failed", reason=str(error))
            failing = True
        else:
            if failing:
                log.info("price_poll_recovered")
            failing = False
        stop.wait(max(0.0, (period_ms - (clock.now_ms() - started_ms)) / 1000))
    manager.close()


def main() -> int:
    """Exit code of the process."""
    return service.run("price_poll_producer", body)


if __name__ == "__main__":
    sys.exit(main())
