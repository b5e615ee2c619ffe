"""Wall time, in one place."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """UTC in milliseconds."""
    return time.time_ns() // 1_000_000
