"""Replay protection: the set of recent nonces of one signer."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

KEPT = 100
MAX_AGE_MS = 2 * 86_400_000
MAX_AHEAD_MS = 86_400_000


class NonceError(ValueError):
    """A refused nonce; the message is the venue's reply."""


class NonceSet:
    """The ``KEPT`` highest nonces of a signer, in rising order.

    A new nonce must be unused, exceed the smallest one kept once the set is full, and lie within
    two days before and one day after the venue's time.
    """

    def __init__(self, nonces: Iterable[int] = ()) -> None:
        self._sorted = sorted(nonces)[-KEPT:]

    def __iter__(self) -> Iterator[int]:
        return iter(self._sorted)

    def __len__(self) -> int:
        return len(self._sorted)

    def check(self, nonce: int, now_ms: int) -> None:
        """Raise `NonceError` unless ``nonce`` may be used at ``now_ms``."""
        position = bisect.bisect_left(self._sorted, nonce)
        if position < len(self._sorted) and self._sorted[position] == nonce:
            raise NonceError(f"Invalid nonce: duplicate nonce {nonce}")
        lowest = now_ms - MAX_AGE_MS
        if len(self._sorted) == KEPT:
            lowest = max(lowest, self._sorted[0])
        if nonce <= lowest:
            raise NonceError(f"Invalid nonce: nonce too low {nonce} < {lowest}")
        if nonce >= now_ms + MAX_AHEAD_MS:
            raise NonceError(f"Invalid nonce: nonce too high {nonce} > {now_ms + MAX_AHEAD_MS}")

    def add(self, nonce: int) -> int | None:
        """Keep a checked nonce; return the one that fell out, if any."""
        bisect.insort(self._sorted, nonce)
        return self._sorted.pop(0) if len(self._sorted) > KEPT else None
