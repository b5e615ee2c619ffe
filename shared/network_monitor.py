"""How the network to the venue behaves: counts by error class, latencies, alerts.

Every venue call runs inside ``NetworkMonitor.observe``. The monitor keeps a sliding window of
recent calls per endpoint and reports, at most once per cooldown and endpoint, when too many
of them failed or were slow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import structlog

from shared import instruments
from shared.exchange.errors import ErrorClass, VenueError

log = structlog.get_logger(__name__)


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


class NetworkMonitor:
    """Observes calls; thread-safe, one per process."""

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        *,
        on_alert: Callable[[NetworkAlert], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._thresholds = thresholds or Thresholds()
        self._on_alert = on_alert or log_alert
        self._monotonic = monotonic
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

    @staticmethod
    def refused(endpoint: str, error: VenueError) -> None:
        """Count a call that was not sent (budget, breaker): it says nothing about the network."""
        instruments.record_venue_error(endpoint, error.error_class)

    def _finished(self, endpoint: str, error_class: ErrorClass | None, seconds: float) -> None:
        with self._lock:
            alert = self._judge(endpoint, error_class, seconds)
        instruments.record_venue_call(endpoint, "ok" if error_class is None else "error", seconds)
        if error_class is not None:
            instruments.record_venue_error(endpoint, error_class)
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
        reason = f"{endpoint}: too many calls {what} ({errors:.0%} failed, {slow:.0%} slow)"
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
