"""The audit trail: an append-only file of JSON lines, each carrying the hash of the one before.

``hash = sha256(prev || canonical JSON of the line without "hash")``. Changing, removing,
inserting or reordering a line breaks the chain there; ``verify`` names the first such line::

    python -m shared.risk.audit verify logs/audit_trail.jsonl

Every line reaches the operating system before ``append`` returns, so a killed process loses
nothing. It is forced to the disk at most every ``fsync_interval_secs`` (a power cut may cost
that much) and at once for lines that ask for it. A file beyond ``max_bytes`` is renamed to
``<name>-<first sequence number>.jsonl`` and the chain goes on in a new one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from shared.command_line import Parser

GENESIS = "0" * 64
TAIL_CHUNK_BYTES = 65_536
DEFAULT_MAX_BYTES = 64 * 1024 * 1024


class AuditError(RuntimeError):
    """The trail cannot be written or continued; new exposure must wait until it can."""


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Sequence number and hash of the last line; (-1, GENESIS) before the first."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Intact:
    """Every line fits the one before."""

    lines: int
    end: ChainEnd


@dataclass(frozen=True, slots=True)
class Broken:
    """The first line (counted from 1) that does not fit, and why."""

    line: int
    problem: str


class AuditTrail:
    """Writer of one trail. One process holds it at a time; it may be shared by threads."""

    def __init__(
        self,
        path: Path,
        *,
        fsync_interval_secs: float = 0.2,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._path = path
        self._fsync_interval_secs = fsync_interval_secs
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._synced_at = 0.0
        self._failed_length: int | None = None
        self._file: BinaryIO
        self._end: ChainEnd
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise AuditError(f"{path}: cannot be opened ({error.strerror})") from error

    @property
    def path(self) -> Path:
        """The file that is written; rotated ones lie beside it."""
        return self._path

    def append(
        self, event: str, at_ms: int, fields: Mapping[str, Any], *, sync: bool = False
    ) -> str:
        """Add one line and return its hash; ``sync`` forces it to the disk.

        Raises ``AuditError`` if the line did not reach the file (a full disk, for one). The
        chain then still ends at the line before.
        """
        with self._lock:
            self._drop_failed_tail()
            record = {"seq": self._end.seq + 1, "at_ms": at_ms, "event": event, **fields}
            record["prev"] = self._end.hash
            digest = _digest(record)
            line = canonical({**record, "hash": digest}) + b"\n"
            length = self._file.tell()
            try:
                self._write(line)
                self._sync_if_due(sync)
            except OSError as error:
                self._failed_length = length
                raise AuditError(f"{self._path}: {error.strerror}") from error
            self._end = ChainEnd(record["seq"], digest)
            if self._file.tell() >= self._max_bytes:
                self._rotate()
            return digest

    def close(self) -> None:
        """Force what was written to the disk and let the file go."""
        with self._lock:
            os.fsync(self._file.fileno())
            self._file.close()

    def _open(self) -> None:
        file = self._path.open("ab", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise AuditError(f"{self._path}: another process writes this trail") from None
        self._file = file
        _cut_torn_tail(self._path)
        self._file.seek(0, os.SEEK_END)
        self._end = chain_end(self._path)

    def _write(self, line: bytes) -> None:
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, "no space left for the whole line")

    def _drop_failed_tail(self) -> None:
        """Take away what a failed write left, so that the chain continues from a whole line."""
        if self._failed_length is None:
            return
        try:
            self._file.truncate(self._failed_length)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise AuditError(f"{self._path}: {error.strerror}") from error
        self._failed_length = None

    def _sync_if_due(self, sync: bool) -> None:
        now = time.monotonic()
        if sync or now - self._synced_at >= self._fsync_interval_secs:
            os.fsync(self._file.fileno())
            self._synced_at = now

    def _rotate(self) -> None:
        """Continue the chain in a new file; the full one keeps its lines under another name.

        Where the disk refuses, the full file goes on, and the next line tries again.
        """
        full = self._file
        try:
            os.fsync(full.fileno())
            if self._path.exists():  # or the last attempt came no further than this
                first = _first_seq(self._path)
                self._path.rename(self._path.with_name(f"{self._path.stem}-{first:012d}.jsonl"))
            self._open()
        except OSError:
            self._file = full
            return
        full.close()


def canonical(record: Mapping[str, Any]) -> bytes:
    """The one byte form of a record: sorted keys, no spaces, ASCII."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def chain_end(path: Path) -> ChainEnd:
    """Where the chain of a file ends; an empty file continues the newest rotated one."""
    last = _last_line(path)
    if last is None:
        rotated = sorted(path.parent.glob(f"{path.stem}-*.jsonl"))
        last = _last_line(rotated[-1]) if rotated else None
    if last is None:
        return ChainEnd(-1, GENESIS)
    try:
        record = json.loads(last)
        return ChainEnd(int(record["seq"]), str(record["hash"]))
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(f"{path}: its last line is not an audit record ({error})") from error


