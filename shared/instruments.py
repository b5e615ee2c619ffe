"""Every metric that a process counts itself, declared once, behind typed functions.

Names carry their units. What is a state of the whole platform rather than an event in one process
(queues, runs, positions) is read from MariaDB and Redis by `platform_metrics` instead and declared
in `shared.state_metrics`; a process that counts it would have to be asked whether it still lives.

A process serves its metrics at ``/metrics`` (`shared.metrics_server`). The processes of a prefork
pool share theirs through files (``PROMETHEUS_MULTIPROC_DIR``), so each gauge says how the values of
several processes become one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric as its readers see it: name with suffix, type, labels and meaning."""

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...]


DECLARED: list[Declared] = []
"""Every metric of this module, in its order.

A gauge without labels is late: at once it would say 0 in every process that knows nothing of it.
"""


def _counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    DECLARED.append(Declared(name, "counter", documentation, tuple(labels)))
    return Counter(name, documentation, labels)


def _late_gauge(name: str, documentation: str) -> Callable[[], Gauge]:
    """A gauge without labels, which is there from its first use on."""
    DECLARED.append(Declared(name, "gauge", documentation, ()))
    return cache(lambda: Gauge(name, documentation, multiprocess_mode="livemostrecent"))


def _gauge(name: str, documentation: str, labels: Sequence[str]) -> Gauge:
    DECLARED.append(Declared(name, "gauge", documentation, tuple(labels)))
    return Gauge(name, documentation, labels, multiprocess_mode="livemostrecent")


def _histogram(
    name: str, documentation: str, labels: Sequence[str], buckets: Sequence[float]
) -> Histogram:
    DECLARED.append(Declared(name, "histogram", documentation, tuple(labels)))
    return Histogram(name, documentation, labels, buckets=buckets)


VENUE_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TASK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ORDER_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)

