"""The archive: every price, candle, funding rate and fill as Parquet, by day and symbol.

    {root}/{dataset}/{symbol}/{YYYY-MM-DD}.parquet      one UTC day of one symbol, sorted
    {root}/prices/parts/{YYYY-MM-DD}/*.parquet          prices not yet sorted into day files

Datasets are ``prices``, ``candles_{timeframe}``, ``funding`` and ``fills``; their columns are in
``SCHEMAS``. A ``:`` in a symbol is written ``~`` in its folder's name. Files are complete or not
there: each is written beside its place, synced and renamed. A row may be in more than one file;
its key (``KEYS``) tells, and ``read`` returns it once. `docs/market-data.md` describes the layout.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.market_data.candle import TIMEFRAME_MS

DAY_MS = 86_400_000
COMPRESSION = "zstd"
PRICES = "prices"
FUNDING = "funding"
FILLS = "fills"
_READ_ATTEMPTS = 5
_MONEY = pa.decimal128(28, 10)
_CANDLE = pa.schema(
    [("symbol", pa.string()), ("open_ms", pa.int64())]
    + [(name, pa.float64()) for name in ("open", "high", "low", "close", "volume")]
)

SCHEMAS: dict[str, Any] = {
    PRICES: pa.schema(
        [
            ("symbol", pa.string()),
            ("received_ms", pa.int64()),
            ("venue_ms", pa.int64()),
            ("mid", pa.float64()),
            ("mark", pa.float64()),
            ("source", pa.string()),
            ("entry_ms", pa.int64()),
            ("entry_seq", pa.int64()),
        ]
    ),
    FUNDING: pa.schema(
        [
            ("symbol", pa.string()),
            ("time_ms", pa.int64()),
            ("rate", pa.float64()),
            ("oracle_price", pa.float64()),
            ("index_usd", pa.float64()),
        ]
    ),
    FILLS: pa.schema(
        [
            ("symbol", pa.string()),
            ("time_ms", pa.int64()),
            ("tid", pa.int64()),
            ("oid", pa.int64()),
            ("cloid", pa.string()),
            ("intent_id", pa.string()),
            ("side", pa.string()),
            ("price", _MONEY),
            ("size", _MONEY),
            ("fee_usd", _MONEY),
            ("closed_pnl_usd", _MONEY),
            ("start_position", _MONEY),
            ("dir", pa.string()),
            ("crossed", pa.bool_()),
        ]
    ),
    **{f"candles_{timeframe}": _CANDLE for timeframe in TIMEFRAME_MS},
}
"""Columns of each dataset. Times are UTC ms, prices USD per coin, sizes coins."""

TIME: dict[str, str] = {PRICES: "received_ms", FUNDING: "time_ms", FILLS: "time_ms"}
"""The column by which a row belongs to a day; ``open_ms`` for candles."""

KEYS: dict[str, tuple[str, ...]] = {
    PRICES: ("entry_ms", "entry_seq"),
    FUNDING: ("time_ms",),
    FILLS: ("time_ms", "tid"),
}
"""What identifies a row of a symbol; ``open_ms`` for candles."""


class ArchiveError(ValueError):
    """A file or a question that the archive cannot serve; the message says what is allowed."""


def time_column(dataset: str) -> str:
    """The column by which rows of a dataset belong to a day."""
    return TIME.get(dataset, "open_ms")


def day_of(time_ms: int) -> date:
    """The UTC day of a time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def start_of(day: date) -> int:
    """First ms of a UTC day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


class Archive:
    """The files under one folder; any number of readers, one writer per file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- where things are ----------------------------------------------------------------

    def day_file(self, dataset: str, symbol: str, day: date) -> Path:
        """Where the day of a symbol is, whether or not it exists."""
        return self._folder(dataset, symbol) / f"{day.isoformat()}.parquet"

    def parts_folder(self, day: date) -> Path:
        """Where prices of a day are until they are sorted into day files."""
        return self.root / PRICES / "parts" / day.isoformat()

    def part_files(self, day: date) -> list[Path]:
        """Parts of a day, oldest first."""
        return sorted(self.parts_folder(day).glob("*.parquet"))

    def symbols(self, dataset: str) -> list[str]:
        """Symbols with day files; prices of today may know further ones."""
        _schema(dataset)
        folders = (self.root / dataset).glob("*/")
        return sorted(f.name.replace("~", ":") for f in folders if f.name != "parts")

    def days(self, dataset: str, symbol: str) -> list[date]:
        """Days of a symbol that have a day file, oldest first."""
        files = self._folder(dataset, symbol).glob("*.parquet")
        return sorted(date.fromisoformat(file.stem) for file in files)

    def _folder(self, dataset: str, symbol: str) -> Path:
        _schema(dataset)
        if not symbol or "/" in symbol or symbol.startswith(".") or symbol == "parts":
            raise ArchiveError(f"{symbol!r} is not the name of a coin")
        return self.root / dataset / symbol.replace(":", "~")

    # -- reading -------------------------------------------------------------------------

    def read(self, dataset: str, symbol: str, from_ms: int, to_ms: int) -> Any:
        """Rows of a symbol with ``from_ms`` <= time <= ``to_ms`` as an Arrow table, sorted.

        Columns as in ``SCHEMAS``; every row once. What was never recorded is not there: an
        empty table is an answer.
        """
        for _ in range(_READ_ATTEMPTS):
            try:
                tables = [
                    _rows(dataset, symbol, file, from_ms, to_ms)
                    for file in self._files(dataset, symbol, day_of(from_ms), day_of(to_ms))
                ]
            except FileNotFoundError:
                continue  # sorted into a day file while it was read
            return unique_rows(dataset, pa.concat_tables([_schema(dataset).empty_table(), *tables]))
        raise ArchiveError(f"{self.root}: files of {dataset} go away while they are read")

    def _files(self, dataset: str, symbol: str, first: date, last: date) -> list[Path]:
        files = []
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            # Parts first: what is sorted meanwhile is then found in the day file.
            parts = self.part_files(day) if dataset == PRICES else []
            file = self.day_file(dataset, symbol, day)
            files += [*([file] if file.exists() else []), *parts]
        return files

    def rows_of_day(self, dataset: str, symbol: str, day: date) -> int:
        """Number of rows in a day file; 0 without one."""
        try:
            return int(pq.read_metadata(self.day_file(dataset, symbol, day)).num_rows)
        except FileNotFoundError:
            return 0

    # -- writing -------------------------------------------------------------------------

    def write_day(self, dataset: str, symbol: str, day: date, table: Any) -> Path:
        """Replace the day of a symbol by ``table``; all of its rows must belong there."""
        schema = _schema(dataset)
        table = unique_rows(dataset, table.select(schema.names).cast(schema))
        if table.num_rows:
            times = table[time_column(dataset)]
            first, last = pc.min(times).as_py(), pc.max(times).as_py()
            names = pc.unique(table["symbol"]).to_pylist()
            if (day_of(first), day_of(last), names) != (day, day, [symbol]):
                raise ArchiveError(
                    f"{dataset} of {symbol} on {day}: has rows of {names} "
                    f"from {day_of(first)} to {day_of(last)}"
                )
        file = self.day_file(dataset, symbol, day)
        write_file(file, table)
        return file


