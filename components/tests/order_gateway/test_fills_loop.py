"""When the gateway reads the account's fills: whole at an interval, in short after hints."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from order_gateway import runtime
from order_gateway.fills import OVERLAP_MS, SHORT_OVERLAP_MS
from order_gateway.runtime import Runtime
from shared.testing.servers import wait_until

SPACING_SECS, TOGETHER_SECS = 0.4, 1.0


class Loop:
    """The loop on its own thread, with a consumer that notes each read."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        parts: dict[str, Any] = {f.name: None for f in dataclasses.fields(Runtime) if f.init}
        parts |= {"fills": self, "emergency": self, "traded": threading.Event()}
        parts |= {"fills_interval_secs": 600.0, "_stop": threading.Event(), "_recovered": True}
        self.runtime = Runtime(**parts)
        self._thread = threading.Thread(target=self.runtime._fills_loop, daemon=True)
        self._thread.start()

    def import_all(self) -> None:
        """Nothing waits to be imported."""

    def step(self, overlap_ms: int = OVERLAP_MS) -> int:
        self.reads.append(overlap_ms)
        return 0

    def stop(self) -> None:
        self.runtime._stop.set()
        self.runtime.traded.set()
        self._thread.join(5)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(runtime, "FILLS_SPACING_SECS", SPACING_SECS)
    monkeypatch.setattr(runtime, "HINTS_TOGETHER_SECS", TOGETHER_SECS)
    loop = Loop()
    wait_until(lambda: loop.reads == [OVERLAP_MS], 5, "the first read")
    time.sleep(2 * SPACING_SECS)
    yield loop
    loop.stop()


def test_hints_that_come_together_are_one_read(loop: Loop) -> None:
    """The venue's reply and the stream's message about one order, and those of other symbols."""
    for _ in range(4):
        loop.runtime.traded.set()
        time.sleep(TOGETHER_SECS / 50)
    wait_until(lambda: len(loop.reads) > 1, 5, "the read after the hints")
    time.sleep(2 * (SPACING_SECS + TOGETHER_SECS))
    assert loop.reads == [OVERLAP_MS, SHORT_OVERLAP_MS]


def test_a_hint_after_a_read_brings_another(loop: Loop) -> None:
    for number in range(2, 4):
        loop.runtime.traded.set()
        wait_until(lambda wanted=number: len(loop.reads) == wanted, 5, "a read for each hint")
    assert loop.reads == [OVERLAP_MS, SHORT_OVERLAP_MS, SHORT_OVERLAP_MS]


def test_no_hint_no_read_before_the_interval(loop: Loop) -> None:
    time.sleep(3 * SPACING_SECS)
    assert loop.reads == [OVERLAP_MS]
