"""An OTLP receiver in the test's own process: what is exported, kept as spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from shared.testing.http_server import LocalServer, Reply, Request


@dataclass(frozen=True)
class SeenSpan:
    """A span as it was exported; ``parent_id`` is empty for the first of a trace."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    attributes: Mapping[str, str]
    events: Mapping[str, Mapping[str, str]]


class OtlpSink(LocalServer):
    """Listens on a free loopback port; `url` is what `observability.otlp_endpoint` is to be."""

    def __init__(self) -> None:
        self._spans: dict[str, SeenSpan] = {}
        self._lock = threading.Lock()
        super().__init__(self._take)

    def _take(self, request: Request) -> Reply:
        self.take(ExportTraceServiceRequest.FromString(request.body))
        answer = ExportTraceServiceResponse().SerializeToString()
        return Reply(body=answer, content_type="application/x-protobuf")

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans of one export."""
        found = {span.span_id: span for span in _spans(request)}
        with self._lock:
            self._spans |= found

    def spans(self) -> list[SeenSpan]:
        """Everything so far."""
        with self._lock:
            return list(self._spans.values())

    def ancestry(self, span: SeenSpan) -> list[SeenSpan]:
        """The span, its parent, and so on, as far as they have been exported."""
        with self._lock:
            line = [span]
            while (parent := self._spans.get(line[-1].parent_id)) is not None:
                line.append(parent)
            return line

    def below(self, span: SeenSpan) -> list[SeenSpan]:
        """Every span that descends from this one."""
        return [one for one in self.spans() if span in self.ancestry(one)[1:]]


def _spans(request: ExportTraceServiceRequest) -> Iterator[SeenSpan]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes).get("service.name", "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    service=service,
                    name=span.name,
                    attributes=_attributes(span.attributes),
                    events={event.name: _attributes(event.attributes) for event in span.events},
                )


def _attributes(pairs: Any) -> dict[str, str]:
    """Values as text, whatever their type."""
    return {
        pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value"))
        for pair in pairs
    }
