"""Metrics of the platform's state, which no single process knows by itself.

They are read together (`platform_metrics`) and published together: a scrape sees one reading, never
half of one. What cannot be read is absent, not 0 and not the last value; ``t3_source_readable``
says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.instruments import Declared

Labels = tuple[str, ...]
Reading = Mapping[str, Mapping[Labels, float]]
"""Values by metric and label values; () for a metric without labels."""


def _gauge(name: str, documentation: str, *labels: str) -> Declared:
    return Declared(name, "gauge", documentation, labels)


DECLARED: tuple[Declared, ...] = (
    _gauge(
        "t3_source_readable", "Whether a source of these metrics could be read: 1 or 0.", "source"
    ),
    # queues
    _gauge("t3_queue_messages", "Messages that wait in a queue.", "queue"),
    _gauge("t3_unacknowledged_messages", "Messages that workers hold and have not finished."),
    # ticks and shards
    _gauge("t3_tick_interval_seconds", "Time between two ticks."),
    _gauge("t3_newest_tick_age_seconds", "Age of the newest committed tick."),
    _gauge("t3_shards", "Shards with runs in them."),
    _gauge("t3_shard_lag_seconds", "Newest tick minus the last tick of the slowest shard."),
    # population
    _gauge(
        "t3_active_runs",
        "Active runs by interpretation of the signal and generation of clones.",
        "interpretation",
        "generations",
    ),
    _gauge("t3_desired_runs", "Size the population is kept at."),
    _gauge(
        "t3_run_growth_ratio",
        "Live PnL / start balance of active runs, by quantile, over a sample of them.",
        "quantile",
    ),
    _gauge(
        "t3_population_mean_growth_ratio",
        "Mean live PnL / start balance of the active runs that have traded.",
    ),
    _gauge(
        "t3_cross_run_entropy_ratio",
        "Permutation entropy of the epochs' mean log-growth, 0 to 1; absent while there are few.",
    ),
    _gauge("t3_epochs", "Epochs that have ended."),
    _gauge("t3_qualifying_runs", "Runs that count toward a symbol's target.", "symbol"),
    _gauge("t3_weighted_direction", "Sum of the qualifying runs' weighted directions.", "symbol"),
    # account
    _gauge("t3_account_value_usd", "Account value as last read."),
    _gauge("t3_account_margin_used_usd", "Margin in use as last read."),
    _gauge("t3_account_notional_usd", "Notional of all positions as last read."),
    _gauge("t3_account_age_seconds", "Age of the last reading of the account."),
    _gauge(
        "t3_venue_clock_offset_seconds",
        "Venue's clock minus this host's when the account was last read; the way back counts.",
    ),
    _gauge("t3_daily_loss_ratio", "Loss since the start of the UTC day; below 0 for a gain."),
    _gauge("t3_daily_loss_limit_ratio", "Loss of a day that sets the kill switch."),
    _gauge("t3_kill_switch_engaged", "Whether the kill switch is set: 1 or 0."),
    # reconciliation
    _gauge("t3_position_usd", "Position by quorum; absent while it is unknown.", "symbol"),
    _gauge("t3_target_usd", "What the runs ask for; absent while it is unknown.", "symbol"),
    _gauge("t3_position_known", "Whether a quorum agrees on the position: 1 or 0.", "symbol"),
    _gauge("t3_reconciliation_gap_usd", "Distance of position from target.", "symbol"),
    _gauge("t3_reconciliation_age_seconds", "Time since a symbol was looked at.", "symbol"),
    _gauge("t3_reconciliation_period_seconds", "Configured time between two looks."),
    _gauge("t3_minimum_trade_usd", "Smaller changes of a position wait."),
    _gauge("t3_symbol_halted", "Whether a symbol opens no position: 1 or 0.", "symbol"),
    # orders
    _gauge("t3_open_orders", "Orders that are not final, by state.", "state"),
    _gauge("t3_unknown_order_age_seconds", "Age of the oldest order in doubt.", "symbol"),
    _gauge("t3_undelivered_alerts", "Messages to people that wait for delivery."),
    _gauge(
        "t3_backup_age_seconds",
        "Age of the newest backup; of the database, while there has been none.",
    ),
    # venue and market data
    _gauge("t3_price_age_seconds", "Age of the newest price.", "symbol"),
    _gauge("t3_venue_budget_left_ratio", "Share of the request budget that is left.", "address"),
    _gauge("t3_venue_breaker_state", "Shared breaker: 0 closed, 1 half open, 2 open.", "name"),
    # host
    _gauge(
        "t3_disk_free_ratio",
        "Free share of the disk that `platform_metrics` is on: the one of Docker's volumes.",
    ),
)


class StateCollector(Collector):
    """Serves the last reading; several sources may each have a part in it."""

    def __init__(self) -> None:
        self._parts: dict[str, Reading] = {}
        self._lock = Lock()

    def publish(self, source: str, reading: Reading) -> None:
        """Replace what a source said before; an empty reading takes it back."""
        known = {metric.name: metric for metric in DECLARED}
        for name, values in reading.items():
            for labels in values:
                if len(labels) != len(known[name].labels):
                    raise ValueError(f"{name} has the labels {known[name].labels}, not {labels}")
        with self._lock:
            self._parts = {**self._parts, source: reading}

    def collect(self) -> Iterator[Metric]:
        """One family per metric that there are values of."""
        parts = self._parts
        for metric in DECLARED:
            values = _merged(part.get(metric.name, {}) for part in parts.values())
            if not values:
                continue
            family = GaugeMetricFamily(metric.name, metric.documentation, labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def describe(self) -> list[Metric]:
        """Names that the registry reserves."""
        return [GaugeMetricFamily(m.name, m.documentation, labels=m.labels) for m in DECLARED]


def _merged(parts: Iterable[Mapping[Labels, float]]) -> dict[Labels, float]:
    return {
        labels: value for part in parts for labels, value in part.items() if not math.isnan(value)
    }
