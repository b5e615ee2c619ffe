"""One monotonic nonce allocator: max(now, last + 1), on wall time."""

from __future__ import annotations

import threading
from collections.abc import Callable


class NonceAllocator:
    """Hands out each nonce once. Seeded with the highest one that this signer ever used."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._last = 0
        self._clock_ms = clock_ms
        self._lock = threading.Lock()

    def seed(self, last: int) -> None:
        """Never hand out ``last`` or anything below it again."""
        with self._lock:
            self._last = max(self._last, last)

    def next(self) -> int:
        """A nonce greater than every one before and not behind the wall clock (UTC ms)."""
        with self._lock:
            self._last = max(self._clock_ms(), self._last + 1)
            return self._last
