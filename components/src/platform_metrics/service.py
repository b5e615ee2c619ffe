"""Reads every source again and again; what one of them cannot say now is taken back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.state_metrics import Reading, StateCollector
from shared.storage.streams import StoredPriceError

log = structlog.get_logger(__name__)

Read = Callable[[], Reading]
FAILURES = (SQLAlchemyError, redis.RedisError, StoredPriceError, OSError)


class StateReader:
    """Publishes readings of named sources, each in a thread of its own.

    So a database that does not answer delays nothing that Redis has to say.
    """

    def __init__(
        self, sources: Mapping[str, Read], collector: StateCollector, interval_secs: float
    ) -> None:
        self._sources = sources
        self._collector = collector
        self._interval_secs = interval_secs
        self._failing: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Read until ``stop`` is set; what nobody expected ends it, rather than going unseen."""
        with ThreadPoolExecutor(len(self._sources)) as pool:
            loops = [pool.submit(self._repeat, name, stop) for name in self._sources]
            wait(loops, return_when=FIRST_COMPLETED)
            stop.set()
            for loop in loops:
                loop.result()

    def _repeat(self, name: str, stop: threading.Event) -> None:
        while not stop.is_set():
            self.look(name)
            stop.wait(self._interval_secs)

    def look(self, name: str) -> None:
        """Read one source once."""
        reading: Reading
        try:
            reading = {**self._sources[name](), "t3_source_readable": {(name,): 1.0}}
        except FAILURES as error:
            reading = {"t3_source_readable": {(name,): 0.0}}
            if name not in self._failing:
                log.warning("source_not_readable", source=name, reason=str(error).splitlines()[0])
            self._failing.add(name)
        else:
            if name in self._failing:
                log.info("source_readable_again", source=name)
            self._failing.discard(name)
        self._collector.publish(name, reading)
