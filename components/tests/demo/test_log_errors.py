"""Errors are counted once each, from the session's start, over rotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.log_errors import LogErrors, is_error

ERROR = json.dumps({"event": "order_lost", "level": "error", "exception": "Traceback\nE: gone"})
INFO = json.dumps({"event": "Traceback (most recent call last): in a message", "level": "info"})


def append(path: Path, *lines: str) -> None:
    with path.open("a") as stream:
        stream.write("".join(line + "\n" for line in lines))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (ERROR, True),
        (json.dumps({"event": "x", "level": "critical"}), True),
        (json.dumps({"event": "error", "level": "warning"}), False),
        (INFO, False),
        ("Traceback (most recent call last):", True),
        ("  File 'x.py', line 1, in f", False),
        ("2026-01-01  0:00:00 0 [ERROR] InnoDB: cannot open", True),
        ("2026-01-01  0:00:00 0 [Warning] Aborted connection 3", False),
        ("{ not json", False),
        ("", False),
    ],
)
def test_what_counts_as_an_error(line: str, expected: bool) -> None:
    assert is_error(line) is expected


def test_only_what_is_new_counts_and_each_line_once(tmp_path: Path) -> None:
    old, later = tmp_path / "gateway.log", tmp_path / "worker.log"
    append(old, ERROR)
    errors = LogErrors([old, later])
    assert errors.read() == 0
    append(old, INFO, ERROR)
    append(later, ERROR)
    assert errors.read() == 2
    assert errors.read() == 2
    assert [error.process for error in errors.last] == ["gateway", "worker"]
    errors.close()


def test_a_line_counts_when_it_is_complete(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    errors = LogErrors([log])
    with log.open("w") as stream:
        stream.write(ERROR[:20])
        stream.flush()
        assert errors.read() == 0
        stream.write(ERROR[20:] + "\n")
    assert errors.read() == 1
    errors.close()


def test_nothing_is_missed_when_a_log_is_rotated(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    append(log, INFO)
    errors = LogErrors([log])
    append(log, ERROR)
    log.rename(tmp_path / "gateway.log.1")
    append(log, ERROR, ERROR)
    assert errors.read() == 3
    errors.close()


def test_an_error_is_told_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    errors = LogErrors([log])
    append(log, ERROR, "Traceback (most recent call last):")
    errors.read()
    assert [error.brief for error in errors.last] == [
        "order_lost: E: gone",
        "Traceback (most recent call last):",
    ]
    errors.close()
