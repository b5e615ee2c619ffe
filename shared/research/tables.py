"""Numbers of CSV, gzipped CSV, Parquet and Feather files, in pieces, with their rows."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shared.research.errors import DataFileError

TIME_COLUMN: Final = "timestamp_ms"
TIME_NAMES: Final = (TIME_COLUMN, "date", "timestamp", "open_time", "open_ms", "time_ms")
"""What other programs call it; the first that a file has counts."""
SUFFIXES: Final = (".csv", ".csv.gz", ".parquet", ".feather")
ROWS_PER_BATCH: Final = 100_000
BYTES_PER_BLOCK: Final = 8 << 20

FloatArray = NDArray[np.float64]


class Batch(NamedTuple):
    """Rows of a file: number of the first one, times in ms and the columns asked for.

    What is not a number is NaN, and a time that is none is ``NO_TIME``; ``raw`` holds what the
    file says there, for messages.
    """

    first_row: int
    time_ms: NDArray[np.int64]
    values: tuple[FloatArray, ...]
    raw: tuple[Any, ...]


NO_TIME: Final = np.iinfo(np.int64).min


def is_table(path: Path) -> bool:
    """Whether the name is that of a file that can be read."""
    return path.name.lower().endswith(SUFFIXES)


def columns_of(path: Path) -> list[str]:
    """Names of the columns; that of time is ``TIME_COLUMN`` whatever the file calls it.

    Raises
    ------
    DataFileError
        If the file cannot be read.
    """
    names = _names(path)
    time_name = next((name for name in TIME_NAMES if name in names), None)
    return [TIME_COLUMN if name == time_name else name for name in names]


def _names(path: Path) -> list[str]:
    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        if path.suffix == ".feather":
            with pa.memory_map(str(path)) as source:
                return list(pa.ipc.open_file(source).schema.names)
        with _open_csv(path) as stream:
            return stream.readline().decode("utf-8-sig").strip().split(",")
    except (OSError, EOFError, UnicodeDecodeError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def batches(path: Path, columns: Sequence[str]) -> Iterator[Batch]:
    """Times and the named columns, in pieces of bounded size.

    Raises
    ------
    DataFileError
        If the file cannot be read.
    """
    names = _names(path)
    wanted = [next(name for name in TIME_NAMES if name in names), *columns]
    row = 1 if path.suffix in (".parquet", ".feather") else 2
    try:
        for batch in _record_batches(path, wanted):
            raw = tuple(batch.column(name) for name in wanted)
            times = _cast(raw[0], pa.int64()).fill_null(NO_TIME)
            values = tuple(
                np.array(_cast(column, pa.float64()).fill_null(np.nan)) for column in raw[1:]
            )
            yield Batch(row, np.array(times), values, raw)
            row += batch.num_rows
    except (OSError, EOFError, UnicodeDecodeError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def sha256_of(path: Path) -> str:
    """Fingerprint of the file's bytes."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _record_batches(path: Path, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(ROWS_PER_BATCH, columns=wanted)
        return
    if path.suffix == ".feather":
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(wanted)
        return
    options = pa_csv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
    )
    # Arrow opens the file itself, for its threads read ahead: one of them in Python's code while
    # the interpreter ends would abort the process
    with (
        pa.input_stream(str(path), compression="gzip" if _is_gzip(path) else None) as stream,
        pa_csv.open_csv(
            stream,
            read_options=pa_csv.ReadOptions(block_size=BYTES_PER_BLOCK),
            convert_options=options,
        ) as reader,
    ):
        yield from reader


def _open_csv(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "rb") if _is_gzip(path) else path.open("rb")


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _cast(column: pa.Array, to: pa.DataType) -> pa.Array:
    """The column as numbers; null where it holds none."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms")).cast(pa.int64())
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
    try:
        return column.cast(to)
    except pa.ArrowInvalid:
        return pa.array([_number(value, to) for value in column.to_pylist()], type=to)


def _number(value: object, to: pa.DataType) -> float | int | None:
    try:
        if pa.types.is_integer(to):
            return int(str(value))
        return float(str(value))
    except ValueError:
        return None


def _unreadable(path: Path, error: BaseException) -> DataFileError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    text = " ".join(str(reason).split())
    return DataFileError(path, f"the file cannot be read ({text})")
