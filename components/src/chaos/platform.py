"""The whole platform as a demo runs it, on free ports, with a venue that takes faults."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from chaos.records import Records, VenueAdmin
from demo.credentials import keep_credentials
from demo.layout import DemoPaths, load_plan
from demo.session import Session, State
from demo.summary import is_reconciled
from shared.config import load_secrets
from shared.database import make_engine
from shared.testing.servers import free_port

POLL_SECS = 0.2
_STOP_SECS = 180.0


class PlatformError(RuntimeError):
    """The platform did not start or did not stop; the message says where to look."""


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Free ports, quick loops, quick alerts; nothing of the caller's own 3T."""
    gateway, first, second = free_port(), free_port(), free_port()
    kept = {name: value for name, value in inherited.items() if not name.startswith("T3_")}
    return kept | {
        "T3__redis__port": str(free_port()),
        "T3__database__port": str(free_port()),
        "T3__paper_exchange__url": f"http://127.0.0.1:{free_port()}",
        "T3__order_gateway__port": str(gateway),
        "T3__reconciliation_engine__order_gateway_url": f"http://127.0.0.1:{gateway}",
        "T3__reconciliation_engine__observer_nodes": (
            f"[http://127.0.0.1:{first}, http://127.0.0.1:{second}]"
        ),
        "T3__reconciliation_engine__rebalance_frequency": "2.0",
        "T3__providence__desired_run_count": "200",
        "T3__celery__schedules__watch_for_alerts": "2.0",
    }


class RunningPlatform:
    """A demo session in a thread of its own; used as a ``with`` block."""

    def __init__(self, home: Path) -> None:
        token = secrets.token_hex(32)
        plan = load_plan(DemoPaths(home), environment(os.environ))
        self.plan = replace(plan, venue_options=(f"--admin-token={token}",))
        self.admin = VenueAdmin(plan.settings.paper_exchange.url, token)
        self.state: State | None = None
        self._failure: BaseException | None = None
        self._stop_asked = threading.Event()
        self._session = Session(self.plan, self._show, self._stop_asked)
        self._thread = threading.Thread(target=self._run, name="platform", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        self._thread.join(_STOP_SECS)
        if self._thread.is_alive():
            raise PlatformError(f"the platform did not stop; see {self.plan.paths.logs}")

    def _show(self, state: State) -> None:
        self.state = state

    def _run(self) -> None:
        try:
            self._session.run(None)
        except Exception as error:
            self._failure = error
            raise

    def require_alive(self) -> None:
        """Raises PlatformError when the session has ended by itself."""
        if not self._thread.is_alive():
            raise PlatformError(f"the platform ended: {self._failure}; see {self.plan.paths.logs}")

    def records(self) -> Records:
        """Access to what the platform and the venue wrote down; the servers must be up."""
        settings = self.plan.settings
        engine = make_engine(settings, load_secrets(self.plan.paths.service_secrets))
        wallet = keep_credentials(self.plan.paths).wallet_address
        return Records(engine, self.admin, wallet, settings)

    def has_filled(self) -> bool:
        """Whether any order was filled yet."""
        return self.state is not None and self.state.snapshot.counts.filled > 0

    def is_at_target(self, since_ms: int = 0) -> bool:
        """At target by looks after ``since_ms``, nothing in doubt, every position known."""
        if self.state is None:
            return False
        engine = self.plan.settings.reconciliation_engine
        snapshot = self.state.snapshot
        return (
            not snapshot.faults
            and all(p.quorum_known and p.at_ms > since_ms for p in snapshot.positions)
            and snapshot.counts.unknown == 0
            and is_reconciled(snapshot.positions, engine.symbols, engine.minimum_trade_threshold)
        )

    def kill(self, name: str) -> bool:
        """``kill -9``; False while there is no such process."""
        state = self.state
        pid = next((p.pid for p in state.processes if p.name == name), 0) if state else 0
        if not pid:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def wait_started(self, secs: float) -> None:
        """Wait for the first fill and the account at its target; raises PlatformError."""
        deadline = time.monotonic() + secs
        while not (self.has_filled() and self.is_at_target()):
            self.require_alive()
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"no filled and reconciled order within {secs:g} s; see {self.plan.paths.logs}"
                )
            time.sleep(POLL_SECS)
