"""Counts what the demo's processes logged as errors since it started."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ERROR_LEVELS = frozenset({"error", "critical"})
_TRACEBACK = "Traceback (most recent call last)"
# How MariaDB marks them in its own format.
_SERVER_ERROR = " [ERROR] "
KEPT_LINES = 10
_BRIEF_CHARACTERS = 240


@dataclass(frozen=True)
class LogError:
    """One line that reports an error, and the process that wrote it."""

    process: str
    line: str

    @property
    def brief(self) -> str:
        """What happened, in one short line."""
        try:
            entry = json.loads(self.line)
        except ValueError:
            return self.line[:_BRIEF_CHARACTERS]
        said = " ".join(str(entry.get("event", "")).split())
        last = str(entry.get("exception", "")).strip().rpartition("\n")[2]
        return (f"{said}: {last}" if last else said)[:_BRIEF_CHARACTERS]


class LogErrors:
    """Follows one log per process from its end at construction, over rotations.

    A structlog line counts when its level is error or critical; of other lines, the head of a
    traceback and what MariaDB marks as an error.
    """

    def __init__(self, logs: Iterable[Path]) -> None:
        self.count = 0
        self.last: list[LogError] = []
        self._followed = [_Followed(path) for path in logs]

    def read(self) -> int:
        """Look at what was written since the last call; returns all errors so far."""
        for followed in self._followed:
            for line in followed.new_lines():
                if is_error(line):
                    self.count += 1
                    self.last = [*self.last, LogError(followed.name, line.strip())][-KEPT_LINES:]
        return self.count

    def close(self) -> None:
        """Let go of the files."""
        for followed in self._followed:
            followed.close()


def is_error(line: str) -> bool:
    """Whether one line of a log reports an error."""
    text = line.strip()
    if text.startswith("{"):
        try:
            entry = json.loads(text)
        except ValueError:
            return _TRACEBACK in text
        return isinstance(entry, dict) and entry.get("level") in _ERROR_LEVELS
    return text.startswith(_TRACEBACK) or _SERVER_ERROR in text


class _Followed:
    """One file that may not exist yet, grows, and is renamed and replaced when it is full."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        self._rest = b""
        self._file: BinaryIO | None = None
        if path.exists():
            self._file = path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def new_lines(self) -> list[str]:
        """Complete lines written since the last call."""
        lines = self._drain()
        if self._replaced():
            self.close()
            self._file = self._path.open("rb")
            lines += self._drain()
        return lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _replaced(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if self._file is None:
            return True
        ours = os.fstat(self._file.fileno())
        return there.st_ino != ours.st_ino or there.st_size < self._file.tell()

    def _drain(self) -> list[str]:
        if self._file is None:
            return []
        *complete, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in complete]
