"""Intents that a thread of this process is working on; the resolver leaves them alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """A counted set of intent ids (the same intent may be asked for twice at once)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    @contextmanager
    def hold(self, intent_id: str) -> Iterator[None]:
        """Keep the intent in the set for the length of the block."""
        with self._lock:
            self._counts[intent_id] = self._counts.get(intent_id, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._counts[intent_id] -= 1
                if self._counts[intent_id] == 0:
                    del self._counts[intent_id]

    def __contains__(self, intent_id: str) -> bool:
        with self._lock:
            return intent_id in self._counts
