"""The command line: bad input ends with exit code 2, a sentence each, and nothing started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo import __main__ as command
from demo.layout import DemoPaths
from shared.testing.servers import RedisServer


@pytest.fixture
def home(paths: DemoPaths, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> DemoPaths:
    """The command line works on a folder and ports of its own."""
    monkeypatch.setattr(command, "DEFAULT_PATHS", paths)
    for name, value in environ.items():
        if name.startswith("T3_"):
            monkeypatch.setenv(name, value)
    return paths


def test_bad_input_is_told_in_full_and_nothing_is_started(
    home: DemoPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("T3__providence__desired_run_count", "-1")
    assert command.main(["--speed", "60", "--data", "BTC=/nowhere.csv"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "providence.desired_run_count" in told.err
    assert "Traceback" not in told.err
    assert sorted(path.name for path in home.home.iterdir()) == ["lock"]


def test_a_port_in_use_ends_with_2(
    home: DemoPaths,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("T3__redis__port", str(redis_server.port))
    assert command.main([]) == 2
    assert f"(process {redis_server.pid})" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", "inf"])
def test_a_duration_must_be_a_number_above_0(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([f"--duration={value}"])
    assert ended.value.code == 2
    assert "must be a number above 0" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for expected in ("make demo DURATION=90", "DATA=", "exit codes", "reconciled"):
        assert expected in text


def test_stop_without_a_demo_says_so(home: DemoPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stop"]) == 0
    assert "no demo is running" in capsys.readouterr().err


def test_clean_forgets_everything(home: DemoPaths) -> None:
    home.home.mkdir()
    home.credentials.write_text("{}")
    assert command.main(["--clean"]) == 0
    assert not home.home.exists()


def test_it_runs_as_a_module_from_any_folder(tmp_path: Path) -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "demo", "--help"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.startswith("usage: python -m demo")


def test_a_closed_output_is_a_reason_to_stop_not_a_traceback() -> None:
    """``make demo | head``: the session stops everything on its way out."""
    script = (
        "import demo.__main__ as demo\n"
        "def write(*_): raise BrokenPipeError\n"
        "demo._run = write\n"
        "raise SystemExit(demo.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "demo: stopped, because its output was closed\n")
