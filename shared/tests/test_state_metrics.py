"""A scrape sees whole readings, and nothing of what could not be read."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from shared.state_metrics import StateCollector


@pytest.fixture
def collector() -> StateCollector:
    return StateCollector()


@pytest.fixture
def value(collector: StateCollector) -> Callable[..., float | None]:
    registry = CollectorRegistry()
    registry.register(collector)
    return lambda name, **labels: registry.get_sample_value(name, labels)


def test_sources_have_their_own_part(collector, value) -> None:
    collector.publish("redis", {"t3_source_readable": {("redis",): 1.0}})
    collector.publish("mariadb", {"t3_source_readable": {("mariadb",): 0.0}})
    assert value("t3_source_readable", source="redis") == 1
    assert value("t3_source_readable", source="mariadb") == 0


def test_what_is_not_read_again_is_gone(collector, value) -> None:
    collector.publish("mariadb", {"t3_position_usd": {("BTC",): 5.0, ("ETH",): -1.0}})
    assert value("t3_position_usd", symbol="ETH") == -1
    collector.publish("mariadb", {"t3_position_usd": {("BTC",): 6.0}})
    assert value("t3_position_usd", symbol="BTC") == 6
    assert value("t3_position_usd", symbol="ETH") is None


def test_nan_is_absent(collector, value) -> None:
    collector.publish("mariadb", {"t3_cross_run_entropy_ratio": {(): math.nan}})
    assert value("t3_cross_run_entropy_ratio") is None


def test_undeclared_metrics_and_wrong_labels_are_refused(collector) -> None:
    with pytest.raises(KeyError):
        collector.publish("x", {"t3_invented": {(): 1.0}})
    with pytest.raises(ValueError, match="symbol"):
        collector.publish("x", {"t3_position_usd": {(): 1.0}})
