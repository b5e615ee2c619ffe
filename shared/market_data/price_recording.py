"""Prices on their way into the archive: parts first, day files once the day is over.

A part holds what arrived within some seconds, of all symbols, sorted by symbol. Its name carries
the stream ids of its first and last entry, so the archive itself tells where to go on: nothing
is written twice on purpose, and what is has the same key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.market_data.archive import (
    COMPRESSION,
    PRICES,
    SCHEMAS,
    Archive,
    day_of,
    sync_folder,
    unique_rows,
    write_file,
)
from shared.market_data.quotes import Quote

_BUFFERED_ROWS: Final = 20_000
"""Rows of a symbol in memory while its day is sorted: a row group of the day file."""

LAST_ENTRY: Final = "last_entry"
"""Metadata of a day file: the newest stream entry in it."""

EntryId = tuple[int, int]
"""Id of a stream entry: ms of the Redis server's clock, sequence number."""


@dataclass
class PricePart:
    """What has arrived since the last part was written."""

    _rows: dict[date, list[tuple[Any, ...]]] = field(default_factory=dict)
    first: EntryId | None = None
    last: EntryId | None = None

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows.values())

    def add(self, entry: EntryId, quotes: Iterable[Quote]) -> None:
        """Take in the quotes of one stream entry."""
        self.first = self.first or entry
        self.last = entry
        for quote in quotes:
            row = (
                quote.symbol,
                quote.received_ms,
                quote.venue_ms,
                float(quote.mid),
                float(quote.mark),
                quote.source,
                *entry,
            )
            self._rows.setdefault(day_of(quote.received_ms), []).append(row)

    def write(self, archive: Archive) -> int:
        """Write the part, one file per UTC day, and become empty; returns how many rows."""
        written = len(self)
        if self.first is None or self.last is None:
            return 0
        name = f"{_name(self.first)}_{_name(self.last)}.parquet"
        # Oldest first: the newest file's name is where a restart goes on.
        for day, rows in sorted(self._rows.items()):
            columns = [pa.array(column) for column in zip(*rows, strict=True)]
            table = pa.Table.from_arrays(columns, names=SCHEMAS[PRICES].names)
            table = unique_rows(PRICES, table.cast(SCHEMAS[PRICES]))
            write_file(archive.parts_folder(day) / name, table)
        self._rows.clear()
        self.first = self.last = None
        return written


def resume_after(archive: Archive) -> EntryId | None:
    """The newest stream entry in the archive; None in an empty one."""
    parts = (file.stem for file in (archive.root / PRICES / "parts").glob("*/*.parquet"))
    newest = [_entry(stem.partition("_")[2]) for stem in parts]
    for symbol in archive.symbols(PRICES) if not newest else ():
        for day in archive.days(PRICES, symbol)[-1:]:
            known = _last_entry(archive.day_file(PRICES, symbol, day))
            if known is not None:
                newest.append(_entry(known))
    return max(newest, default=None)


def days_with_parts(archive: Archive, before: date) -> list[date]:
    """Days before ``before`` whose prices are still in parts, oldest first."""
    folders = (archive.root / PRICES / "parts").glob("*/")
    days = (date.fromisoformat(folder.name) for folder in folders)
    return sorted(day for day in days if day < before)


def sort_day(archive: Archive, day: date) -> int:
    """Turn the parts of a day into one file per symbol; returns how many rows they hold.

    Parts are removed only after every file is in place; killed in between, the next call leaves
    finished files as they are. Memory is bounded by ``_BUFFERED_ROWS`` per symbol.
    """
    parts = archive.part_files(day)
    if not parts:
        _remove_folder(archive.parts_folder(day))
        return 0
    last = parts[-1].stem.partition("_")[2]
    writers: dict[str, _DayWriter] = {}
    try:
        for part in parts:
            table = pq.read_table(part, schema=SCHEMAS[PRICES])
            for symbol in table["symbol"].unique().to_pylist():
                if symbol not in writers:
                    writers[symbol] = _DayWriter(archive.day_file(PRICES, symbol, day), last)
                writers[symbol].add(table.filter(pc.equal(table["symbol"], symbol)))
        rows = sum(writer.finish() for writer in writers.values())
    finally:
        for writer in writers.values():
            writer.abandon()
    for part in parts:
        part.unlink()
    _remove_folder(archive.parts_folder(day))
    return rows


class _DayWriter:
    """The day file of one symbol, written row group by row group beside its place.

    ``last_entry`` is written into the file; one that holds it already is not written again.
    """

    def __init__(self, file: Path, last_entry: str) -> None:
        self._file = file
        self._draft = file.parent / f".{file.name}.sorting.tmp"
        self._tables: list[Any] = []
        self._buffered = self._rows = 0
        file.parent.mkdir(parents=True, exist_ok=True)
        self.complete = _last_entry(file) == last_entry
        self._schema = SCHEMAS[PRICES].with_metadata({LAST_ENTRY: last_entry})
        self._writer: Any = None
        if self.complete:
            return
        self._writer = pq.ParquetWriter(self._draft, self._schema, compression=COMPRESSION)
        if file.exists():  # parts that came after the day had been sorted
            self.add(pq.read_table(file, schema=SCHEMAS[PRICES]))

    def add(self, table: Any) -> None:
        """Take in rows that came after those before."""
        if self.complete:
            return
        self._tables.append(table)
        self._buffered += table.num_rows
        if self._buffered >= _BUFFERED_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = unique_rows(PRICES, pa.concat_tables(self._tables))
        self._writer.write_table(table.cast(self._schema))
        self._rows += table.num_rows
        self._tables, self._buffered = [], 0

    def finish(self) -> int:
        """Put the file in its place; returns its rows."""
        if self.complete:
            return int(pq.read_metadata(self._file).num_rows)
        if self._tables:
            self._flush()
        self._writer.close()
        self._writer = None
        with self._draft.open("rb") as written:
            os.fsync(written.fileno())
        self._draft.replace(self._file)
        sync_folder(self._file.parent)
        return self._rows

    def abandon(self) -> None:
        """Drop the draft of a file that was not finished."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._draft.unlink(missing_ok=True)


def _last_entry(file: Path) -> str | None:
    """The newest stream entry that a day file holds; None for a file made by an import."""
    if not file.exists():
        return None
    value = (pq.read_metadata(file).metadata or {}).get(LAST_ENTRY.encode())
    return None if value is None else str(value.decode())


def _remove_folder(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _name(entry: EntryId) -> str:
    return f"{entry[0]:015d}-{entry[1]:06d}"


def _entry(name: str) -> EntryId:
    ms, _, sequence = name.partition("-")
    return int(ms), int(sequence)
