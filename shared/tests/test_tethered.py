"""A tethered command ends with whoever started it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from shared.testing.servers import wait_until
from shared.tethered import Tethered

SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_in(log: Path) -> int:
    wait_until(lambda: log.exists() and log.read_text().strip() != "", 20, "the command")
    return int(log.read_text())


def test_letting_go_ends_the_command(tmp_path: Path) -> None:
    held = Tethered([sys.executable, "-c", SLEEPER], tmp_path / "log")
    pid = pid_in(tmp_path / "log")
    assert held.is_alive()
    assert alive(pid)
    held.stop()
    held.stop()
    assert not alive(pid)


def test_a_command_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    held = Tethered([sys.executable, "-c", DEAF], tmp_path / "log", patience_secs=0.3)
    pid = pid_in(tmp_path / "log")
    held.stop()
    assert not alive(pid)


def test_killing_the_holder_ends_the_command(tmp_path: Path) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from shared.tethered import Tethered; "
        f"Tethered([sys.executable, '-c', {SLEEPER!r}], Path({str(tmp_path / 'log')!r})); "
        "time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder])
    pid = pid_in(tmp_path / "log")
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not alive(pid), 20, "the command to end")


def test_command_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    held = Tethered([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    wait_until(lambda: not held.is_alive(), 20, "the end")
    held.stop()
