"""Moves runs that ended long ago from MariaDB to Parquet, a file and a transaction at a time.

A file is complete on disk before its runs are deleted. A process that dies in between writes the
same file again: it is named after the first run in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from shared.market_data.archive import day_of, write_file
from shared.ports import Clock
from shared.storage import ended_runs
from shared.storage.fill_days import DAY_MS
from shared.storage.transactions import Transactions

ROWS_PER_FILE: Final = 2_000
FILES_PER_CALL: Final = 10


class RunArchive:
    """``folder``/runs/day=YYYY-MM-DD/{completed_tick}-{run_id}.parquet, by the day they ended."""

    def __init__(
        self,
        begin: Transactions,
        folder: Path,
        clock: Clock,
        *,
        retention_ms: int,
        rows_per_file: int = ROWS_PER_FILE,
    ) -> None:
        self._begin = begin
        self._folder = folder
        self._clock = clock
        self._retention_ms = retention_ms
        self._rows_per_file = rows_per_file

    def rotate(self) -> int:
        """One bounded piece of work; returns how many runs left the database.

        Raises ``OSError`` if the folder cannot be written; then the rest stays where it is.
        """
        oldest_ms = self._clock.now_ms() - self._retention_ms
        moved = 0
        for _ in range(FILES_PER_CALL):
            table = self._next(oldest_ms - oldest_ms % DAY_MS)
            if not table.num_rows:
                break
            ids = table["id"].to_pylist()
            end = table["completed_tick"][0].as_py()
            name = f"{end}-{ids[0]}.parquet"
            write_file(self._folder / "runs" / f"day={day_of(end).isoformat()}" / name, table)
            with self._begin() as conn:
                ended_runs.forget(conn, ids)
            moved += len(ids)
        return moved

    def _next(self, before_ms: int) -> Any:
        """The first runs to go; all of them ended on one day."""
        with self._begin() as conn:
            first = ended_runs.first_end(conn)
            if first is None or first >= before_ms:
                return ended_runs.SCHEMA.empty_table()
            end_of_day = first - first % DAY_MS + DAY_MS
            return ended_runs.page(conn, min(before_ms, end_of_day), self._rows_per_file)
