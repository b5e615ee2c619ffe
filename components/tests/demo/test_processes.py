"""Only what was recorded is ended, and never a stranger with the same process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import (
    ProcessRecord,
    clear_orphans,
    end_group,
    is_alive,
    kill_group,
    load_records,
    record,
    save_records,
    start_time,
    survivors,
)

SLEEPER = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
WITH_CHILD = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}])
print(child.pid, flush=True)
time.sleep(60)
"""


class Spawner:
    """Starts Python processes, each in a group of its own."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def record(self, name: str, code: str = SLEEPER) -> ProcessRecord:
        found = record(name, self(code).pid)
        assert found is not None
        return found


@pytest.fixture
def spawn() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    for process in spawner.started:
        process.kill()
        process.communicate()


def gone(pid: int) -> bool:
    for _ in range(100):
        if start_time(pid) is None:
            return True
        time.sleep(0.05)
    return False


def test_recorded_processes_are_ended_and_the_record_goes(tmp_path: Path, spawn: Spawner) -> None:
    path = tmp_path / "processes.json"
    records = [spawn.record("redis"), spawn.record("worker")]
    save_records(path, records)
    assert load_records(path) == records
    assert clear_orphans(path) == ["redis", "worker"]
    assert survivors(records) == []
    assert not path.exists()


def test_a_stranger_with_a_recorded_id_is_left_alone(tmp_path: Path, spawn: Spawner) -> None:
    path = tmp_path / "processes.json"
    stranger = spawn.record("stranger")
    save_records(path, [ProcessRecord("redis", stranger.pid, "another start")])
    assert clear_orphans(path) == []
    assert is_alive(stranger)


def test_ended_processes_are_no_orphans(tmp_path: Path, spawn: Spawner) -> None:
    path = tmp_path / "processes.json"
    ended = spawn.record("redis")
    os.kill(ended.pid, signal.SIGKILL)
    assert gone(ended.pid)
    save_records(path, [ended])
    assert clear_orphans(path) == []


def test_orphans_are_ended_last_started_first(tmp_path: Path, spawn: Spawner) -> None:
    log = tmp_path / "order"
    code = f"""
import pathlib, signal, sys, time
def end(*_):
    with pathlib.Path({str(log)!r}).open("a") as stream:
        stream.write(NAME + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    records = []
    for name in ("redis", "gateway", "worker"):
        process = spawn(f"NAME = {name!r}\n{code}")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        found = record(name, process.pid)
        assert found is not None
        records.append(found)
    save_records(tmp_path / "processes.json", records)
    clear_orphans(tmp_path / "processes.json")
    assert log.read_text().split() == ["worker", "gateway", "redis"]


def test_a_deaf_process_is_killed_when_patience_ends(spawn: Spawner) -> None:
    deaf = spawn.record("deaf", DEAF)
    assert end_group(deaf, patience_secs=0.3)
    assert gone(deaf.pid)


def test_children_of_an_ended_process_are_ended_too(spawn: Spawner) -> None:
    parent = spawn(WITH_CHILD)
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    found = record("celery_worker", parent.pid)
    assert found is not None
    assert end_group(found, patience_secs=5.0)
    assert gone(child_pid)


def test_children_that_outlived_a_killed_process_are_ended(spawn: Spawner) -> None:
    parent = spawn(WITH_CHILD)
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert start_time(child_pid) is not None
    kill_group(parent.pid)
    assert gone(child_pid)


def test_a_zombie_counts_as_gone(spawn: Spawner) -> None:
    process = spawn("pass")
    assert gone(process.pid)
    assert process.returncode is None


def test_identity_is_stable_and_told_apart(spawn: Spawner) -> None:
    first = spawn.record("first")
    time.sleep(0.05)
    second = spawn.record("second")
    assert start_time(first.pid) == first.started
    assert first.started != second.started


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', '[{"name": "redis"}]'])
def test_a_damaged_record_is_refused_rather_than_guessed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "processes.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"processes\.json: is damaged"):
        load_records(path)


def test_records_are_plain_json_and_no_record_is_no_process(tmp_path: Path) -> None:
    path = tmp_path / "processes.json"
    assert load_records(path) == []
    save_records(path, [ProcessRecord("redis", 7, "x/1")])
    assert json.loads(path.read_text()) == [{"name": "redis", "pid": 7, "started": "x/1"}]
