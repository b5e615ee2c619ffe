"""Is a streamed price still moving? Mids of the stream, judged by what the venue says elsewhere.

A price that stands still may be the market's. It is frozen when two polls in a row tell another
price while the stream repeats the one it had before the first of them. It thaws when the stream
tells a new price, or when the venue comes back to the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass
class CrossCheck:
    """Remembers since when each symbol has the price it has; survives reconnections."""

    _told: dict[str, tuple[Decimal, int]] = field(default_factory=dict)
    _suspected_ms: dict[str, int] = field(default_factory=dict)
    _frozen: dict[str, Decimal] = field(default_factory=dict)

    def heard(self, symbol: str, mid: Decimal, at_ms: int) -> bool:
        """Take in a streamed mid; False if it is a frozen one, which must not be used."""
        known = self._told.get(symbol)
        if known is not None and known[0] == mid:
            return symbol not in self._frozen
        self._told[symbol] = (mid, at_ms)
        self._suspected_ms.pop(symbol, None)
        self._frozen.pop(symbol, None)
        return True

    def polled(self, mids: Mapping[str, Decimal], asked_ms: int) -> set[str]:
        """Compare with a poll that was asked for at ``asked_ms``; returns what has just frozen."""
        frozen = set()
        for symbol, (mid, since_ms) in self._told.items():
            other = mids.get(symbol)
            if other is None:
                continue
            if other == mid:
                self._suspected_ms.pop(symbol, None)
                self._frozen.pop(symbol, None)
            elif symbol in self._suspected_ms and symbol not in self._frozen:
                if since_ms < self._suspected_ms[symbol] < asked_ms:
                    self._frozen[symbol] = mid
                    frozen.add(symbol)
            elif since_ms < asked_ms:
                self._suspected_ms.setdefault(symbol, asked_ms)
        return frozen

    @property
    def frozen(self) -> set[str]:
        """Symbols whose stream repeats a price which the venue has left."""
        return set(self._frozen)