_venue_seconds = _histogram(
    "t3_venue_call_seconds",
    "Time of one call to the venue.",
    ["call", "outcome"],
    buckets=VENUE_LATENCY_BUCKETS,
)
_venue_errors = _counter(
    "t3_venue_errors_total", "Failed calls to the venue by class.", ["call", "error_class"]
)
_budget_wait = _histogram(
    "t3_venue_budget_wait_seconds",
    "Time that calls to the venue waited for the request budget; what was dropped counts, too.",
    ["priority"],
    buckets=(0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_actions_left = _late_gauge(
    "t3_venue_actions_left", "Actions that the venue still takes from the account."
)
_actions_cap = _late_gauge(
    "t3_venue_actions_cap", "Actions that the venue takes from the account in all; trading adds."
)
_prices_rejected = _counter(
    "t3_prices_rejected_total", "Prices that were flagged and not used.", ["symbol", "reason"]
)
_stream_reconnects = _counter(
    "t3_price_stream_reconnects_total", "Reconnections of the price stream.", ["reason"]
)
_samples = _counter("t3_tick_samples_total", "Committed tick inputs by source.", ["source"])
_archived = _counter("t3_archived_rows_total", "Rows written to the archive.", ["dataset"])
_archive_gaps = _counter(
    "t3_archive_gaps_total", "Times that prices had left the stream before they were recorded."
)
_breaker_state = _gauge(
    "t3_breaker_state", "Circuit breaker: 0 closed, 1 half open, 2 open.", ["name"]
)
_task_wait = _histogram(
    "t3_task_wait_seconds",
    "Time from sending a task to its start.",
    ["queue"],
    buckets=TASK_BUCKETS,
)
_task_seconds = _histogram(
    "t3_task_seconds",
    "Time a task took, by how it ended: ok, failed or retried.",
    ["task", "outcome"],
    buckets=TASK_BUCKETS,
)
_iteration_seconds = _histogram(
    "t3_iteration_seconds",
    "Time of one iteration of a shard, by outcome, such as committed or done_before.",
    ["outcome"],
    buckets=TASK_BUCKETS,
)
_run_fills = _counter("t3_run_fills_total", "Virtual fills of runs, committed.")
_states_rebuilt = _counter(
    "t3_run_states_rebuilt_total", "Run states that were not in Redis and came from MariaDB."
)
_iterations = _counter("t3_iterations_total", "Runs stepped and committed.")
_iterations_skipped = _counter(
    "t3_iterations_skipped_total", "Shard iterations not sent because of backpressure."
)
_iterations_fenced = _counter(
    "t3_iterations_fenced_total", "Shard iterations whose effects another task had committed."
)
_orders = _counter("t3_orders_total", "Orders by final or current state.", ["symbol", "state"])
_order_seconds = _histogram(
    "t3_order_seconds",
    "Time from request to resolved order.",
    ["origin"],
    buckets=ORDER_LATENCY_BUCKETS,
)
_gateway_condition = _gauge(
    "t3_gateway_condition_met",
    "What the order gateway needs to trade: 1 where it has it, 0 where not.",
    ["condition"],
)
_risk_blocks = _counter("t3_risk_blocks_total", "Orders refused by a risk rule.", ["rule"])
_decisions = _counter(
    "t3_reconciliation_decisions_total", "Reconciliation decisions.", ["symbol", "decision"]
)
_quorum_votes = _counter(
    "t3_quorum_votes_total",
    "Votes on positions, by voter and what became of them: backed the value, differed, abstained.",
    ["voter", "vote"],
)
_observer_readings = _counter(
    "t3_observer_readings_total",
    "Readings of the account by outcome: complete or failed.",
    ["outcome"],
)
_take_profits = _counter(
    "t3_take_profit_events_total", "Epochs that were closed, by kind of event.", ["kind"]
)
_spans = _counter(
    "t3_spans_total", "Spans by whether the collector took them: exported or lost.", ["outcome"]
)
_sharpe = _late_gauge("t3_rolling_sharpe_ratio", "Annualised Sharpe ratio of the account.")

_build = _gauge(
    "t3_build_info",
    "1; the labels say what runs: version of 3T and of Python, mode, service.",
    ["service", "version", "python", "mode"],
)


def _exemplar() -> dict[str, str] | None:
    """The trace that a measurement belongs to, where it is kept: the way from a panel to it."""
    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {"trace_id": format(context.trace_id, "032x")}


def set_build_info(service: str, mode: str) -> None:
    """Say what runs."""
    installed = version("tactical-trend-trader")
    _build.labels(service, installed, platform.python_version(), mode).set(1)


def record_venue_call(call: str, outcome: str, seconds: float) -> None:
    """Count one call to the venue and its time; ``outcome`` is ``ok`` or ``error``."""
    _venue_seconds.labels(call, outcome).observe(seconds, _exemplar())


def record_venue_error(call: str, error_class: str) -> None:
    """Count one failed call by its error class."""
    _venue_errors.labels(call, error_class).inc()


def record_budget_wait(priority: str, seconds: float) -> None:
    """Record how long a call to the venue waited for its turn in the request budget."""
    _budget_wait.labels(priority).observe(seconds)


def set_actions(left: int, cap: int) -> None:
    """Publish how many actions the venue still takes from the account, of how many."""
    _actions_left().set(left)
    _actions_cap().set(cap)


def record_rejected_price(symbol: str, reason: str) -> None:
    """Count one price that was flagged and not used."""
    _prices_rejected.labels(symbol, reason).inc()


def record_stream_reconnect(reason: str) -> None:
    """Count one reconnection of the price stream."""
    _stream_reconnects.labels(reason).inc()


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


def record_task_wait(queue: str, seconds: float) -> None:
    """Record the time from sending a task to its start."""
    _task_wait.labels(queue).observe(seconds)


def record_task(task: str, outcome: str, seconds: float) -> None:
    """Record one task that ended ``ok``, ``failed`` or ``retried``."""
    _task_seconds.labels(task, outcome).observe(seconds, _exemplar())


def record_iteration(
    outcome: str, seconds: float, *, iterations: int, fills: int, rebuilt: int
) -> None:
    """Record one iteration of a shard: runs × ticks stepped, virtual fills, rebuilt states."""
    _iteration_seconds.labels(outcome).observe(seconds)
    _iterations.inc(iterations)
    _run_fills.inc(fills)
    _states_rebuilt.inc(rebuilt)


def record_skipped_iterations(shards: int) -> None:
    """Count shard iterations that backpressure held back."""
    _iterations_skipped.inc(shards)


def record_fenced_iteration() -> None:
    """Count one iteration that another task had already committed."""
    _iterations_fenced.inc()


def record_order(symbol: str, state: str) -> None:
    """Count one order that reached a state."""
    _orders.labels(symbol, state).inc()


def record_order_time(origin: str, seconds: float) -> None:
    """Record the time from request to resolved order."""
    _order_seconds.labels(origin).observe(seconds, _exemplar())


def record_risk_block(rule: str) -> None:
    """Count one order that a risk rule refused."""
    _risk_blocks.labels(rule).inc()


def record_decision(symbol: str, decision: str) -> None:
    """Count one reconciliation decision."""
    _decisions.labels(symbol, decision).inc()


def record_vote(voter: str, vote: str) -> None:
    """Count one vote on a position: ``backed``, ``differed`` or ``abstained``."""
    _quorum_votes.labels(voter, vote).inc()


def record_observer_reading(outcome: str) -> None:
    """Count one reading of the account: ``complete`` or ``failed``."""
    _observer_readings.labels(outcome).inc()


def record_take_profit(kind: str) -> None:
    """Count one event that closed an epoch."""
    _take_profits.labels(kind).inc()


def set_gateway_condition(condition: str, met: bool) -> None:
    """Whether the order gateway has one of the things that it needs to trade."""
    _gateway_condition.labels(condition).set(met)


def record_spans(outcome: str, spans: int) -> None:
    """Count spans that were ``exported`` or ``lost``."""
    _spans.labels(outcome).inc(spans)


def set_rolling_sharpe(ratio: float) -> None:
    """The account's annualised Sharpe ratio over the configured window."""
    _sharpe().set(ratio)
