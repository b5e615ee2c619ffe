"""Recorded prices of one symbol: candles, trades or best bids and asks, checked row by row.

What is wrong with a file is refused with its row. On request it is repaired instead, and the
repairs are reported: bad rows are dropped, rows out of order are sorted, of rows with the same time
the last counts. A gap is never filled: its ticks are unknown, and a run that sees an unknown tick
holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from shared.research.errors import DataFileError
from shared.research.tables import (
    NO_TIME,
    TIME_COLUMN,
    Batch,
    FloatArray,
    batches,
    columns_of,
    sha256_of,
)

Kind = Literal["candles", "ticks"]
CANDLE_COLUMNS: Final = ("open", "high", "low", "close")
VOLUME_COLUMN: Final = "volume"
QUOTE_COLUMNS: Final = ("bid_price", "ask_price")
GAPS_LISTED: Final = 20

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gap:
    """Candles missing before a row: the time of the last one before and how many."""

    row: int
    after_ms: int
    missing: int


@dataclass(slots=True)
class Repairs:
    """What was found wrong with a file and put right."""

    bad_rows: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    gaps: int = 0
    missing_candles: int = 0
    first_rows: dict[str, int] = field(default_factory=dict)
    """First row of each kind of fault."""
    listed_gaps: list[Gap] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.bad_rows or self.out_of_order or self.duplicates or self.gaps)

    def note(self, kind: str, row: int) -> None:
        self.first_rows.setdefault(kind, row)


@dataclass(frozen=True, slots=True)
class PricePoints:
    """Prices of one symbol in the order in which they became known.

    ``known_ms`` rises (never falls for ticks): a candle's close is known at its end, a tick at its
    time. ``spacing_ms`` is the length of a candle, None for ticks.
    """

    symbol: str
    path: Path
    sha256: str
    kind: Kind
    rows: int
    spacing_ms: int | None
    known_ms: IntArray
    price: FloatArray
    repairs: Repairs


def load_prices(symbol: str, path: Path, *, repair: bool = False) -> PricePoints:
    """Read and check one file (.csv, .csv.gz, .parquet, .feather).

    Columns: ``timestamp_ms`` with ``open, high, low, close`` (the time is the candle's open), with
    ``price``, or with ``bid_price, ask_price`` (their middle counts).

    Raises
    ------
    DataFileError
        Unreadable or empty file, unknown columns, and without ``repair``: a price that is not a
        positive number, a candle whose open or close lies outside its high and low, a time that is
        not a whole number, rows out of order, duplicate candles, gaps between candles.
    """
    columns = _columns(path)
    return check_prices(
        symbol, path, columns, batches(path, columns), sha256_of(path), repair=repair
    )


def check_prices(
    symbol: str,
    path: Path,
    columns: tuple[str, ...],
    rows: Iterable[Batch],
    sha256: str,
    *,
    repair: bool = False,
) -> PricePoints:
    """Rows from anywhere as :func:`load_prices` takes them from a file; ``path`` names them.

    ``columns`` are those of ``rows`` in order: ``CANDLE_COLUMNS``, ``("price",)`` or
    ``QUOTE_COLUMNS``.

    Raises
    ------
    DataFileError
        As :func:`load_prices`.
    """
    repairs = Repairs()
    checked = _checked(path, columns, rows, repairs, repair, lambda batch: _price(batch, columns))
    candles = columns == CANDLE_COLUMNS
    number, time_ms, price = _ordered(path, *checked.sorted_out, candles, repairs, repair)
    spacing_ms = None
    if candles:
        spacing_ms = _spacing(path, number, time_ms, repairs, repair)
        time_ms = time_ms + spacing_ms
    kind: Kind = "candles" if candles else "ticks"
    return PricePoints(
        symbol, path, sha256, kind, checked.count, spacing_ms, time_ms, price, repairs
    )


@dataclass(frozen=True, slots=True)
class CandleRows:
    """Candles of one symbol in order: ``open_ms`` [N] and ``values`` [N, 5] (open, high, low,
    close, volume)."""

    spacing_ms: int
    open_ms: IntArray
    values: FloatArray
    repairs: Repairs


def load_candles(path: Path, *, repair: bool = False) -> CandleRows:
    """Whole candles of one file, checked as by :func:`load_prices`; without a volume it is 0.

    Raises
    ------
    DataFileError
        As :func:`load_prices`, and for a file without candles or a negative volume.
    """
    if _columns(path) != CANDLE_COLUMNS:
        raise DataFileError(path, f"columns must be {TIME_COLUMN}, {', '.join(CANDLE_COLUMNS)}")
    has_volume = VOLUME_COLUMN in columns_of(path)
    columns = (*CANDLE_COLUMNS, VOLUME_COLUMN) if has_volume else CANDLE_COLUMNS
    repairs = Repairs()

    def pick(batch: Batch) -> FloatArray:
        volume = batch.values[4] if has_volume else np.zeros(len(batch.time_ms))
        picked: FloatArray = np.stack([*batch.values[:4], volume], axis=1)
        return picked

    checked = _checked(path, CANDLE_COLUMNS, batches(path, columns), repairs, repair, pick)
    number, open_ms, values = _ordered(path, *checked.sorted_out, True, repairs, repair)
    spacing_ms = _spacing(path, number, open_ms, repairs, repair)
    return CandleRows(spacing_ms, open_ms, values, repairs)


@dataclass(frozen=True, slots=True)
class _Checked:
    """Usable rows: how many rows there were, and (number, time, values) of those."""

    count: int
    sorted_out: tuple[IntArray, IntArray, FloatArray]


def _checked(
    path: Path,
    columns: tuple[str, ...],
    rows: Iterable[Batch],
    repairs: Repairs,
    repair: bool,
    pick: Callable[[Batch], FloatArray],
) -> _Checked:
    parts: list[tuple[IntArray, IntArray, FloatArray]] = []
    count = 0
    for batch in rows:
        good = ~_faults(path, batch, columns, repairs, repair)
        numbers = batch.first_row + np.flatnonzero(good)
        parts.append((numbers, batch.time_ms[good], pick(batch)[good]))
        count += len(batch.time_ms)
    if not sum(len(part[0]) for part in parts):
        raise DataFileError(path, "the file has no usable rows")
    number, time_ms, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Checked(count, (number, time_ms, values))


def joined(parts: Sequence[PricePoints]) -> PricePoints:
    """Files of one symbol as one series, in the order of their times.

    Raises
    ------
    DataFileError
        If they overlap or are of different kinds.
    """
    ordered = sorted(parts, key=lambda part: int(part.known_ms[0]))
    for before, after in pairwise(ordered):
        if (before.kind, before.spacing_ms) != (after.kind, after.spacing_ms):
            raise DataFileError(
                after.path, f"not the same kind or candle length as {before.path.name}"
            )
        if after.known_ms[0] <= before.known_ms[-1]:
            raise DataFileError(
                after.path,
                f"overlaps {before.path.name}, which also holds prices of {after.symbol} until "
                f"{before.known_ms[-1]}; give one file per symbol and time",
            )
    first = ordered[0]
    if len(ordered) == 1:
        return first
    return PricePoints(
        first.symbol,
        first.path,
        "+".join(part.sha256 for part in ordered),
        first.kind,
        sum(part.rows for part in ordered),
        first.spacing_ms,
        np.concatenate([part.known_ms for part in ordered]),
        np.concatenate([part.price for part in ordered]),
        first.repairs,
    )


def _columns(path: Path) -> tuple[str, ...]:
    found = {name for name in columns_of(path) if name}
    if not found:
        raise DataFileError(path, "the file is empty")
    for columns in (CANDLE_COLUMNS, ("price",), QUOTE_COLUMNS):
        if {TIME_COLUMN, *columns} <= found:
            return columns
    raise DataFileError(
        path,
        "columns must be timestamp_ms with open, high, low, close, or with price, or with "
        f"bid_price, ask_price; found are {', '.join(sorted(found))}",
    )


def _price(batch: Batch, columns: tuple[str, ...]) -> FloatArray:
    if columns == CANDLE_COLUMNS:
        return batch.values[3]
    if columns == QUOTE_COLUMNS:
        return (batch.values[0] + batch.values[1]) / 2.0
    return batch.values[0]


def _faults(
    path: Path, batch: Batch, columns: tuple[str, ...], repairs: Repairs, repair: bool
) -> NDArray[np.bool_]:
    """Rows that cannot be used; raises for the first of them unless they may be dropped."""
    bad: NDArray[np.bool_] = batch.time_ms == NO_TIME
    for values in batch.values[: len(columns)]:
        bad |= ~(np.isfinite(values) & (values > 0.0))
    for volume in batch.values[len(columns) :]:
        bad |= ~(np.isfinite(volume) & (volume >= 0.0))
    if columns == CANDLE_COLUMNS:
        open_, high, low, close = batch.values[:4]
        bad |= (low > np.minimum(open_, close)) | (high < np.maximum(open_, close))
    elif columns == QUOTE_COLUMNS:
        bad |= batch.values[0] > batch.values[1]
    if bad.any():
        at = int(np.argmax(bad))
        if not repair:
            raise DataFileError(path, _fault(batch, columns, at), batch.first_row + at)
        repairs.bad_rows += int(bad.sum())
        repairs.note("bad_rows", batch.first_row + at)
    return bad


def _fault(batch: Batch, columns: tuple[str, ...], at: int) -> str:
    raw = [column[at].as_py() for column in batch.raw]
    if batch.time_ms[at] == NO_TIME:
        return f"{TIME_COLUMN} is {raw[0]!r}; allowed is a whole number of milliseconds"
    for text, values in zip(raw[1 + len(columns) :], batch.values[len(columns) :], strict=True):
        if not np.isfinite(values[at]) or values[at] < 0.0:
            return f"{VOLUME_COLUMN} is {text!r}; allowed is a number of 0 or more"
    for name, text, values in zip(columns, raw[1:], batch.values, strict=False):
        if not np.isfinite(values[at]) or values[at] <= 0.0:
            return f"{name} is {text!r}; allowed is a number above 0"
    if columns == QUOTE_COLUMNS:
        return f"the bid of {raw[1]} is above the ask of {raw[2]}"
    return "open or close lies outside high and low"


def _ordered(
    path: Path,
    number: IntArray,
    time_ms: IntArray,
    price: FloatArray,
    unique: bool,
    repairs: Repairs,
    repair: bool,
) -> tuple[IntArray, IntArray, FloatArray]:
    """Rows in order of time, without duplicates where they must be unique."""
    steps = np.diff(time_ms)
    wrong = steps < 0
    if wrong.any():
        at = int(np.argmax(wrong)) + 1
        if not repair:
            raise DataFileError(
                path, f"out of order: {time_ms[at]} after {time_ms[at - 1]}", int(number[at])
            )
        repairs.out_of_order += int(wrong.sum())
        repairs.note("out_of_order", int(number[at]))
        order = np.argsort(time_ms, kind="stable")
        number, time_ms, price = number[order], time_ms[order], price[order]
        steps = np.diff(time_ms)
    if not unique:
        return number, time_ms, price
    again = steps == 0
    if again.any():
        at = int(np.argmax(again)) + 1
        if not repair:
            raise DataFileError(path, f"duplicate of the time {time_ms[at]}", int(number[at]))
        repairs.duplicates += int(again.sum())
        repairs.note("duplicates", int(number[at]))
        last = np.append(~again, True)
        number, time_ms, price = number[last], time_ms[last], price[last]
    return number, time_ms, price


def _spacing(
    path: Path, number: IntArray, time_ms: IntArray, repairs: Repairs, repair: bool
) -> int:
    """Length of a candle, with gaps refused or listed."""
    if len(time_ms) < 2:
        raise DataFileError(path, "at least two candles are needed to know their length")
    steps = np.diff(time_ms)
    spacing = int(steps.min())
    holes = np.flatnonzero(steps != spacing)
    for at in holes[:GAPS_LISTED].tolist():
        missing = int(steps[at]) // spacing - 1
        gap = Gap(int(number[at + 1]), int(time_ms[at]), missing)
        if not repair:
            raise DataFileError(
                path,
                f"gap of {missing} candles of {spacing // 1000} s after {gap.after_ms}; repair "
                "leaves them unknown",
                gap.row,
            )
        repairs.listed_gaps.append(gap)
    if len(holes):
        repairs.gaps += len(holes)
        repairs.missing_candles += int((steps[holes] // spacing - 1).sum())
        repairs.note("gaps", int(number[holes[0] + 1]))
    return spacing
