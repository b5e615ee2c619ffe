"""How the network to the venue behaves: counts by error class, latencies, alerts.

Every venue call runs inside ``NetworkMonitor.observe``. The monitor keeps a sliding window of
recent calls per endpoint and reports, at most once per cooldown and endpoint, when too many
of them failed or were slow.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

import structlog

from shared.exchange.errors import ErrorClass, VenueError

log = structlog.get_logger(__name__)

LATENCY_BUCKETS_SECS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
_UNSENT: frozenset[ErrorClass] = frozenset({"budget", "breaker_open"})
"""Refused in this process: says nothing about the network and is counted apart."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When an endpoint is worth an alert: shares of the calls within the window."""

    window_secs: float = 60.0
    min_calls: int = 5
    max_error_share: float = 0.5
    slow_secs: float = 2.0
    max_slow_share: float = 0.5
    cooldown_secs: float = 300.0


@dataclass(frozen=True, slots=True)
class NetworkAlert:
    """An endpoint that fails or is slow, in one sentence."""

    endpoint: str
    reason: str
    error_share: float
    slow_share: float
    calls: int


class Recorder(Protocol):
    """Where figures go, such as a Prometheus registry."""

    def record(
        self, endpoint: str, error_class: ErrorClass | None, seconds: float
    ) -> None:
        """One finished call; ``error_class`` is None when it succeeded."""
        ...


@dataclass
class EndpointStats:
    """Figures of one endpoint since the process started."""

    calls: int = 0
    errors: Counter[ErrorClass] = field(default_factory=Counter)
    latency_counts: list[int] = field(
        default_factory=lambda: [0] * (len(LATENCY_BUCKETS_SECS) + 1)
    )
    total_secs: float = 0.0

    def add(self, error_class: ErrorClass | None, seconds: float) -> None:
        """Count one call; the last latency bucket holds what exceeds all bounds."""
        self.calls += 1
        self.total_secs += seconds
        if error_class is not None:
            self.errors[error_class] += 1
        slot = next(
            (i for i, bound in enumerate(LATENCY_BUCKETS_SECS) if seconds <= bound),
            len(LATENCY_BUCKETS_SECS),
        )
        self.latency_counts[slot] += 1


class NetworkMonitor:
    """Observes calls; thread-safe, one per process."""

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        *,
        on_alert: Callable[[NetworkAlert], None] | None = None,
        recorder: Recorder | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._thresholds = thresholds or Thresholds()
        self._on_alert = on_alert or log_alert
        self._recorder = recorder
        self._monotonic = monotonic
        self._stats: dict[str, EndpointStats] = {}
        self._recent: dict[str, deque[tuple[float, bool, bool]]] = {}
        self._alerted: dict[str, float] = {}
        self._lock = Lock()

    @contextmanager
    def observe(self, endpoint: str) -> Iterator[None]:
        """Time the block; a ``VenueError`` is counted under its class, any other as ``other``."""
        start = self._monotonic()
        error_class: ErrorClass | None = None
        try:
            yield
        except VenueError as error:
            error_class = error.error_class
            raise
        except BaseException:
            error_class = "other"
            raise
        finally:
            self._finished(endpoint, error_class, self._monotonic() - start)

    def stats(self) -> Mapping[str, EndpointStats]:
        """Figures per endpoint since the start."""
        with self._lock:
            return dict(self._stats)

    def _finished(
        self, endpoint: str, error_class: ErrorClass | None, seconds: float
    ) -> None:
        with self._lock:
            self._stats.setdefault(endpoint, EndpointStats()).add(error_class, seconds)
            alert = (
                None
                if error_class in _UNSENT
                else self._judge(endpoint, error_class, seconds)
            )
        if self._recorder is not None:
            self._recorder.record(endpoint, error_class, seconds)
        if alert is not None:
            self._on_alert(alert)

    def _judge(
        self, endpoint: str, error_class: ErrorClass | None, seconds: float
    ) -> NetworkAlert | None:
        limits = self._thresholds
        now = self._monotonic()
        recent = self._recent.setdefault(endpoint, deque())
        recent.append((now, error_class is not None, seconds > limits.slow_secs))
        while recent and recent[0][0] < now - limits.window_secs:
            recent.popleft()
        calls = len(recent)
        errors = sum(failed for _, failed, _ in recent) / calls
        slow = sum(was_slow for _, _, was_slow in recent) / calls
        if calls < limits.min_calls:
            return None
        if errors <= limits.max_error_share and slow <= limits.max_slow_share:
            return None
        last = self._alerted.get(endpoint)
        if last is not None and now - last < limits.cooldown_secs:
            return None
        self._alerted[endpoint] = now
        what = "fail" if errors > limits.max_error_share else "are slow"
        reason = (
            f"{endpoint}: too many calls {what} ({errors:.0%} failed, {slow:.0%} slow)"
        )
        return NetworkAlert(endpoint, reason, errors, slow, calls)


def log_alert(alert: NetworkAlert) -> None:
    """Report an alert as a log line."""
    log.error(
        "venue_network_degraded",
        endpoint=alert.endpoint,
        reason=alert.reason,
        error_share=round(alert.error_share, 3),
        slow_share=round(alert.slow_share, 3),
        calls=alert.calls,
    )