def unique_rows(dataset: str, table: Any) -> Any:
    """Sorted by symbol and time, with every row once; of two with one key the later stays."""
    if not table.num_rows:
        return table
    columns = list(dict.fromkeys(("symbol", time_column(dataset), *_key(dataset))))
    table = table.take(pc.sort_indices(table, [(name, "ascending") for name in columns]))
    keep = np.zeros(table.num_rows, dtype=bool)
    keep[-1] = True
    for name in ("symbol", *_key(dataset)):
        values = table[name].to_numpy()
        keep[:-1] |= values[1:] != values[:-1]
    return table if keep.all() else table.filter(pa.array(keep))


def write_file(file: Path, table: Any) -> None:
    """Write a Parquet file that is there completely or not at all, whatever loses its power."""
    make_folder(file.parent)
    draft = file.parent / f".{file.name}.{uuid.uuid4().hex}.tmp"
    try:
        with draft.open("wb") as sink:
            pq.write_table(table, sink, compression=COMPRESSION)
            sink.flush()
            os.fsync(sink.fileno())
        draft.replace(file)
        sync_folder(file.parent)
    finally:
        draft.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that they survive a power failure."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_drafts(root: Path) -> int:
    """Remove what killed writers left unfinished; returns how many files that were."""
    drafts = list(root.rglob(".*.tmp"))
    for draft in drafts:
        draft.unlink(missing_ok=True)
    return len(drafts)


def _rows(dataset: str, symbol: str, file: Path, from_ms: int, to_ms: int) -> Any:
    name = time_column(dataset)
    wanted = [("symbol", "=", symbol), (name, ">=", from_ms), (name, "<=", to_ms)]
    try:
        return pq.read_table(file, schema=_schema(dataset), filters=wanted)
    except pa.ArrowInvalid as error:
        raise ArchiveError(f"{file}: is not a Parquet file of {dataset} ({error})") from error


def _schema(dataset: str) -> Any:
    if dataset not in SCHEMAS:
        raise ArchiveError(f"{dataset!r} is no dataset; known are {', '.join(SCHEMAS)}")
    return SCHEMAS[dataset]


def _key(dataset: str) -> tuple[str, ...]:
    return KEYS.get(dataset, ("open_ms",))
