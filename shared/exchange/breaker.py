"""A circuit breaker: after repeated failures, calls are refused here instead of sent.

``Breaker`` is the port that venue access depends on; ``ConsecutiveFailureBreaker`` is the
implementation of one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Literal, Protocol, TypeAlias

from shared.exchange.errors import BreakerOpen

BreakerState: TypeAlias = Literal["closed", "half_open", "open"]


class Breaker(Protocol):
    """Ask before a call, tell afterwards."""

    @property
    def state(self) -> BreakerState: ...

    def before(self, what: str) -> None:
        """Return if the call may go out; raise ``BreakerOpen`` if not."""
        ...

    def succeeded(self) -> None: ...

    def failed(self) -> None: ...


class ConsecutiveFailureBreaker:
    """Opens after ``failures`` failed calls in a row, lets one trial through after ``reset_secs``.

    A trial that succeeds closes it, one that fails opens it for another ``reset_secs``; a
    trial that never reports back is given up after the same time.
    """

    def __init__(
        self,
        failures: int = 5,
        reset_secs: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._reset_secs = reset_secs
        self._monotonic = monotonic
        self._failures = 0
        self._opened_at: float | None = None
        self._trial_since: float | None = None
        self._lock = Lock()

    @property
    def state(self) -> BreakerState:
        """``open`` refuses; ``half_open`` lets the next call through as a trial."""
        with self._lock:
            return self._state()

    def _state(self) -> BreakerState:
        if self._opened_at is None:
            return "closed"
        waited = self._monotonic() - self._opened_at >= self._reset_secs
        return "half_open" if waited else "open"

    def before(self, what: str) -> None:
        """See ``Breaker.before``."""
        with self._lock:
            if self._opened_at is None:
                return
            now = self._monotonic()
            trial_runs = (
                self._trial_since is not None
                and now - self._trial_since < self._reset_secs
            )
            if self._state() == "open" or trial_runs:
                raise BreakerOpen(
                    f"{what}: not sent, {self._failures} venue calls in a row failed and the "
                    f"breaker tries again {self._reset_secs:.0f} s after it opened"
                )
            self._trial_since = now

    def succeeded(self) -> None:
        """Close it."""
        with self._lock:
            self._failures = 0
            self._opened_at = self._trial_since = None

    def failed(self) -> None:
        """Count a failure; open when there were enough, or when the trial failed."""
        with self._lock:
            self._failures += 1
            if self._trial_since is not None or self._failures >= self._limit:
                self._opened_at = self._monotonic()
                self._trial_since = None


class NoBreaker:
    """For a process whose only loop already backs off by itself, such as a price producer."""

    state: BreakerState = "closed"

    def before(self, what: str) -> None:
        """Always let the call through."""

    def succeeded(self) -> None:
        """Nothing to reset."""

    def failed(self) -> None:
        """Nothing to count."""
