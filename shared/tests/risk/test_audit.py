"""The audit trail: chain, tampering, crash, rotation, full disk."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from shared.risk.audit import AuditError, AuditTrail, Broken, Intact, chain_end, main, verify


def written(path: Path, count: int = 5) -> list[bytes]:
    trail = AuditTrail(path)
    for number in range(count):
        trail.append("order_allowed", 1_000 + number, {"size": f"0.{number}", "symbol": "BTC"})
    trail.close()
    return path.read_bytes().splitlines(keepends=True)


def test_untouched_trail_is_intact_and_continues_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    written(path)
    written(path)
    outcome = verify(path)
    assert isinstance(outcome, Intact)
    assert outcome.lines == 10
    assert outcome.end.seq == 9


@pytest.mark.parametrize("number", [1, 3, 5])
def test_changed_line_is_named(tmp_path: Path, number: int) -> None:
    path = tmp_path / "audit.jsonl"
    lines = written(path)
    lines[number - 1] = lines[number - 1].replace(b'"BTC"', b'"ETH"')
    path.write_bytes(b"".join(lines))
    outcome = verify(path)
    assert isinstance(outcome, Broken)
    assert outcome.line == number
    assert "hash" in outcome.problem


def test_removed_swapped_inserted_and_reformatted_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = written(path)

    def broken_at(changed: list[bytes]) -> int:
        path.write_bytes(b"".join(changed))
        outcome = verify(path)
        assert isinstance(outcome, Broken)
        return outcome.line

    assert broken_at([*lines[:2], *lines[3:]]) == 3
    assert broken_at([lines[0], lines[2], lines[1], *lines[3:]]) == 2
    assert broken_at([*lines[:2], lines[1], *lines[2:]]) == 3
    assert broken_at([lines[0], lines[1].replace(b",", b", ", 1), *lines[2:]]) == 2
    assert broken_at([*lines[:-1], lines[-1][:-1]]) == 5
    assert broken_at([lines[0], b"not json\n", *lines[1:]]) == 2


def test_recomputed_hash_breaks_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = written(path)
    forged_trail = AuditTrail(tmp_path / "forged.jsonl")
    forged_trail.append("order_allowed", 1_000, {"size": "9", "symbol": "BTC"})
    forged_trail.close()
    path.write_bytes(b"".join([(tmp_path / "forged.jsonl").read_bytes(), *lines[1:]]))
    outcome = verify(path)
    assert isinstance(outcome, Broken)
    assert outcome.line == 2


def test_line_torn_by_a_crash_is_set_aside_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = written(path)
    path.write_bytes(b"".join(lines) + b'{"seq":5,"at')
    trail = AuditTrail(path)
    trail.append("order_blocked", 2_000, {"rule": "kill_switch"}, sync=True)
    trail.close()
    assert verify(path) == Intact(6, chain_end(path))
    assert (tmp_path / "audit.jsonl.torn").read_bytes() == b'{"seq":5,"at\n'


def test_second_writer_is_refused(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path / "audit.jsonl")
    with pytest.raises(AuditError, match="another process"):
        AuditTrail(tmp_path / "audit.jsonl")
    trail.close()


def test_rotated_files_form_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, max_bytes=700)
    for number in range(12):
        trail.append("order_allowed", number, {"size": "1"})
    trail.close()
    files = [*sorted(tmp_path.glob("audit-*.jsonl")), path]
    assert len(files) > 2
    assert main(["verify", *map(str, files)]) == 0
    assert main(["verify", *map(str, files[1:])]) == 0
    assert main(["verify", str(files[0]), str(files[2])]) == 1
    reopened = AuditTrail(path)
    reopened.append("order_allowed", 99, {})
    reopened.close()
    assert main(["verify", *map(str, files)]) == 0


def test_full_disk_is_reported_and_the_chain_survives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path)
    trail.append("order_allowed", 1, {})
    real = trail._file

    class FullDisk:
        """Takes half of what it is given, as a disk does that runs out of space."""

        def write(self, data: bytes) -> int:
            return real.write(data[: len(data) // 2])

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(trail, "_file", FullDisk())
    with pytest.raises(AuditError, match="no space left"):
        trail.append("order_allowed", 2, {})
    monkeypatch.undo()
    trail.append("order_allowed", 3, {})
    trail.close()
    assert [json.loads(x)["at_ms"] for x in path.read_bytes().splitlines()] == [1, 3]
    assert isinstance(verify(path), Intact)


@pytest.mark.parametrize("refused", ["rename", "open"])
def test_a_rotation_that_the_disk_refuses_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, max_bytes=300)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as disk:
        disk.setattr(Path, refused, refuse)
        for at_ms in range(4):
            trail.append("order_allowed", at_ms, {})
    for at_ms in range(4, 8):
        trail.append("order_allowed", at_ms, {})
    trail.close()
    files = [*sorted(tmp_path.glob("audit-*.jsonl")), path]
    assert len(files) > 1
    assert main(["verify", *map(str, files)]) == 0
    lines = [json.loads(x) for file in files for x in file.read_bytes().splitlines()]
    assert [line["at_ms"] for line in lines] == list(range(8))


def test_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    lines = written(path)
    assert main(["verify", str(path)]) == 0
    assert "5 lines, intact" in capsys.readouterr().out
    path.write_bytes(b"".join([*lines[:1], *lines[2:]]))
    assert main(["verify", str(path)]) == 1
    assert "line 2 is broken" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "missing.jsonl")]) == 2
    assert "cannot be read" in capsys.readouterr().err
