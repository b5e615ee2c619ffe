"""The system's wall clock."""

from __future__ import annotations

import time


class SystemClock:
    """UTC from the system; ``sleep`` yields to other green threads where there are any."""

    def now_ms(self) -> int:
        """UTC in ms."""
        return time.time_ns() // 1_000_000

    def sleep(self, secs: float) -> None:
        """Wait ``secs`` seconds."""
        time.sleep(secs)
