"""Whether every part is at work."""

from __future__ import annotations

from panels import BAD, GOOD, NO_YES, RATE, WARN, Panels, labels, number, rate, series

TITLE = "3T system"
QUESTION = "Is every part at work, and what does it cost?"
EXPORTERS = "needs the exporters of the container deployment"

PANELS: Panels = (
    number(
        "Services up",
        "That answer Prometheus.",
        "percentunit",
        "avg(up)",
        decimals=0,
        steps=((None, BAD), (1, GOOD)),
    ),
    number(
        "MariaDB",
        "Whether the platform's state can be read from it.",
        "short",
        'min(t3_source_readable{source="mariadb"})',
        steps=((None, BAD), (1, GOOD)),
        words=NO_YES,
    ),
    number(
        "Redis",
        "Whether the platform's state can be read from it.",
        "short",
        'min(t3_source_readable{source="redis"})',
        steps=((None, BAD), (1, GOOD)),
        words=NO_YES,
    ),
    number(
        "Oldest price",
        "Of the configured symbols.",
        "s",
        "max(t3_price_age_seconds)",
        steps=((None, GOOD), (5, WARN), (30, BAD)),
        decimals=1,
    ),
    number(
        "Undelivered messages",
        "Alerts to people that wait for delivery.",
        "short",
        "t3_undelivered_alerts",
        steps=((None, GOOD), (1, WARN)),
    ),
    number(
        "Alerts firing",
        "Of setup/prometheus/alerts.yml.",
        "short",
        'count(ALERTS{alertstate="firing"}) or vector(0)',
        steps=((None, GOOD), (1, BAD)),
    ),
    labels(
        "Alerts",
        "What fires; each has a section in docs/runbook.md.",
        'ALERTS{alertstate="firing"}',
        empty="nothing fires",
    ),
    labels("Builds", "What runs.", "t3_build_info"),
    series(
        "CPU", "Cores in use.", "short", (f"rate(process_cpu_seconds_total[{RATE}])", "{{job}}")
    ),
    series("Memory", "Resident.", "bytes", ("process_resident_memory_bytes", "{{job}}")),
    series(
        "Age of prices",
        "By symbol, of the newest one in Redis.",
        "s",
        ("t3_price_age_seconds", "{{symbol}}"),
    ),
    series(
        "Samples",
        "Tick inputs committed per minute, by source.",
        "short",
        (f"60 * {rate('t3_tick_samples_total', 'source')}", "{{source}}"),
    ),
    series(
        "Prices rejected, streams lost",
        "Per minute.",
        "short",
        (f"60 * {rate('t3_prices_rejected_total', 'reason')}", "{{reason}}"),
        (f"60 * {rate('t3_price_stream_reconnects_total', 'reason')}", "reconnect: {{reason}}"),
        empty="none was rejected, no stream was lost",
    ),
    series(
        "Readings of the account",
        "By the observers, per minute.",
        "short",
        (f"60 * {rate('t3_observer_readings_total', 'job, outcome')}", "{{job}} {{outcome}}"),
    ),
    series("Open files", "Of each process.", "short", ("process_open_fds", "{{job}}")),
    series(
        "Disk free",
        "Share of the disk with the platform's data; on a full one MariaDB stops.",
        "percentunit",
        ("t3_disk_free_ratio", "free"),
    ),
    series(
        "Clock offset",
        "Venue's clock minus this host's; slow readings make it smaller.",
        "s",
        ("t3_venue_clock_offset_seconds", "venue"),
    ),
    series(
        "Redis memory",
        "Used, and what it may use; it evicts nothing.",
        "bytes",
        ("redis_memory_used_bytes", "used"),
        ("redis_memory_max_bytes > 0", "limit"),
        empty=EXPORTERS,
    ),
    series(
        "MariaDB",
        "Connections, and statements per second.",
        "short",
        ("mysql_global_status_threads_connected", "connections"),
        (f"rate(mysql_global_status_queries[{RATE}])", "statements/s"),
        empty=EXPORTERS,
    ),
    series(
        "Spans",
        "Per second: what services could not hand on, what the collector took, kept and lost.",
        "cps",
        (f'sum(rate(t3_spans_total{{outcome="lost"}}[{RATE}]))', "lost by services"),
        (f"sum(rate(otelcol_receiver_accepted_spans[{RATE}]))", "taken"),
        (f"sum(rate(otelcol_exporter_sent_spans[{RATE}]))", "kept"),
        (f"sum(rate(otelcol_exporter_send_failed_spans[{RATE}]))", "lost by the collector"),
        empty="needs the collector of the container deployment",
    ),
    series(
        "Export queue",
        "Batches that Tempo or Loki has not taken yet, as a share of what may wait.",
        "percentunit",
        (
            "otelcol_exporter_queue_size / otelcol_exporter_queue_capacity",
            "{{job}} {{exporter}}",
        ),
        empty="needs the collector of the container deployment",
    ),
)
