"""A clock that moves only when told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FrozenClock:
    """Stands at ``ms``; sleeping moves it on at once."""

    ms: int = 1_700_000_000_000

    def now_ms(self) -> int:
        """The time it was set to, UTC ms."""
        return self.ms

    def sleep(self, secs: float) -> None:
        """Move on by ``secs`` seconds."""
        self.ms += round(secs * 1000)

    def advance(self, ms: int) -> None:
        """Move on by ``ms``."""
        self.ms += ms
