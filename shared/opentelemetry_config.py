"""Logs and traces: structlog JSON on stderr, OpenTelemetry spans to an OTLP collector.

Every log line carries the service and, inside a span, its ``trace_id``. Traces of noisy tasks
are sampled, and so are their log lines below a warning; all others are kept whole. Without an OTLP
endpoint spans are made (so that logs and headers carry trace ids) but not exported.

An exporter has a thread, which no fork copies: a Celery process sets up tracing after its fork, or
when its pool of green threads has started, and hands over what is left before it ends.
"""

from __future__ import annotations

import logging
import sys
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from shared import instruments
from shared.config_sections import ObservabilitySettings

if TYPE_CHECKING:
    # Most processes serve no web application.
    from fastapi.telemetry import TelemetryConfig

noisy_tasks = frozenset(
    {
        "providence_trading_iteration",
        "providence_iteration_scheduler",
        "update_balance",
        "audit_price_feed",
        "attribute_fills",
        "watch_for_alerts",
        "deliver_alerts",
    }
)
"""Tasks that run so often that ``observability.sampling_rate`` of their traces is enough."""

_QUIET_LIBRARIES = ("ccxt", "urllib3", "websockets", "mysql.connector", "httpx", "kombu")


POLLED = frozenset({"/metrics", "/health", "/ready"})
"""Paths that programs ask every few seconds, and that belong to no order."""

_EXPORTER_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_REPEAT_SECS = 60.0
_EXPORT_TIMEOUT_SECS = 5
_FLUSH_MS = 3_000


class NoisyTaskSampler(Sampler):
    """Samples root spans of noisy tasks at a rate and keeps every other root span.

    A call to another server that is part of nothing, such as a poll of prices, is noisy as well.
    """

    def __init__(self, rate: float) -> None:
        self._ratio = TraceIdRatioBased(rate)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide on one root span by its name, such as ``run/update_balance``."""
        noisy = kind is SpanKind.CLIENT or name.rpartition("/")[2] in noisy_tasks
        sampler = self._ratio if noisy else ALWAYS_ON
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        """Name shown by the SDK."""
        return f"NoisyTaskSampler({self._ratio.get_description()})"


class SampledLogs(logging.Filter):
    """Drops what an unsampled trace has to say below a warning.

    Celery's own lines about a task, beat's included, are written outside its span; those of noisy
    tasks are sampled at ``rate``.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.levelno >= logging.WARNING:
            return True
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            return context.trace_flags.sampled
        name, sending = _task_of(record)
        return name not in noisy_tasks or _share(sending) < self._rate


def _task_of(record: logging.LogRecord) -> tuple[str, str]:
    """Name of the task that a line of Celery's is about, and what tells this one from others.

    Workers give the task's id. Beat, which has not sent it yet, gives ``(entry, task)`` alone.
    """
    if isinstance(record.args, dict):
        return str(record.args.get("name")), str(record.args.get("id"))
    if record.name == "celery.beat" and isinstance(record.args, tuple) and record.args:
        return str(record.args[-1]), str(record.created)
    return "", ""


def _share(sending: str) -> float:
    """A number from 0 to 1 that is the same for every line about one sending of a task."""
    return zlib.crc32(sending.encode()) / 2**32


class Seldom(logging.Filter):
    """Lets a logger that repeats itself speak once in so many seconds."""

    def __init__(self, secs: float) -> None:
        super().__init__()
        self._secs = secs
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.created < self._silent_until:
            return False
        self._silent_until = record.created + self._secs
        return True


class ExecutionInstrumentor(CeleryInstrumentor):
    """Spans by execution, where the library keeps them by task id.

    A task that takes longer than the broker waits for its end is delivered again, and both
    executions of the one id may run in one process, each in a green thread. The library would end
    the other's span and hand back the other's context ("Failed to detach context").

    Retries need no such care: no task asks for one.
    """

    def _trace_prerun(self, *args: Any, **signal: Any) -> None:
        super()._trace_prerun(*args, **_of_execution(signal, signal["task"]))  # type: ignore[no-untyped-call]

    def _trace_postrun(self, *args: Any, **signal: Any) -> None:
        super()._trace_postrun(*args, **_of_execution(signal, signal["task"]))  # type: ignore[no-untyped-call]

    @staticmethod
    def _trace_failure(*args: Any, **signal: Any) -> None:
        CeleryInstrumentor._trace_failure(*args, **_of_execution(signal, signal["sender"]))


class CountedExporter(OTLPSpanExporter):
    """Counts what the collector took and what it did not: nobody else sees a span that is lost."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand over a batch; what fails within the timeout is lost."""
        result = super().export(spans)
        outcome = "exported" if result is SpanExportResult.SUCCESS else "lost"
        instruments.record_spans(outcome, len(spans))
        return result


def _of_execution(signal: dict[str, Any], task: Any) -> dict[str, Any]:
    """A signal of a task whose id is that of its execution: each has a request object."""
    return {**signal, "task_id": f"{signal['task_id']}/{id(task.request)}"}


def setup(service: str, settings: ObservabilitySettings) -> None:
    """Configure logging and tracing of a process that does not fork afterwards."""
    set_up_logging(service, settings)
    _set_up_tracing(service, settings)


def trace_celery(service: str, settings: ObservabilitySettings) -> None:
    """Configure tracing of a Celery process, after its fork."""
    _set_up_tracing(service, settings)
    ExecutionInstrumentor().instrument()  # type: ignore[no-untyped-call]


def web_telemetry() -> TelemetryConfig:
    """What FastAPI is to trace by itself: each request that is not polled, in one span."""
    return {
        "exclude": lambda scope: scope.get("path") in POLLED,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
    }


def flush_traces() -> None:
    """Export what is left, for at most three seconds; for the end of a process."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.force_flush(_FLUSH_MS)


def set_up_logging(service: str, settings: ObservabilitySettings) -> None:
    """Configure logging alone, for a process that forks."""
    structlog.contextvars.bind_contextvars(service=service)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace_id,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(SampledLogs(settings.sampling_rate))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                _with_service(service),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def _with_service(service: str) -> Any:
    def add(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("service", service)
        return event

    return add


def _add_trace_id(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
    return event


def _set_up_tracing(service: str, settings: ObservabilitySettings) -> None:
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: service}),
        sampler=ParentBased(NoisyTaskSampler(settings.sampling_rate)),
    )
    if settings.otlp_endpoint:
        exporter = CountedExporter(
            endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces",
            timeout=_EXPORT_TIMEOUT_SECS,
        )
        provider.add_span_processor(BatchSpanProcessor(exporter))
        # Of a collector that is away it says three lines about every batch, in every process.
        logging.getLogger(_EXPORTER_LOGGER).addFilter(Seldom(_REPEAT_SECS))
    trace.set_tracer_provider(provider)
    RequestsInstrumentor().instrument()
