"""CPU time is counted for a process and what it started, and for nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.benchmarks.process_cpu import cpu_secs

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux' /proc")

BUSY = """
import subprocess, sys, time
def burn():
    end = time.process_time() + 0.25
    while time.process_time() < end:
        pass
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, "child"], stdout=subprocess.PIPE)
    child.stdout.readline()
burn()
print("done", flush=True)
sys.stdin.readline()
"""
IDLE = "print('done', flush=True); input()"


def test_children_count_and_others_do_not(tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    commands = {"busy": [str(script)], "idle": ["-c", IDLE]}
    started = {
        name: subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name, command in commands.items()
    }
    try:
        for process in started.values():
            assert process.stdout is not None
            assert process.stdout.readline() == b"done\n"
        found = cpu_secs({name: process.pid for name, process in started.items()})
    finally:
        for process in started.values():
            process.communicate(b"\n", timeout=30)
    # Two burn a quarter of a second each; starting Python takes some more.
    assert found["busy"] >= 0.48
    assert 0.0 <= found["idle"] <= found["busy"] - 0.4
