"""What Celery's signals are good for: logs, traces and metrics of beat and workers.

A prefork worker logs and serves metrics in the process that forks, and traces in those that work;
what has a thread is made after the fork. The pool's processes share their counts through files
(`shared.metrics_server`).

The sender's clock is in each message, so that a task's wait is that of its whole way: through the
queue, through prefetching, up to a free process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import signals

from shared import instruments
from shared.config import Settings
from shared.metrics_server import MetricsServer, clear_folder, serve
from shared.opentelemetry_config import flush_traces, set_up_logging, trace_celery

_SENT_MS = "t3_sent_ms"
_STARTED = "t3_started"
_OUTCOMES = {"SUCCESS": "ok", "IGNORED": "ok", "RETRY": "retried"}


class CeleryObservability:
    """The handlers of one process; ``settings`` is asked when the first of them is called."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._metrics: MetricsServer | None = None

    def connect(self) -> None:
        """Have Celery call the handlers for as long as this object lives."""
        signals.setup_logging.connect(self._set_up_logging)
        signals.worker_init.connect(self._clear_metrics)
        for ready in (signals.worker_ready, signals.beat_init):
            ready.connect(self._serve_metrics)
        for started in (
            signals.worker_process_init,
            signals.eventlet_pool_started,
            signals.beat_init,
        ):
            started.connect(self._trace)
        signals.worker_process_init.connect(self._leave_metrics_to_parent)
        signals.worker_process_shutdown.connect(self._hand_over_traces)
        signals.worker_shutdown.connect(self._hand_over_traces)
        signals.worker_shutdown.connect(self._stop_metrics)
        signals.before_task_publish.connect(self._note_sending)
        signals.task_prerun.connect(self._note_start)
        signals.task_postrun.connect(self._note_end)

    # -- processes -----------------------------------------------------------------------

    def _set_up_logging(self, **_: Any) -> None:
        """Replaces Celery's own log set-up; the service's name comes from its command."""
        set_up_logging(_service(), self._settings().observability)

    def _trace(self, **_: Any) -> None:
        trace_celery(_service(), self._settings().observability)

    def _hand_over_traces(self, **_: Any) -> None:
        """What a process has not exported yet would end with it."""
        flush_traces()

    def _clear_metrics(self, **_: Any) -> None:
        clear_folder()

    def _serve_metrics(self, **_: Any) -> None:
        settings = self._settings()
        try:
            self._metrics = serve(_service(), settings.mode, settings.observability)
        except OSError as error:
            raise SystemExit(str(error)) from error

    def _leave_metrics_to_parent(self, **_: Any) -> None:
        if self._metrics is not None:
            self._metrics.leave_to_parent()

    def _stop_metrics(self, **_: Any) -> None:
        if self._metrics is not None:
            self._metrics.close()

    # -- tasks ---------------------------------------------------------------------------

    def _note_sending(self, headers: Any = None, **_: Any) -> None:
        if isinstance(headers, dict):
            headers[_SENT_MS] = _now_ms()

    def _note_start(self, task: Any, **_: Any) -> None:
        # On the request, of which each execution has one: a task delivered again may run beside
        # itself, under the same id.
        setattr(task.request, _STARTED, time.perf_counter())
        sent_ms = getattr(task.request, _SENT_MS, None)
        if isinstance(sent_ms, int):
            # Two hosts' clocks may differ; nothing starts before it was sent.
            wait_secs = max(0, _now_ms() - sent_ms) / 1000
            instruments.record_task_wait(_queue(task.request.delivery_info), wait_secs)

    def _note_end(self, task: Any, state: str | None = None, **_: Any) -> None:
        started = getattr(task.request, _STARTED, None)
        if started is not None:
            outcome = _OUTCOMES.get(state or "", "failed")
            instruments.record_task(task.name, outcome, time.perf_counter() - started)


def _service() -> str:
    return os.environ.get("OTEL_SERVICE_NAME", "celery")


def _queue(delivery_info: Mapping[str, Any] | None) -> str:
    return str((delivery_info or {}).get("routing_key") or "none")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