def lines_about(path: Path, intent_id: str) -> Iterator[dict[str, Any]]:
    """Records of an intent from the trail and its rotated files, oldest first."""
    for file in (*sorted(path.parent.glob(f"{path.stem}-*.jsonl")), path):
        if file.is_file():
            yield from _records_about(file, intent_id)


def _records_about(file: Path, intent_id: str) -> Iterator[dict[str, Any]]:
    word = intent_id.encode()
    with file.open("rb") as lines:
        for line in lines:
            if word not in line:
                continue
            try:
                record = json.loads(line)
            except ValueError:
                continue  # a line that is being written; `verify` is what judges the trail
            if record.get("intent_id") == intent_id:
                yield record


def verify(path: Path, after: ChainEnd | None = None) -> Intact | Broken:
    """Check every line of ``path``; ``after`` is the end of the file before it.

    Without ``after``, a file that starts in the middle of a chain (after a rotation) is
    trusted in its first ``prev``.
    """
    end = after
    lines = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            outcome = _check_line(raw, end)
            if isinstance(outcome, str):
                return Broken(number, outcome)
            end = outcome
            lines = number
    return Intact(lines, end or ChainEnd(-1, GENESIS))


def _check_line(raw: bytes, before: ChainEnd | None) -> ChainEnd | str:
    if not raw.endswith(b"\n"):
        return "the line is not complete"
    try:
        record = json.loads(raw)
        seq, prev, stored = int(record["seq"]), str(record["prev"]), str(record.pop("hash"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "the line is not an audit record"
    if canonical({**record, "hash": stored}) + b"\n" != raw:
        return "the line is not in the form it was written in"
    if before is None and seq == 0 and prev != GENESIS:
        return "the first record of a chain must not follow another"
    if before is not None and seq != before.seq + 1:
        return f"record {seq} follows record {before.seq}"
    if before is not None and prev != before.hash:
        return "it does not carry the hash of the line before"
    if _digest(record) != stored:
        return "its content does not fit its hash"
    return ChainEnd(seq, stored)


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(str(record["prev"]).encode() + canonical(record)).hexdigest()


def _last_line(path: Path) -> bytes | None:
    """The last complete line, or None if there is none."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    size = path.stat().st_size
    tail = b""
    with path.open("rb") as file:
        while tail.count(b"\n") < 2 and len(tail) < size:
            length = min(size, len(tail) + TAIL_CHUNK_BYTES)
            file.seek(size - length)
            tail = file.read(length)
    return tail.rstrip(b"\n").rsplit(b"\n", 1)[-1]


def _first_seq(path: Path) -> int:
    with path.open("rb") as file:
        return int(json.loads(file.readline())["seq"])


def _cut_torn_tail(path: Path) -> None:
    """Move the rest of a line that a crash cut off into ``<name>.torn``."""
    with path.open("r+b") as file:
        content_end = file.seek(0, os.SEEK_END)
        if content_end == 0:
            return
        last = _last_line(path) or b""
        file.seek(content_end - 1)
        if file.read(1) == b"\n":
            return
        with path.with_name(path.name + ".torn").open("ab") as torn:
            torn.write(last + b"\n")
        file.truncate(content_end - len(last))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: verify trails in the order given; exit code 1 if one is broken."""
    parser = Parser(
        prog="python -m shared.risk.audit",
        description="Check the hash chain of an audit trail.",
        epilog="Rotated files are given oldest first: audit_trail-*.jsonl audit_trail.jsonl",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="name the first line that was changed or removed")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    end: ChainEnd | None = None
    for path in arguments.files:
        try:
            outcome = verify(path, end)
        except OSError as error:
            sys.stderr.write(f"{path}: cannot be read ({error.strerror})\n")
            return 2
        if isinstance(outcome, Broken):
            sys.stdout.write(f"{path}: line {outcome.line} is broken: {outcome.problem}\n")
            return 1
        end = outcome.end
        sys.stdout.write(f"{path}: {outcome.lines} lines, intact, ends at record {end.seq}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
