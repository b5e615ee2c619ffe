"""CPU time of processes with their children, from Linux' ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")


def cpu_secs(pids: Mapping[str, int]) -> dict[str, float]:
    """User and system seconds so far of each process and everything it has started that lives.

    Unlike wall time it hardly depends on what else the machine does. Empty where there is no
    ``/proc``.
    """
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        pid = int(entry.parent.name)
        parents[pid] = int(fields[1])
        used[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SEC
    if not used:
        return {}
    return {
        name: sum(secs for pid, secs in used.items() if _descends(pid, root, parents))
        for name, root in pids.items()
    }


def _descends(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid not in (root, 0):
        pid = parents.get(pid, 0)
    return pid == root
