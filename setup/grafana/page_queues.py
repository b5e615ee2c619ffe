"""Whether the workers keep up."""

from __future__ import annotations

from panels import BAD, GOOD, RATE, WARN, Panels, number, quantile, rate, series

TITLE = "3T queues and workers"
QUESTION = "Do the workers keep up with the ticks?"
PANELS: Panels = (
    number(
        "Newest tick",
        "Age of the newest sample.",
        "s",
        "t3_newest_tick_age_seconds",
        steps=((None, GOOD), (15, WARN), (60, BAD)),
        decimals=1,
    ),
    number(
        "Slowest shard",
        "How far it is behind the newest tick.",
        "s",
        "t3_shard_lag_seconds",
        steps=((None, GOOD), (15, WARN), (60, BAD)),
        decimals=1,
    ),
    number(
        "high_priority waits",
        "99th percentile of the time from sending a task to its start.",
        "s",
        quantile(0.99, "t3_task_wait_seconds", "", '{queue="high_priority"}'),
        steps=((None, GOOD), (1, WARN), (5, BAD)),
        decimals=2,
    ),
    number("Shards", "With runs in them.", "short", "t3_shards"),
    number("Workers", "Online, as Flower sees them.", "short", "sum(flower_worker_online)"),
    number(
        "Held by workers",
        "Messages delivered and not finished.",
        "short",
        "t3_unacknowledged_messages",
    ),
    series(
        "Messages waiting",
        "Length of each queue.",
        "short",
        ("t3_queue_messages", "{{queue}}"),
    ),
    series(
        "Wait of tasks",
        "From sending to start; half and 99 of 100 are faster.",
        "s",
        (quantile(0.5, "t3_task_wait_seconds", "queue"), "{{queue}} p50"),
        (quantile(0.99, "t3_task_wait_seconds", "queue"), "{{queue}} p99"),
    ),
    series(
        "Tasks per second", "By name.", "cps", (rate("t3_task_seconds_count", "task"), "{{task}}")
    ),
    series(
        "Time of tasks",
        "95th percentile by name; dots lead to traces.",
        "s",
        (quantile(0.95, "t3_task_seconds", "task"), "{{task}}"),
        exemplars=True,
    ),
    series(
        "Tasks that failed",
        "Per minute.",
        "short",
        ("60 * " + rate("t3_task_seconds_count", "task", '{outcome!="ok"}'), "{{task}}"),
        empty="none has failed",
    ),
    series(
        "Iterations of shards",
        "Per second, by outcome; done_before and contended are fenced duplicates.",
        "cps",
        (rate("t3_iteration_seconds_count", "outcome"), "{{outcome}}"),
    ),
    series(
        "Time of an iteration",
        "Of a shard that committed.",
        "s",
        (quantile(0.5, "t3_iteration_seconds", "", '{outcome="committed"}'), "p50"),
        (quantile(0.99, "t3_iteration_seconds", "", '{outcome="committed"}'), "p99"),
    ),
    series(
        "Not sent, fenced, rebuilt",
        "Per minute: held back by backpressure, done by another worker, states not in Redis.",
        "short",
        (f"60 * sum(rate(t3_iterations_skipped_total[{RATE}]))", "skipped"),
        (f"60 * sum(rate(t3_iterations_fenced_total[{RATE}]))", "fenced"),
        (f"60 * sum(rate(t3_run_states_rebuilt_total[{RATE}]))", "rebuilt"),
    ),
)
