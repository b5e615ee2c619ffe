"""Whole days of the archive: what is there already, what comes in, and what is still missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shared.market_data.archive import (
    DAY_MS,
    SCHEMAS,
    Archive,
    day_of,
    start_of,
    time_column,
    unique_rows,
)
from shared.market_data.candle import TIMEFRAME_MS
from shared.research.errors import ResearchError

HOUR_MS: Final = 3_600_000
_VALUE: Final = {"prices": "mid", "funding": "rate"}
"""The column that tells whether two rows of one time say the same; ``close`` for candles."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing rows of a dataset: first and last time, and how many."""

    from_ms: int
    to_ms: int
    missing: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the archive holds of a symbol between two times."""

    dataset: str
    symbol: str
    from_ms: int
    to_ms: int
    rows: int
    gaps: tuple[Gap, ...]

    @property
    def missing(self) -> int:
        """Rows that should be there and are not."""
        return sum(gap.missing for gap in self.gaps)


def spacing_of(dataset: str) -> int | None:
    """Distance of two rows in ms; None where they come as they come."""
    if dataset == "funding":
        return HOUR_MS
    return TIMEFRAME_MS.get(dataset.removeprefix("candles_"))


def by_day(dataset: str, table: Any) -> Iterator[tuple[date, Any]]:
    """The table (sorted by time) cut into UTC days."""
    days = table[time_column(dataset)].to_numpy() // DAY_MS
    edges = np.flatnonzero(np.diff(days)) + 1
    bounds = [0, *edges.tolist(), len(days)]
    for first, end in pairwise(bounds):
        if end > first:
            yield day_of(int(days[first]) * DAY_MS), table.slice(first, end - first)


def merge(
    archive: Archive, dataset: str, symbol: str, day: date, table: Any, *, replace: bool = False
) -> bool:
    """Add rows to a day; False if the day had all of them already.

    Raises
    ------
    ResearchError
        If the day has a row of the same time that says something else, unless ``replace``.
    """
    first = start_of(day)
    there = archive.read(dataset, symbol, first, first + DAY_MS - 1)
    table = table.select(SCHEMAS[dataset].names).cast(SCHEMAS[dataset])
    if there.num_rows and not replace:
        _refuse_conflict(dataset, symbol, there, table)
        whole = unique_rows(dataset, pa.concat_tables([table, there]))
    else:
        whole = unique_rows(dataset, pa.concat_tables([there, table]))
    if whole.num_rows == there.num_rows and (not replace or whole.equals(there)):
        return False
    archive.write_day(dataset, symbol, day, whole)
    return True


def _refuse_conflict(dataset: str, symbol: str, there: Any, table: Any) -> None:
    time, value = time_column(dataset), _VALUE.get(dataset, "close")
    if dataset == "prices" and set(there["source"].to_pylist()) != {"import"}:
        raise ResearchError(
            f"prices of {symbol} at {there[time][0]} were recorded live; a file cannot be mixed "
            "with them, but with REPLACE=yes takes the place of rows with the same key"
        )
    if dataset == "prices":
        return
    old, new = there[time].to_numpy(), table[time].to_numpy()
    _, at_old, at_new = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    before, after = there[value].to_numpy()[at_old], table[value].to_numpy()[at_new]
    other = np.flatnonzero(before != after)
    if len(other):
        k = int(other[0])
        raise ResearchError(
            f"{dataset} of {symbol} at {old[at_old[k]]}: the archive has {value} {before[k]:g}, "
            f"what comes in says {after[k]:g}; REPLACE=yes takes what comes in"
        )


def coverage(archive: Archive, dataset: str, symbol: str, from_ms: int, to_ms: int) -> Coverage:
    """Rows and gaps of a symbol from ``from_ms`` to ``to_ms``, both included."""
    times: NDArray[np.int64] = archive.read(dataset, symbol, from_ms, to_ms)[
        time_column(dataset)
    ].to_numpy()
    spacing = spacing_of(dataset)
    if spacing is None:
        return Coverage(dataset, symbol, from_ms, to_ms, len(times), ())
    first, last = -(-from_ms // spacing), to_ms // spacing
    # funding is stamped some ms after its hour
    places = np.unique(times // spacing)
    edges = np.concatenate([[first - 1], places, [last + 1]])
    holes = np.flatnonzero(np.diff(edges) > 1)
    gaps = tuple(
        Gap(
            int(edges[k] + 1) * spacing,
            int(edges[k + 1] - 1) * spacing,
            int(edges[k + 1] - edges[k] - 1),
        )
        for k in holes.tolist()
    )
    return Coverage(dataset, symbol, from_ms, to_ms, len(times), gaps)
