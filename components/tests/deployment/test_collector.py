"""The real collector on the configuration of the containers: what it takes, keeps and survives."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from shared.native_servers import PROJECT_ROOT, ServerMissingError, find_program
from shared.testing.otlp_sink import GrpcOtlpSink
from shared.testing.servers import free_port, wait_until

FOLDER = PROJECT_ROOT / "setup" / "otel-collector"
CONFIG = FOLDER / "config.yaml"
DECISION_SECS = 1
SECOND_NS = 1_000_000_000


def _program() -> str:
    try:
        return str(find_program("otelcol"))
    except ServerMissingError:
        pytest.skip("the collector is not built: make collector (some minutes, needs Go)")


class Collector:
    """A process with our configuration, on loopback ports of its own, that decides sooner."""

    def __init__(self, folder: Path, tempo: str, limits: dict[str, Any] | None = None) -> None:
        self._folder = folder
        self._otlp, self._health, self._metrics = (
            f"127.0.0.1:{free_port()}" for _ in ("otlp", "health", "metrics")
        )
        self._here = folder / "here.yaml"
        self._here.write_text(yaml.safe_dump(self._moved(tempo, limits or {})), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def _moved(self, tempo: str, limits: dict[str, Any]) -> dict[str, Any]:
        """What differs from the file of the containers: addresses, and how long a test waits."""
        shipped = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        metrics = shipped["service"]["telemetry"]["metrics"]
        host, port = self._metrics.split(":")
        metrics["readers"][0]["pull"]["exporter"]["prometheus"] |= {"host": host, "port": int(port)}
        grpc = f"127.0.0.1:{free_port()}"
        protocols = {"grpc": {"endpoint": grpc}, "http": {"endpoint": self._otlp}}
        return {
            "receivers": {"otlp": {"protocols": protocols}},
            "processors": {
                "tail_sampling": {"decision_wait": f"{DECISION_SECS}s"},
                "memory_limiter": limits,
            },
            "exporters": {"otlp_grpc/tempo": {"endpoint": tempo}},
            "extensions": {"health_check": {"endpoint": self._health}},
            "service": {"telemetry": {"metrics": metrics}},
        }

    def __enter__(self) -> Collector:
        with (self._folder / "collector.log").open("wb") as log:
            self._process = subprocess.Popen(
                [_program(), f"--config={CONFIG}", f"--config={self._here}"], stderr=log
            )
        wait_until(self._is_ready, 30, "the collector")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(30) == 0, self.log()

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            return requests.get(f"http://{self._health}/", timeout=2).ok
        except requests.ConnectionError:
            return False

    def log(self) -> str:
        return (self._folder / "collector.log").read_text(encoding="utf-8")

    def send(self, spans: list[ReadableSpan]) -> SpanExportResult:
        """Export as the platform does."""
        exporter = OTLPSpanExporter(endpoint=f"http://{self._otlp}/v1/traces", timeout=2)
        try:
            return exporter.export(spans)
        finally:
            exporter.shutdown()

    def metrics(self) -> dict[str, float]:
        """Sum over labels of each of its own metrics."""
        text = requests.get(f"http://{self._metrics}/metrics", timeout=5).text
        found: dict[str, float] = {}
        for name, value in re.findall(r"^(\w+)(?:\{.*\})? (\S+)$", text, re.MULTILINE):
            found[name] = found.get(name, 0.0) + float(value)
        return found


@pytest.fixture
def tempo() -> Iterator[GrpcOtlpSink]:
    """Who gets what the collector keeps."""
    sink = GrpcOtlpSink(free_port())
    sink.start()
    yield sink
    sink.stop()


class Spans:
    """Makes ended spans of a service."""

    def __init__(self, service: str) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self._tracer = provider.get_tracer("test")

    def add(
        self,
        name: str,
        parent: Span | None = None,
        *,
        secs: float = 0.01,
        failed: bool = False,
        **attributes: str,
    ) -> Span:
        start = time.time_ns()
        context = None if parent is None else set_span_in_context(parent)
        span = self._tracer.start_span(name, context, start_time=start, attributes=attributes)
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(start + int(secs * SECOND_NS))
        return span

    def taken(self) -> list[ReadableSpan]:
        """The spans so far, once."""
        found = list(self._kept.get_finished_spans())
        self._kept.clear()
        return found


def _names(sink: GrpcOtlpSink) -> set[str]:
    return {span.name for span in sink.spans()}


def test_configuration_is_taken_without_a_complaint() -> None:
    done = subprocess.run(
        [_program(), "validate", f"--config={CONFIG}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()


def test_program_is_of_the_version_of_the_image() -> None:
    built = yaml.safe_load((FOLDER / "build.yaml").read_text(encoding="utf-8"))["dist"]["version"]
    compose = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    image = compose["services"]["otel-collector"]["image"]
    assert image == f"otel/opentelemetry-collector-contrib:{built}"


def test_a_storm_thins_what_is_routine_and_nothing_else(
    tmp_path: Path, tempo: GrpcOtlpSink
) -> None:
    worker, gateway = Spans("celery_worker_high"), Spans("order_gateway")
    with Collector(tmp_path, tempo.address) as collector:
        root = worker.add("run/reconcile_positions")
        collector.send(worker.taken())
        order = gateway.add("execute_order", root, intent_id="BTC:1:open")
        gateway.add("exchange:order", order)
        collector.send(gateway.taken())
        worker.add("run/update_balance", failed=True)
        worker.add("run/retire_runs", secs=3)
        for _ in range(5_000):
            worker.add("run/audit_price_feed")
        spans = worker.taken()
        for start in range(0, len(spans), 500):
            assert collector.send(spans[start : start + 500]) is SpanExportResult.SUCCESS
        kept = {"run/reconcile_positions", "execute_order", "exchange:order"}
        kept |= {"run/update_balance", "run/retire_runs"}
        wait_until(lambda: kept <= _names(tempo), 30, "orders, errors and slow traces")
        # What comes after the decision is kept as well.
        gateway.add("resolve", order)
        collector.send(gateway.taken())
        wait_until(lambda: "resolve" in _names(tempo), 30, "a span that came late")
        last = next(span for span in tempo.spans() if span.name == "resolve")
        assert [span.name for span in tempo.ancestry(last)] == [
            "resolve",
            "execute_order",
            "run/reconcile_positions",
        ]
    routine = [span for span in tempo.spans() if span.name == "run/audit_price_feed"]
    assert 0 < len(routine) < 4_000


def test_what_is_kept_waits_for_a_tempo_that_is_away(tmp_path: Path, tempo: GrpcOtlpSink) -> None:
    gateway = Spans("order_gateway")
    with Collector(tmp_path, tempo.address) as collector:
        gateway.add("before", intent_id="BTC:1:open")
        collector.send(gateway.taken())
        wait_until(lambda: "before" in _names(tempo), 30, "a trace")
        tempo.stop()
        gateway.add("meanwhile", intent_id="BTC:2:open")
        assert collector.send(gateway.taken()) is SpanExportResult.SUCCESS
        time.sleep(DECISION_SECS + 3)
        assert "meanwhile" not in _names(tempo)
        tempo.start()
        wait_until(lambda: "meanwhile" in _names(tempo), 30, "the trace that waited")
        assert collector.metrics().get("otelcol_exporter_send_failed_spans", 0) == 0
        assert collector.metrics()["otelcol_receiver_accepted_spans"] == 2


def test_without_memory_it_refuses_and_says_so(tmp_path: Path, tempo: GrpcOtlpSink) -> None:
    small = {"limit_mib": 1, "spike_limit_mib": 0, "check_interval": "100ms"}
    worker = Spans("celery_worker")
    with Collector(tmp_path, tempo.address, small) as collector:
        time.sleep(0.5)
        worker.add("run/update_balance")
        assert collector.send(worker.taken()) is SpanExportResult.FAILURE
        assert collector.metrics()["otelcol_receiver_refused_spans"] >= 1
