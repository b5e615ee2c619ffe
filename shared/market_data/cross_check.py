"""Is a streamed price still moving? Each channel's mids, judged by what the venue says elsewhere.

A price that stands still may be the market's. It is frozen when two polls in a row tell another
price while the channel repeats the one it had before the first of them. It thaws when the
channel tells a new price, or when the venue comes back to the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

Feed: TypeAlias = tuple[str, str]
"""(channel, symbol)"""


@dataclass
class CrossCheck:
    """Remembers since when each feed tells the price it tells; survives reconnections."""

    _told: dict[Feed, tuple[Decimal, int]] = field(default_factory=dict)
    _suspected_ms: dict[Feed, int] = field(default_factory=dict)
    _frozen: dict[Feed, Decimal] = field(default_factory=dict)

    def heard(self, channel: str, symbol: str, mid: Decimal, at_ms: int) -> bool:
        """Take in a streamed mid; False if it is a frozen one, which must not be used."""
        feed = (channel, symbol)
        known = self._told.get(feed)
        if known is not None and known[0] == mid:
            return feed not in self._frozen
        self._told[feed] = (mid, at_ms)
        self._suspected_ms.pop(feed, None)
        self._frozen.pop(feed, None)
        return True

    def polled(self, mids: Mapping[str, Decimal], asked_ms: int) -> set[Feed]:
        """Compare with a poll that was asked for at ``asked_ms``; returns what has just frozen."""
        frozen = set()
        for feed, (mid, since_ms) in self._told.items():
            other = mids.get(feed[1])
            if other is None:
                continue
            if other == mid:
                self._suspected_ms.pop(feed, None)
                self._frozen.pop(feed, None)
            elif feed in self._suspected_ms and feed not in self._frozen:
                if since_ms < self._suspected_ms[feed] < asked_ms:
                    self._frozen[feed] = mid
                    frozen.add(feed)
            elif since_ms < asked_ms:
                self._suspected_ms.setdefault(feed, asked_ms)
        return frozen

    @property
    def frozen(self) -> set[Feed]:
        """Feeds that repeat a price which the venue has left."""
        return set(self._frozen)
