"""Counting and alerting of venue calls."""

from __future__ import annotations

from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from shared.exchange.errors import (
    BudgetExhausted,
    RateLimited,
    VenueError,
    VenueServerError,
    VenueTimeout,
)
from shared.network_monitor import NetworkAlert, NetworkMonitor, Thresholds


class Net:
    """A monitor whose clock and alerts a test holds."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.now = 1_000.0
        self.alerts: list[NetworkAlert] = []
        self.monitor = NetworkMonitor(
            thresholds, on_alert=self.alerts.append, monotonic=lambda: self.now
        )

    def call(self, endpoint: str, secs: float = 0.01, error: Exception | None = None) -> None:
        with suppress(VenueError, RuntimeError), self.monitor.observe(endpoint):
            self.now += secs
            if error is not None:
                raise error


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_calls_and_errors_are_recorded_with_their_time() -> None:
    net = Net()
    net.call("info:test_a", 0.2)
    net.call("info:test_a", 0.3, VenueTimeout("late"))
    net.call("info:test_a", 0.0, RateLimited("429"))
    net.call("info:test_a", 0.0, RuntimeError("bug"))
    count = "t3_venue_call_seconds_count"
    assert value(count, call="info:test_a", outcome="ok") == 1
    assert value(count, call="info:test_a", outcome="error") == 3
    assert value("t3_venue_call_seconds_sum", call="info:test_a", outcome="ok") == pytest.approx(
        0.2
    )
    for error_class in ("timeout", "rate_limited", "other"):
        name = "t3_venue_errors_total"
        assert value(name, call="info:test_a", error_class=error_class) == 1


def test_errors_pass_through() -> None:
    monitor = NetworkMonitor()
    with pytest.raises(VenueTimeout), monitor.observe("info:test_b"):
        raise VenueTimeout("late")


def test_too_many_failures_alert_once_per_cooldown() -> None:
    net = Net(Thresholds(window_secs=60, min_calls=4, max_error_share=0.5, cooldown_secs=100))
    for _ in range(3):
        net.call("info:test_c", error=VenueServerError("500"))
    assert net.alerts == []  # too few calls to tell
    net.call("info:test_c", error=VenueServerError("500"))
    assert [alert.endpoint for alert in net.alerts] == ["info:test_c"]
    assert net.alerts[0].error_share == 1.0
    assert "fail" in net.alerts[0].reason
    for _ in range(20):
        net.call("info:test_c", error=VenueServerError("500"))
    assert len(net.alerts) == 1
    net.now += 100
    for _ in range(4):
        net.call("info:test_c", error=VenueServerError("500"))
    assert len(net.alerts) == 2


def test_slow_calls_alert_too() -> None:
    net = Net(Thresholds(min_calls=3, slow_secs=1.0, max_slow_share=0.5))
    for _ in range(3):
        net.call("info:test_d", secs=1.5)
    assert len(net.alerts) == 1
    assert "slow" in net.alerts[0].reason
    assert net.alerts[0].error_share == 0


def test_old_failures_leave_the_window() -> None:
    net = Net(Thresholds(window_secs=10, min_calls=4))
    for _ in range(3):
        net.call("info:test_e", error=VenueServerError("500"))
    net.now += 11
    for _ in range(4):
        net.call("info:test_e")
    net.call("info:test_e", error=VenueServerError("500"))
    assert net.alerts == []


def test_endpoints_are_judged_apart() -> None:
    net = Net(Thresholds(min_calls=4))
    for _ in range(10):
        net.call("info:test_good")
        net.call("info:test_bad", error=VenueServerError("500"))
    assert {alert.endpoint for alert in net.alerts} == {"info:test_bad"}


def test_unsent_calls_are_counted_but_say_nothing_about_the_network() -> None:
    net = Net(Thresholds(min_calls=1))
    for _ in range(5):
        net.monitor.refused("info:test_f", BudgetExhausted("later"))
    assert value("t3_venue_errors_total", call="info:test_f", error_class="budget") == 5
    assert net.alerts == []
