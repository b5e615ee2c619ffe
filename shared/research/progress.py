"""Bars with rate and remaining time on a terminal, lines now and then elsewhere; on stderr."""

from __future__ import annotations

import time
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_SECS: Final = 10.0
BAR_EVERY_SECS: Final = 0.1


class Bar:
    """On a terminal a bar with rate and remaining time, while its ``with`` block lasts."""

    def __init__(self, title: str, unit: str, total: int, console: Console | None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn(f"[bold]{title}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn(unit),
                TextColumn("[cyan]{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total, rate="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _moved(self, done: int, rate: str) -> bool:
        """Move the bar; False where there is none and a line is to say it."""
        if self._bar is None:
            return False
        self._bar.update(self._task, completed=done, rate=rate)
        return True

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


class BacktestProgress(Bar):
    """Shows ticks done; call it with the ticks and run-bars done since the last call."""

    def __init__(
        self, total_ticks: int, console: Console | None = None, name: str = "backtest"
    ) -> None:
        super().__init__(name, "ticks", total_ticks, console)
        self._name = name
        self._total = total_ticks
        self._ticks = self._run_bars = 0
        self._start = self._shown = time.monotonic()

    def finish(self) -> None:
        """Everything is done, whatever was counted."""
        self(self._total - self._ticks, 0)

    def __call__(self, ticks: int, run_bars: int) -> None:
        self._ticks += ticks
        self._run_bars += run_bars
        now = time.monotonic()
        every = BAR_EVERY_SECS if self._bar is not None else LINE_EVERY_SECS
        if now - self._shown < every and self._ticks < self._total:
            return
        self._shown = now
        secs = max(now - self._start, 1e-9)
        rate = f"{self._run_bars / secs / 1e6:.1f} M run-bars/s"
        if self._moved(self._ticks, rate):
            return
        left = (self._total - self._ticks) * secs / max(self._ticks, 1)
        self._say(
            f"{self._name}: {self._ticks:,} of {self._total:,} ticks, {rate}, {left:.0f} s left"
        )


class Steps(Bar):
    """Shows how many of ``total`` steps are done, and what the last one was."""

    def __init__(self, name: str, total: int, unit: str, console: Console | None = None) -> None:
        super().__init__(name, unit, total, console)
        self._name, self._total, self._unit = name, total, unit
        self._start = self._shown = time.monotonic()
        self.done = 0

    def step(self, last: str, count: int = 1) -> None:
        """``count`` more steps are done, the last of them ``last``."""
        self.done += count
        if self._moved(self.done, last):
            return
        now = time.monotonic()
        if now - self._shown < LINE_EVERY_SECS and self.done < self._total:
            return
        self._shown = now
        left = (self._total - self.done) * (now - self._start) / max(self.done, 1)
        self._say(
            f"{self._name}: {self.done:,} of {self._total:,} {self._unit}, {last}, "
            f"{left:.0f} s left"
        )
