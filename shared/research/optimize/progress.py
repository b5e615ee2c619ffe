"""Trials done, their rate and what is left; on stderr, a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console

from shared.research.optimize.search import Counts
from shared.research.progress import LINE_EVERY_SECS, Bar


class TrialProgress(Bar):
    """Call it with the counts and what is in the way, as often as you like."""

    def __init__(self, wanted: int, console: Console | None = None) -> None:
        super().__init__("optimize", "trials", wanted, console)
        self._wanted = wanted
        self._start = time.monotonic()
        self._shown = -LINE_EVERY_SECS
        self._first: int | None = None
        self._problem = ""
        self._last: Counts | None = None

    def __call__(self, counts: Counts, problem: str) -> None:
        if self._first is None:
            self._first = counts.done
            if counts.done:
                self._say(f"optimize: {counts.done} trials of an earlier call are kept")
        if problem and problem != self._problem:
            self._say(f"optimize: {problem}")
        self._problem = problem
        secs = max(time.monotonic() - self._start, 1e-9)
        per_minute = 60.0 * (counts.done - self._first) / secs
        rate = f"{per_minute:.1f} trials/min, {counts.running} under way"
        if counts.pruned:
            rate += f", {counts.pruned} given up early"
        if self._moved(counts.done, rate):
            return
        now = time.monotonic()
        over = counts.done >= self._wanted
        if (now - self._shown < LINE_EVERY_SECS and not over) or counts == self._last:
            return
        self._shown, self._last = now, counts
        left = (self._wanted - counts.done) / per_minute if per_minute else float("nan")
        self._say(
            f"optimize: {counts.done:,} of {self._wanted:,} trials, {rate}"
            + (f", {left:.1f} min left" if left == left else "")
        )
