"""Logs and traces: structlog JSON on stderr, OpenTelemetry spans to an OTLP collector.

Every log line carries the service and, inside a span, its ``trace_id``. Traces of noisy tasks
are sampled; all others are kept whole. Without an OTLP endpoint spans are made (so that logs
and headers carry trace ids) but not exported.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from shared.config_sections import ObservabilitySettings

noisy_tasks = frozenset(
    {
        "providence_trading_iteration",
        "providence_iteration_scheduler",
        "update_balance",
        "audit_price_feed",
    }
)
"""Tasks that run so often that ``observability.sampling_rate`` of their traces is enough."""

_QUIET_LIBRARIES = ("ccxt", "urllib3", "websockets", "mysql.connector", "httpx", "kombu")


class NoisyTaskSampler(Sampler):
    """Samples root spans of noisy tasks at a rate and keeps every other root span."""

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
        task = name.rpartition("/")[2]
        sampler = self._ratio if task in noisy_tasks else ALWAYS_ON
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        """Name shown by the SDK."""
        return f"NoisyTaskSampler({self._ratio.get_description()})"


def setup(service: str, settings: ObservabilitySettings) -> None:
    """Configure logging and tracing of a process that does not fork afterwards."""
    _set_up_logging(service, settings.log_level)
    _set_up_tracing(service, settings)


def trace_celery(service: str, settings: ObservabilitySettings) -> None:
    """Configure tracing of a Celery process, after its fork."""
    _set_up_tracing(service, settings)
    CeleryInstrumentor().instrument()


def _set_up_logging(service: str, level: str) -> None:
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
    root.setLevel(level.upper())
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
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: service}),
        sampler=ParentBased(NoisyTaskSampler(settings.sampling_rate)),
    )
    if settings.otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(provider)
        RequestsInstrumentor().instrument()
