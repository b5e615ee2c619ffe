"""Which reading stands for the start of a day."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.risk.day_start import (
    CLOSE_MS,
    DAY_MS,
    FIRST,
    MAX_AGE_MS,
    RECORDED,
    ValueReading,
    day_begin_ms,
    day_starts,
    utc_day,
)

BEGIN = 1_700_006_400_000
HOUR = 3_600_000


def at(offset_ms: int, usd: int = 1_000) -> ValueReading:
    return ValueReading(BEGIN + offset_ms, Decimal(usd))


def sources(first: ValueReading, before: ValueReading | None) -> list[str]:
    return [start.source for start in day_starts(BEGIN, first, before)]


@pytest.mark.parametrize(
    ("first_ms", "before_ms", "expected"),
    [
        (2_000, None, [FIRST]),
        (2_000, -1, [FIRST]),  # running at midnight: its own reading is the nearest
        (CLOSE_MS, -6 * HOUR, [FIRST]),
        (CLOSE_MS + 1, -CLOSE_MS, [RECORDED]),  # the gateway alone was down
        (8 * HOUR, -2_000, [RECORDED]),
        (2 * HOUR, -2 * HOUR, [RECORDED, FIRST]),  # everything was down
        (2 * HOUR, -MAX_AGE_MS, [RECORDED, FIRST]),
        (2 * HOUR, -MAX_AGE_MS - 1, [FIRST]),
        (2 * HOUR, None, [FIRST]),
    ],
)
def test_the_reading_that_shows_the_start_of_the_day(
    first_ms: int, before_ms: int | None, expected: list[str]
) -> None:
    before = None if before_ms is None else at(before_ms)
    assert sources(at(first_ms), before) == expected


def test_days_are_utc() -> None:
    assert BEGIN % DAY_MS == 0
    assert (day_begin_ms(BEGIN), day_begin_ms(BEGIN - 1)) == (BEGIN, BEGIN - DAY_MS)
    assert (utc_day(BEGIN), utc_day(BEGIN - 1)) == ("2023-11-15", "2023-11-14")
