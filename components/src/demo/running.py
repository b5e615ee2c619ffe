"""A demo in a thread of this process, on ports of its own beside any other: for tests and chaos."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

from demo.layout import DEFAULT_PATHS, DemoPlan
from demo.session import Session, State
from demo.summary import Summary, is_reconciled
from shared.testing.servers import free_port

POLL_SECS = 0.1
STOP_SECS = 180.0


class DemoError(RuntimeError):
    """The demo did not start, go on or stop; the message says where to look."""


def spare_environ(inherited: Mapping[str, str], **overrides: str) -> dict[str, str]:
    """``inherited`` without any 3T setting, free ports instead, and the given ``T3__…`` keys.

    Kernels come compiled from where ``make demo`` keeps them.
    """
    gateway, first, second = free_port(), free_port(), free_port()
    kept = {name: value for name, value in inherited.items() if not name.startswith("T3_")}
    ports = {
        "T3__redis__port": str(free_port()),
        "T3__database__port": str(free_port()),
        "T3__paper_exchange__url": f"http://127.0.0.1:{free_port()}",
        "T3__order_gateway__port": str(gateway),
        "T3__demo__flower_port": str(free_port()),
        "T3__demo__prometheus_port": str(free_port()),
        "T3__reconciliation_engine__order_gateway_url": f"http://127.0.0.1:{gateway}",
        "T3__reconciliation_engine__observer_nodes": (
            f"[http://127.0.0.1:{first}, http://127.0.0.1:{second}]"
        ),
    }
    kernels = {"NUMBA_CACHE_DIR": str(DEFAULT_PATHS.home.parent / "numba")}
    return {**kernels, **kept, **ports, **overrides}


class RunningDemo:
    """A session in a thread, used as a ``with`` block; ``state`` is what its view last showed."""

    def __init__(self, plan: DemoPlan) -> None:
        self.plan = plan
        self.state: State | None = None
        self._summary: Summary | None = None
        self._failure: BaseException | None = None
        self._stop_asked = threading.Event()
        self._session = Session(plan, self._show, self._stop_asked)
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end()
        if kind is None and self._failure is not None:
            raise DemoError(self._words()) from self._failure

    def _show(self, state: State) -> None:
        self.state = state

    def _run(self) -> None:
        try:
            self._summary = self._session.run(None)
        except Exception as error:  # noqa: BLE001 (told to the thread that waits)
            self._failure = error

    def _end(self) -> None:
        self._stop_asked.set()
        self._thread.join(STOP_SECS)
        if self._thread.is_alive():
            raise DemoError(f"the demo did not stop; see {self.plan.paths.logs}")

    def _words(self) -> str:
        return f"the demo ended: {self._failure}; see {self.plan.paths.logs}"

    def stop(self) -> Summary:
        """End it as Ctrl-C does."""
        self._end()
        if self._summary is None:
            raise DemoError(self._words())
        return self._summary

    def require_alive(self) -> None:
        """Raises DemoError when the session has ended by itself."""
        if not self._thread.is_alive():
            raise DemoError(self._words())

    def wait(self, until: Callable[[State], bool], secs: float, what: str) -> State:
        """Poll the shown state; DemoError says ``what`` was waited for and what was last seen."""
        deadline = time.monotonic() + secs
        while time.monotonic() < deadline:
            self.require_alive()
            state = self.state
            if state is not None and until(state):
                return state
            time.sleep(POLL_SECS)
        seen = None if self.state is None else (self.state.snapshot, self.state.processes)
        raise DemoError(f"waited {secs:g} s for {what}; last seen: {seen}")

    def pid(self, name: str) -> int:
        """Process id of a running process, 0 while there is none."""
        state = self.state
        return next((p.pid for p in state.processes if p.name == name), 0) if state else 0

    def kill(self, name: str) -> int:
        """``kill -9``; the process id that ended, 0 while there is no such process."""
        pid = self.pid(name)
        if not pid:
            return 0
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return pid

    def has_filled(self, state: State) -> bool:
        """An order was filled, and the account is at its target."""
        return state.snapshot.counts.filled > 0 and self.is_settled(state)

    def is_settled(self, state: State) -> bool:
        """At target, with nothing in doubt and everything readable."""
        engine = self.plan.settings.reconciliation_engine
        snapshot = state.snapshot
        return (
            not snapshot.faults
            and snapshot.counts.unknown == 0
            and is_reconciled(snapshot.positions, engine.symbols, engine.minimum_trade_threshold)
        )
