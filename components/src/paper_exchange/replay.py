"""Recorded prices: candle, tick and best-bid/ask files as a source of fair prices.

A candle becomes four points: its open at the start, then low and high at one and two thirds of
its length (high first if it closed lower), its close at the last millisecond. Between the points
of candles the price moves in a straight line; between ticks it stands still.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from paper_exchange.prices import STEP_MS, FloatArray, Turns

CANDLE_COLUMNS = ("open", "high", "low", "close")
TIME_COLUMN = "timestamp_ms"
QUOTE_SUFFIXES = ("USDT", "USDC", "USD", "")


class DataFileError(ValueError):
    """A data file that cannot be replayed; the message names the file and, if any, the row."""


@dataclass(frozen=True)
class Recording:
    """Points of one coin: times in ms (never falling), prices; ``linear`` between candle points."""

    path: Path
    coin: str
    times: NDArray[np.int64]
    prices: FloatArray
    linear: bool


def split_argument(argument: str, coins: list[str]) -> tuple[str, Path]:
    """Coin and path of ``SYMBOL=path`` or of a path whose name holds the symbol.

    Raises:
        DataFileError: if no coin of the universe is named.
    """
    symbol, separator, rest = argument.partition("=")
    if separator and symbol in coins:
        return symbol, Path(rest)
    path = Path(argument)
    for token in re.split(r"[^A-Za-z0-9]+", path.name.upper()):
        for suffix in QUOTE_SUFFIXES:
            name = token.removesuffix(suffix)
            match = next((coin for coin in coins if name and coin.upper() == name), None)
            if match is not None:
                return match, path
    if not path.exists():
        raise DataFileError(f"{path}: there is no such file")
    raise DataFileError(
        f"{path}: the file name holds no symbol of the universe; "
        f"give it as SYMBOL=path with one of {', '.join(coins)}"
    )


def load_recording(coin: str, path: Path) -> Recording:
    """Read and check a candle, tick or bbo file (.csv, .csv.gz, .parquet).

    Raises:
        DataFileError: unreadable, wrong columns, a gap or a duplicate between candles, rows out
            of order, a price that is not a positive number.
    """
    rows = _checked_rows(path)
    first = next(rows, None)
    if first is None:
        raise DataFileError(f"{path}: the file has no rows")
    columns = set(first[1])
    if {TIME_COLUMN, *CANDLE_COLUMNS} <= columns:
        return _candles(coin, path, first, rows)
    if {TIME_COLUMN, "price"} <= columns:
        return _ticks(coin, path, first, rows, ("price",))
    if {TIME_COLUMN, "bid_price", "ask_price"} <= columns:
        return _ticks(coin, path, first, rows, ("bid_price", "ask_price"))
    raise DataFileError(
        f"{path}: columns must be timestamp_ms with open, high, low, close, or with price, "
        f"or with bid_price and ask_price; found {', '.join(sorted(columns))}"
    )


Row = tuple[int, dict[str, Any]]


def _checked_rows(path: Path) -> Iterator[Row]:
    """Rows with their number in the file (the header of a CSV is row 1)."""
    try:
        if path.suffix == ".parquet":
            yield from enumerate(_parquet_rows(path), start=1)
            return
        with _open_text(path) as stream:
            yield from enumerate(csv.DictReader(stream), start=2)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataFileError(f"{path}: cannot read the data file: {reason}") from error


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow as pa  # large, and not in every image
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise DataFileError(
            f"{path}: this installation reads no Parquet (it lacks pyarrow); use a CSV file"
        ) from None
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except pa.ArrowException as error:
        raise DataFileError(f"{path}: cannot read the data file: {error}") from error
    return rows


def _open_text(path: Path) -> TextIO:
    return gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="")


def _number(path: Path, row: Row, column: str) -> float:
    try:
        value = float(row[1][column])
    except (TypeError, ValueError) as error:
        raise DataFileError(
            f"{path}: row {row[0]}: {column} is not a number: {row[1][column]!r}"
        ) from error
    if not np.isfinite(value) or value <= 0:
        raise DataFileError(f"{path}: row {row[0]}: {column} must be above 0, found {value:g}")
    return value


def _time(path: Path, row: Row, previous: int | None) -> int:
    try:
        time_ms = int(row[1][TIME_COLUMN])
    except (TypeError, ValueError) as error:
        raise DataFileError(
            f"{path}: row {row[0]}: timestamp_ms is not a whole number: {row[1][TIME_COLUMN]!r}"
        ) from error
    if previous is not None and time_ms < previous:
        raise DataFileError(f"{path}: row {row[0]}: out of order: {time_ms} after {previous}")
    return time_ms


def _candles(coin: str, path: Path, first: Row, rows: Iterator[Row]) -> Recording:
    opens: list[int] = []
    bars: list[tuple[float, ...]] = []
    numbers: list[int] = []
    for row in (first, *rows):
        previous = opens[-1] if opens else None
        time_ms = _time(path, row, previous)
        if time_ms == previous:
            raise DataFileError(f"{path}: row {row[0]}: duplicate timestamp {time_ms}")
        bar = tuple(_number(path, row, column) for column in CANDLE_COLUMNS)
        if not bar[2] <= min(bar[0], bar[3]) <= max(bar[0], bar[3]) <= bar[1]:
            raise DataFileError(f"{path}: row {row[0]}: open or close lies outside high and low")
        opens.append(time_ms)
        bars.append(bar)
        numbers.append(row[0])
    if len(opens) < 2:
        raise DataFileError(f"{path}: at least two candles are needed")
    steps = np.diff(np.array(opens, dtype=np.int64))
    interval = int(steps.min())
    gaps = np.flatnonzero(steps != interval)
    if len(gaps):
        at = int(gaps[0])
        raise DataFileError(
            f"{path}: row {numbers[at + 1]}: gap of {int(steps[at]) // 1000} s after "
            f"{opens[at]}, candles are {interval // 1000} s long"
        )
    times, prices = _candle_points(opens, bars, interval)
    return Recording(path, coin, times, prices, linear=True)


def _candle_points(
    opens: list[int], bars: list[tuple[float, ...]], interval_ms: int
) -> tuple[NDArray[np.int64], FloatArray]:
    offsets = (0, interval_ms // 3, 2 * interval_ms // 3, interval_ms - 1)
    times = [start + offset for start in opens for offset in offsets]
    prices: list[float] = []
    for open_px, high, low, close in bars:
        middle = (low, high) if close >= open_px else (high, low)
        prices.extend((open_px, *middle, close))
    return np.array(times, dtype=np.int64), np.array(prices, dtype=np.float64)


def _ticks(
    coin: str, path: Path, first: Row, rows: Iterator[Row], columns: tuple[str, ...]
) -> Recording:
    times: list[int] = []
    prices: list[float] = []
    for row in (first, *rows):
        times.append(_time(path, row, times[-1] if times else None))
        values = [_number(path, row, column) for column in columns]
        prices.append(sum(values) / len(values))
    return Recording(
        path, coin, np.array(times, dtype=np.int64), np.array(prices, dtype=np.float64), False
    )


class ReplaySource:
    """A recording played from ``position_ms`` (data time) at ``speed`` times real time.

    Past its end the last price stays.
    """

    def __init__(
        self, recording: Recording, speed: float, position_ms: float | None = None
    ) -> None:
        self.recording = recording
        self._speed = speed
        start = float(recording.times[0])
        self.position_ms = start if position_ms is None else max(start, position_ms)

    @property
    def price(self) -> float:
        """The price at the current position."""
        return float(self._at(np.array([self.position_ms]))[0])

    @property
    def exhausted(self) -> bool:
        return self.position_ms > float(self.recording.times[-1])

    def take(self, n_steps: int) -> tuple[FloatArray, Turns]:
        """The prices of the next ``n_steps`` steps, and the extremes recorded within each.

        So a fast replay passes every low and high, and orders that wait there are filled.
        """
        offsets = np.arange(n_steps + 1, dtype=np.float64) * (STEP_MS * self._speed)
        times = self.position_ms + offsets
        self.position_ms = float(times[-1])
        return self._at(times[1:]), self._turns(times)

    def _turns(self, times: FloatArray) -> Turns:
        edges = np.searchsorted(self.recording.times, times, side="right").tolist()
        turns: Turns = {}
        for step, (first, end) in enumerate(pairwise(edges)):
            if first < end:
                passed = self.recording.prices[first:end]
                at = sorted({int(passed.argmin()), int(passed.argmax())})
                turns[step] = tuple(float(passed[i]) for i in at)
        return turns

    def _at(self, times: FloatArray) -> FloatArray:
        recording = self.recording
        if recording.linear:
            interpolated: FloatArray = np.interp(times, recording.times, recording.prices)
            return interpolated
        index = np.searchsorted(recording.times, times, side="right") - 1
        return recording.prices[np.maximum(index, 0)]
