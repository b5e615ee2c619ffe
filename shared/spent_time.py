"""Where the time of one piece of work goes, by named parts.

``collect`` opens an account for the work of one context (a request, with the thread it runs in);
``part`` and ``add`` book on it from wherever the time is spent, and do nothing without one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_current: ContextVar[SpentTime | None] = ContextVar("spent_time", default=None)


@dataclass(slots=True)
class SpentTime:
    """Seconds by part; parts may overlap and need not add up to the whole."""

    secs: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, secs: float) -> None:
        """Book ``secs`` on ``part``."""
        self.secs[part] = self.secs.get(part, 0.0) + secs

    def server_timing(self) -> str:
        """The value of an HTTP ``Server-Timing`` header; durations in ms."""
        return ", ".join(f"{part};dur={secs * 1000:.3f}" for part, secs in self.secs.items())


@contextmanager
def collect() -> Iterator[SpentTime]:
    """Book what this context spends inside the block."""
    spent = SpentTime()
    token = _current.set(spent)
    try:
        yield spent
    finally:
        _current.reset(token)


def add(part: str, secs: float) -> None:
    """Book ``secs`` on ``part`` of the work under way, if anyone counts."""
    spent = _current.get()
    if spent is not None:
        spent.add(part, secs)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Book the wall time of the block on ``name``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        add(name, time.perf_counter() - start)
