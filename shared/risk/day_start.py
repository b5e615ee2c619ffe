"""What the day's loss is measured from: pure, over readings of the account.

The risk manager may have been down when the day began. Then its own first reading would forgive
what was lost before it, and the readings that others have stored are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

DAY_MS = 86_400_000
CLOSE_MS = 60_000
"""A reading this close to the day's start is the day's start."""
MAX_AGE_MS = DAY_MS
"""What was read longer than this before the day's start says nothing about the day."""

FIRST = "first reading of the UTC day"
RECORDED = "last recorded reading before the UTC day"


@dataclass(frozen=True, slots=True)
class ValueReading:
    """The account's value in USD, unrealised profit included, at the venue's time (UTC ms)."""

    at_ms: int
    usd: Decimal


@dataclass(frozen=True, slots=True)
class DayStart:
    """A reading that may stand for the start of the day, and which one that is."""

    reading: ValueReading
    source: str


def day_begin_ms(now_ms: int) -> int:
    """When the UTC day of ``now_ms`` began."""
    return now_ms - now_ms % DAY_MS


def utc_day(now_ms: int) -> str:
    """The UTC date of a time, ``YYYY-MM-DD``."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()


def day_starts(
    begin_ms: int, first: ValueReading, before: ValueReading | None
) -> tuple[DayStart, ...]:
    """The readings of which the one that is worth most now stands for the day's start.

    ``first`` is the first reading from ``begin_ms`` on, ``before`` the last one before it. There
    are two where neither is close to the start: with the higher one no loss is overlooked.
    """
    first_of_day = DayStart(first, FIRST)
    if first.at_ms - begin_ms <= CLOSE_MS:
        return (first_of_day,)
    if before is None or begin_ms - before.at_ms > MAX_AGE_MS:
        return (first_of_day,)
    recorded = DayStart(before, RECORDED)
    if begin_ms - before.at_ms <= CLOSE_MS:
        return (recorded,)
    return (recorded, first_of_day)
