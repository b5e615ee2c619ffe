"""Times as people write and read them on a command line."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

_YEAR_10000_MS = 253_402_300_800_000


def time_ms(text: str) -> int:
    """``2025-05-04``, ``2025-05-04T12:00`` (UTC unless it says otherwise) or ms since 1970."""
    if text.isdecimal() and int(text) < _YEAR_10000_MS:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; allowed are 2025-05-04, 2025-05-04T12:00 or ms since 1970"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def utc(at_ms: int) -> str:
    """``2025-05-04T12:00:00Z`` of ms since 1970."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
