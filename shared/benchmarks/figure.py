"""What a benchmark reports, and how a time is measured."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


class NotMeasuredError(RuntimeError):
    """A figure that cannot be measured on this host; the message says why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, its goal, and a peer measured in the same run."""

    figure: str
    value: float
    unit: str
    goal: float | None = None
    """None: reported only."""
    better: Better = "higher"
    peer: str | None = None
    peer_value: float | None = None
    min_ratio: float | None = None
    """How many times better than the peer it must be, where that is part of the goal."""

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; None without one."""
        if self.peer_value is None:
            return None
        if self.better == "higher":
            return self.value / self.peer_value
        return self.peer_value / self.value

    @property
    def met(self) -> bool | None:
        """Whether every goal is met; None where there is none."""
        if self.goal is None:
            return None
        reached = self.value >= self.goal if self.better == "higher" else self.value <= self.goal
        if self.min_ratio is None:
            return reached
        return reached and self.ratio is not None and self.ratio >= self.min_ratio

    def to_json(self) -> str:
        """The line that ``python -m shared.benchmarks`` prints."""
        return json.dumps(
            {
                "figure": self.figure,
                "value": _rounded(self.value),
                "unit": self.unit,
                "goal": self.goal,
                "met": self.met,
                "peer": self.peer,
                "peer_value": _rounded(self.peer_value),
                "ratio": _rounded(self.ratio),
            }
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def median_secs(run: Callable[[], object], *, runs: int = 7, warm_up: int = 1) -> float:
    """Median wall time in seconds of ``runs`` calls, after ``warm_up`` calls that do not count."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
