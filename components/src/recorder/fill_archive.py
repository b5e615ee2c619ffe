"""Moves old days of the fill journal from MariaDB to Parquet.

A day leaves when it is older than its retention and every run that traded on it has ended. Its
fills are written file by file, so that one call stays short and the next goes on where it ended;
only when the files hold as many fills as the day does the day go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import func, select

from shared.market_data.archive import write_file
from shared.ports import Clock
from shared.storage import fill_days
from shared.storage.fill_days import DAY_MS, FillDay
from shared.storage.tables import runs
from shared.storage.transactions import Transactions

ROWS_PER_FILE: Final = 20_000
FILES_PER_CALL: Final = 10


class ArchiveError(RuntimeError):
    """The archive of a day does not hold what the database does; the day stays."""


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """Fills written, and whether a whole day left the database."""

    fills: int
    dropped: bool


class FillArchive:
    """``folder``/run_fills/day=YYYY-MM-DD/part-NNNNN.parquet."""

    def __init__(
        self,
        begin: Transactions,
        folder: Path,
        clock: Clock,
        *,
        retention_ms: int,
        rows_per_file: int = ROWS_PER_FILE,
        files_per_call: int = FILES_PER_CALL,
    ) -> None:
        self._begin = begin
        self._folder = folder
        self._clock = clock
        self._retention_ms = retention_ms
        self._rows_per_file = rows_per_file
        self._files_per_call = files_per_call

    def rotate(self) -> ArchiveResult:
        """One bounded piece of work on the oldest day, if its time has come.

        Raises
        ------
        ArchiveError
            If a day's files hold another number of fills than the day.
        """
        day = self._ripe(self._clock.now_ms())
        if day is None:
            return ArchiveResult(0, dropped=False)
        written, done = self._write(day)
        if done:
            self._drop(day)
        return ArchiveResult(written, dropped=done)

    def _ripe(self, now_ms: int) -> FillDay | None:
        with self._begin() as conn:
            days = fill_days.days(conn)
            if not days or days[0].end_ms > now_ms - self._retention_ms:
                return None
            oldest = select(func.min(runs.c.spawn_tick)).where(runs.c.status == "active")
            oldest_birth = conn.execute(oldest).scalar_one()
        if oldest_birth is not None and oldest_birth < days[0].end_ms:
            return None
        return days[0]

    def _write(self, day: FillDay) -> tuple[int, bool]:
        """Fills written now, and whether all of the day are."""
        folder = self._day_folder(day)
        files = _parts(folder)
        after = _last_key(files[-1]) if files else (0, 0)
        written = 0
        for number in range(len(files), len(files) + self._files_per_call):
            with self._begin() as conn:
                fills = fill_days.page(conn, day, after, self._rows_per_file)
            if not len(fills):
                return written, True
            table = pa.table({name: fills[name] for name in fills.dtype.names or ()})
            write_file(folder / f"part-{number:05d}.parquet", table)
            after = int(fills["run_id"][-1]), int(fills["fill_seq"][-1])
            written += len(fills)
        return written, False

    def _drop(self, day: FillDay) -> None:
        folder = self._day_folder(day)
        archived = sum(pq.read_metadata(file).num_rows for file in _parts(folder))
        with self._begin() as conn:
            stored = fill_days.count(conn, day)
        if archived != stored:
            raise ArchiveError(
                f"{folder} holds {archived} fills and the database {stored}; move the folder away "
                "to have the day archived anew"
            )
        with self._begin() as conn:
            fill_days.drop(conn, day)

    def _day_folder(self, day: FillDay) -> Path:
        date = datetime.fromtimestamp((day.end_ms - DAY_MS) / 1000, UTC).date()
        return self._folder / "run_fills" / f"day={date.isoformat()}"


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _last_key(file: Path) -> tuple[int, int]:
    table = pq.read_table(file, columns=["run_id", "fill_seq"])
    return table["run_id"][-1].as_py(), table["fill_seq"][-1].as_py()
