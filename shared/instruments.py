"""Every metric of 3T, declared once, behind typed functions.

Names carry their units. A service exposes its own registry at ``/metrics``.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

VENUE_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ORDER_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)

_venue_seconds = Histogram(
    "t3_venue_call_seconds",
    "Time of one call to the venue.",
    ["call", "outcome"],
    buckets=VENUE_LATENCY_BUCKETS,
)
_venue_errors = Counter(
    "t3_venue_errors_total", "Failed calls to the venue by class.", ["call", "error_class"]
)
_budget_wait = Histogram(
    "t3_venue_budget_wait_seconds",
    "Time a call waited for its turn in the shared request budget.",
    ["priority"],
    buckets=(0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_actions_left = Gauge(
    "t3_venue_actions_left", "Actions that the venue still takes from the account."
)
_prices_rejected = Counter(
    "t3_prices_rejected_total", "Prices that were flagged and not used.", ["symbol", "reason"]
)
_stream_reconnects = Counter(
    "t3_price_stream_reconnects_total", "Reconnections of the price stream.", ["reason"]
)
_price_age = Gauge("t3_price_age_seconds", "Age of the newest price.", ["symbol"])
_samples = Counter("t3_tick_samples_total", "Committed tick inputs by source.", ["source"])
_archived = Counter("t3_archived_rows_total", "Rows written to the archive.", ["dataset"])
_archive_gaps = Counter(
    "t3_archive_gaps_total", "Times that prices had left the stream before they were recorded."
)
_breaker_state = Gauge(
    "t3_breaker_state", "Circuit breaker: 0 closed, 1 half open, 2 open.", ["name"]
)
_iterations = Counter("t3_iterations_total", "Runs stepped and committed.")
_iterations_skipped = Counter(
    "t3_iterations_skipped_total", "Shard iterations not sent because of backpressure."
)
_iterations_fenced = Counter(
    "t3_iterations_fenced_total", "Shard iterations whose effects another task had committed."
)
_orders = Counter("t3_orders_total", "Orders by final or current state.", ["symbol", "state"])
_order_seconds = Histogram(
    "t3_order_seconds",
    "Time from request to resolved order.",
    ["origin"],
    buckets=ORDER_LATENCY_BUCKETS,
)
_risk_blocks = Counter("t3_risk_blocks_total", "Orders refused by a risk rule.", ["rule"])
_gap = Gauge("t3_reconciliation_gap_usd", "Distance of position from target.", ["symbol"])
_decisions = Counter(
    "t3_reconciliation_decisions_total", "Reconciliation decisions.", ["symbol", "decision"]
)
_sharpe = Gauge("t3_rolling_sharpe_ratio", "Annualised Sharpe ratio of the account.")

_active_runs = Gauge(
    "t3_active_runs",
    "Active runs by interpretation of the signal and generation of clones.",
    ["interpretation", "generations"],
)
_desired_runs = Gauge("t3_desired_runs", "Size the population is kept at.")
_mean_growth = Gauge(
    "t3_population_mean_growth_ratio",
    "Mean live PnL / start balance of the active runs that have traded.",
)
_cross_run_entropy = Gauge(
    "t3_cross_run_entropy_ratio",
    "Permutation entropy of the epochs' mean log-growth, 0 to 1.",
)


def record_venue_call(call: str, outcome: str, seconds: float) -> None:
    """Count one call to the venue and its time; ``outcome`` is ``ok`` or ``error``."""
    _venue_seconds.labels(call, outcome).observe(seconds)


def record_venue_error(call: str, error_class: str) -> None:
    """Count one failed call by its error class."""
    _venue_errors.labels(call, error_class).inc()


def record_budget_wait(priority: str, seconds: float) -> None:
    """Record how long a call waited for its turn in the request budget."""
    _budget_wait.labels(priority).observe(seconds)


def set_actions_left(actions: int) -> None:
    """Publish how many actions the venue still takes from the account."""
    _actions_left.set(actions)


def record_rejected_price(symbol: str, reason: str) -> None:
    """Count one price that was flagged and not used."""
    _prices_rejected.labels(symbol, reason).inc()


def record_stream_reconnect(reason: str) -> None:
    """Count one reconnection of the price stream."""
    _stream_reconnects.labels(reason).inc()


def set_price_age(symbol: str, seconds: float) -> None:
    """Publish the age of a symbol's newest price."""
    _price_age.labels(symbol).set(seconds)


def record_sample(source: str) -> None:
    """Count one committed tick input."""
    _samples.labels(source).inc()


def record_archived(dataset: str, rows: int) -> None:
    """Count rows written to the archive."""
    _archived.labels(dataset).inc(rows)


def record_archive_gap() -> None:
    """Count one gap in the archive's prices."""
    _archive_gaps.inc()


def set_breaker_state(name: str, state: str) -> None:
    """Publish the state of a circuit breaker: ``closed``, ``half_open`` or ``open``."""
    _breaker_state.labels(name).set(("closed", "half_open", "open").index(state))


def record_iterations(runs: int) -> None:
    """Count runs that were stepped and committed."""
    _iterations.inc(runs)


def record_skipped_iterations(shards: int) -> None:
    """Count shard iterations that backpressure held back."""
    _iterations_skipped.inc(shards)


def record_fenced_iteration() -> None:
    """Count one iteration that another task had already committed."""
    _iterations_fenced.inc()


def set_population(
    active: Mapping[tuple[str, str], int],
    desired: int,
    mean_growth: float,
    cross_run_entropy: float,
) -> None:
    """Publish the population: active runs by (interpretation, generations), growth and entropy.

    NaN where there is too little to say.
    """
    for (interpretation, generations), count in active.items():
        _active_runs.labels(interpretation, generations).set(count)
    _desired_runs.set(desired)
    _mean_growth.set(mean_growth)
    _cross_run_entropy.set(cross_run_entropy)


def record_order(symbol: str, state: str) -> None:
    """Count one order that reached a state."""
    _orders.labels(symbol, state).inc()


def record_order_time(origin: str, seconds: float) -> None:
    """Record the time from request to resolved order."""
    _order_seconds.labels(origin).observe(seconds)


def record_risk_block(rule: str) -> None:
    """Count one order that a risk rule refused."""
    _risk_blocks.labels(rule).inc()


def record_decision(symbol: str, decision: str, gap_usd: float | None) -> None:
    """Count one reconciliation decision and publish the gap where it is known."""
    _decisions.labels(symbol, decision).inc()
    if gap_usd is not None:
        _gap.labels(symbol).set(gap_usd)


def set_rolling_sharpe(ratio: float) -> None:
    """The account's annualised Sharpe ratio over the configured window."""
    _sharpe.set(ratio)
