"""What a person can put right: every message is one sentence that says what, where and what is
allowed."""

from __future__ import annotations

from pathlib import Path


class ResearchError(ValueError):
    """A backtest that cannot be run as asked."""


class DataFileError(ResearchError):
    """A data file that cannot be used; names the file and, where there is one, the row.

    Rows are counted as an editor shows them: the header of a CSV is row 1, the first row of a
    Parquet file too is row 1.
    """

    def __init__(self, path: Path, message: str, row: int | None = None) -> None:
        where = f"{path}: row {row}: " if row is not None else f"{path}: "
        super().__init__(where + message)
        self.path, self.row = path, row
