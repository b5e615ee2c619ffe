"""Which process is which: identity by id and start time, and the end of those a killed demo left.

A process id alone names nobody: the kernel hands it out again. With the time its process started it
does, so what is recorded here can be stopped later without ever stopping a stranger.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.native_servers import write_private

_PROC = Path("/proc")
_POLL_SECS = 0.1


@dataclass(frozen=True)
class ProcessRecord:
    """A process that the demo started, leader of its own process group.

    ``started`` is opaque: equal for the same process, different for a later one of the same id.
    """

    name: str
    pid: int
    started: str


def start_time(pid: int) -> str | None:
    """Start time of a live process, its identity; None when there is none or it is a zombie."""
    if _PROC.joinpath("self").exists():
        return _linux_start_time(pid)
    completed = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        env={"LC_ALL": "C", "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = completed.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def _linux_start_time(pid: int) -> str | None:
    try:
        # Fields after the command, which stands in brackets and may hold anything.
        fields = _PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in ("Z", "X"):
        return None
    boot = _PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{fields[19]}"


def record(name: str, pid: int) -> ProcessRecord | None:
    """Identity of a live process; None when it is gone already."""
    started = start_time(pid)
    return None if started is None else ProcessRecord(name, pid, started)


def is_alive(process: ProcessRecord) -> bool:
    """Whether exactly this process still runs."""
    return start_time(process.pid) == process.started


def save_records(path: Path, records: Sequence[ProcessRecord]) -> None:
    """Replace the file of records; in the order of start."""
    write_private(path, json.dumps([asdict(one) for one in records], indent=1) + "\n")


def load_records(path: Path) -> list[ProcessRecord]:
    """The recorded processes in the order of their start; none where nothing was recorded.

    Raises ``ValueError`` for a file that is not of our making: guessing would risk a stranger.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        return [
            ProcessRecord(str(one["name"]), int(one["pid"]), str(one["started"]))
            for one in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path}: is damaged; remove it once no process of a demo runs") from None


def end_group(process: ProcessRecord, patience_secs: float) -> bool:
    """Stop a recorded process and its group: SIGTERM to it, SIGKILL to what is left of the group.

    The group is signalled only while its leader is known to be ours, or right after. True if there
    was something to stop.
    """
    if not is_alive(process):
        return False
    # Only the leader is asked: a Celery worker's pool must outlive the tasks it still runs.
    _signal(process.pid, signal.SIGTERM)
    _wait_until_gone([process], patience_secs)
    kill_group(process.pid)
    return True


def kill_group(leader_pid: int) -> None:
    """SIGKILL whatever is left of the process group that ``leader_pid`` led.

    An id stays reserved while a group of that number exists, so shortly after the leader's end this
    reaches its own children only.
    """
    try:
        os.killpg(leader_pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def clear_orphans(path: Path, patience_secs: float = 20.0) -> list[str]:
    """Stop what a killed demo left behind, in the reverse order of its start; returns the names.

    supervisord, when it survived, is asked first: it stops its processes in the right order.
    """
    records = load_records(path)
    cleared = [one.name for one in records if is_alive(one)]
    for one in records:
        if one.name == "supervisord":
            end_group(one, patience_secs * 3)
    for one in reversed(records):
        end_group(one, patience_secs)
    path.unlink(missing_ok=True)
    return cleared


def survivors(records: Iterable[ProcessRecord]) -> list[ProcessRecord]:
    """Those of ``records`` that still run."""
    return [one for one in records if is_alive(one)]


def _wait_until_gone(records: Sequence[ProcessRecord], patience_secs: float) -> None:
    deadline = time.monotonic() + patience_secs
    while survivors(records) and time.monotonic() < deadline:
        time.sleep(_POLL_SECS)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
