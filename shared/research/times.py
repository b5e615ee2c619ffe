"""Times as people write them on a command line."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime


def time_ms(text: str) -> int:
    """``2025-05-04``, ``2025-05-04T12:00`` (UTC unless it says otherwise) or ms since 1970."""
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; allowed are 2025-05-04, 2025-05-04T12:00 or ms since 1970"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
