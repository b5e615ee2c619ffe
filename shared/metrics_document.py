"""Writes docs/metrics.md from the declarations: ``make docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from shared import instruments, state_metrics
from shared.instruments import Declared
from shared.native_servers import PROJECT_ROOT

DOCUMENT = PROJECT_ROOT / "docs" / "metrics.md"
_HEAD = """\
# Metrics

Written by `make docs` from `shared/instruments.py` and `shared/state_metrics.py`; a test compares.

Every process serves what it counts itself at `/metrics`: the order gateway and the observers on \
their own port, all others on `observability.metrics_port`. The processes of a prefork pool share \
one endpoint. A counter starts anew with its process; `rate()` copes with that. Names carry their \
units; a ratio is 0 to 1 unless said otherwise.

`process_cpu_seconds_total`, `process_resident_memory_bytes` and `process_open_fds` are those of \
the process itself, for a prefork worker of the process that forks.

Measurements of orders, tasks and venue calls carry the id of their trace as an exemplar, where \
that trace is kept: in Grafana a dot on the panel leads to it. Logs carry the same `trace_id`.

Alert rules: `setup/prometheus/alerts.yml`. Dashboards: `setup/grafana`.
"""
_STATE = """\
## State of the platform

Read by `platform_metrics` from MariaDB and Redis every `observability.state_interval_secs`. What \
cannot be read is absent rather than 0; `t3_source_readable` says so.
"""


def document() -> str:
    """The text of the document."""
    parts = [
        _HEAD,
        "## Counted by the process itself\n",
        _table(instruments.DECLARED),
        _STATE,
        _table(state_metrics.DECLARED),
    ]
    return "\n".join(parts)


def _table(metrics: Iterable[Declared]) -> str:
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.documentation} |")
    return "\n".join(lines) + "\n"


def main(file: Path = DOCUMENT) -> int:
    """Write the document."""
    file.write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
