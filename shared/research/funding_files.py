"""Hourly funding rates as the venue reports them: ``timestamp_ms, funding_rate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.research.errors import DataFileError
from shared.research.tables import NO_TIME, TIME_COLUMN, FloatArray, batches, columns_of, sha256_of

RATE_COLUMN: Final = "funding_rate"
MAX_RATE: Final = 0.04
"""Largest hourly rate that the venue charges, 4 %."""


@dataclass(frozen=True, slots=True)
class FundingRates:
    """Payments of one symbol: time in ms, rising, and the rate that longs paid per notional."""

    symbol: str
    path: Path
    sha256: str
    time_ms: NDArray[np.int64]
    rate: FloatArray


def is_funding(path: Path) -> bool:
    """Whether a file holds funding rates, by its columns."""
    return RATE_COLUMN in columns_of(path)


def load_funding(symbol: str, path: Path) -> FundingRates:
    """Read and check one file (.csv, .csv.gz, .parquet).

    Raises
    ------
    DataFileError
        Unreadable or empty, a rate that is not a number within ±4 % an hour, times that do not
        rise.
    """
    if not {TIME_COLUMN, RATE_COLUMN} <= set(columns_of(path)):
        raise DataFileError(path, f"columns must be {TIME_COLUMN}, {RATE_COLUMN}")
    times: list[NDArray[np.int64]] = []
    rates: list[FloatArray] = []
    last = NO_TIME
    for batch in batches(path, [RATE_COLUMN]):
        rate = batch.values[0]
        before = np.concatenate([[last], batch.time_ms[:-1]])
        bad = ~(np.abs(rate) <= MAX_RATE) | (batch.time_ms <= before)
        if bad.any():
            at = int(np.argmax(bad))
            shown = [column[at].as_py() for column in batch.raw]
            raise DataFileError(
                path,
                f"time {shown[0]}, rate {shown[1]}; allowed are rising times in whole ms and "
                f"rates within ±{MAX_RATE:g} an hour",
                batch.first_row + at,
            )
        times.append(batch.time_ms)
        rates.append(rate)
        last = int(batch.time_ms[-1]) if len(rate) else last
    if last == NO_TIME:
        raise DataFileError(path, "the file has no rows")
    return FundingRates(symbol, path, sha256_of(path), np.concatenate(times), np.concatenate(rates))
