"""The real collector on the configuration of the containers: what it takes, keeps and survives."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

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
from shared.testing.otlp_sink import OtlpSink
from shared.testing.servers import free_port, wait_until

FOLDER = PROJECT_ROOT / "setup" / "otel-collector"
CONFIG = FOLDER / "config.yaml"
DECISION_SECS = 1
SECOND_NS = 1_000_000_000
STORM = 5_000


def _program() -> str:
    try:
        return str(find_program("otelcol"))
    except ServerMissingError:
        pytest.skip("the collector is not built: make collector (some minutes, needs Go)")


class Process:
    """A collector that runs while its ``with`` block lasts; may be stopped and started again."""

    def __init__(self, folder: Path, *configs: Path) -> None:
        self._log = folder / "log"
        self._configs = configs
        self._running: subprocess.Popen[bytes] | None = None
        self.health = f"127.0.0.1:{free_port()}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            arguments = [f"--config={config}" for config in self._configs]
            self._running = subprocess.Popen([_program(), *arguments], stderr=log)
        wait_until(self._is_ready, 30, "the collector")

    def stop(self) -> None:
        assert self._running is not None
        self._running.terminate()
        assert self._running.wait(30) == 0, self._log.read_text()

    def kill(self) -> None:
        assert self._running is not None
        self._running.kill()
        self._running.wait(30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        assert self._running is not None
        assert self._running.poll() is None, self._log.read_text()
        try:
            return requests.get(f"http://{self.health}/", timeout=2).ok
        except requests.ConnectionError:
            return False


class Tempo(Process):
    """Takes OTLP over gRPC as Tempo does, and hands each span to the test over HTTP."""

    def __init__(self, folder: Path, sink: OtlpSink) -> None:
        super().__init__(folder, folder / "tempo.yaml")
        self.address = f"127.0.0.1:{free_port()}"
        config = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": self.address}}}},
            "exporters": {"otlp_http": {"endpoint": sink.url, "compression": "none"}},
            "extensions": {"health_check": {"endpoint": self.health}},
            "service": {
                "extensions": ["health_check"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]}},
            },
        }
        _written(folder / "tempo.yaml", config)


class Collector(Process):
    """Our configuration, on loopback ports of its own, deciding sooner; ``changes`` override it."""

    def __init__(self, folder: Path, tempo: str, **changes: Any) -> None:
        super().__init__(folder, CONFIG, folder / "here.yaml", folder / "changes.yaml")
        self._otlp, self._metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        _written(folder / "here.yaml", self._moved(tempo))
        _written(folder / "changes.yaml", changes)

    def _moved(self, tempo: str) -> dict[str, Any]:
        shipped = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        metrics = shipped["service"]["telemetry"]["metrics"]
        host, port = self._metrics.split(":")
        metrics["readers"][0]["pull"]["exporter"]["prometheus"] |= {"host": host, "port": int(port)}
        grpc = {"endpoint": f"127.0.0.1:{free_port()}"}
        return {
            "receivers": {"otlp": {"protocols": {"grpc": grpc, "http": {"endpoint": self._otlp}}}},
            "processors": {
                "tail_sampling": {"decision_wait": f"{DECISION_SECS}s"},
                "batch": {"timeout": "200ms"},
            },
            "exporters": {
                "otlp_grpc/tempo": {
                    "endpoint": tempo,
                    "retry_on_failure": {"initial_interval": "500ms"},
                }
            },
            "extensions": {"health_check": {"endpoint": self.health}},
            "service": {"telemetry": {"metrics": metrics}},
        }

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


def _written(file: Path, config: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


@pytest.fixture
def kept() -> Iterator[OtlpSink]:
    """What Tempo got."""
    with OtlpSink() as sink:
        yield sink


@pytest.fixture
def tempo(tmp_path_factory: pytest.TempPathFactory, kept: OtlpSink) -> Iterator[Tempo]:
    """Who gets what the collector keeps."""
    with Tempo(tmp_path_factory.mktemp("tempo"), kept) as process:
        yield process


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


def _names(sink: OtlpSink) -> set[str]:
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
    tmp_path: Path, tempo: Tempo, kept: OtlpSink
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
        for _ in range(STORM):
            worker.add("run/audit_price_feed")
        spans = worker.taken()
        for start in range(0, len(spans), 500):
            assert collector.send(spans[start : start + 500]) is SpanExportResult.SUCCESS
        wanted = {"run/reconcile_positions", "execute_order", "exchange:order"}
        wanted |= {"run/update_balance", "run/retire_runs"}
        wait_until(lambda: wanted <= _names(kept), 30, "orders, errors and slow traces")
        # What comes after the decision is kept as well.
        gateway.add("resolve", order)
        collector.send(gateway.taken())
        wait_until(lambda: "resolve" in _names(kept), 30, "a span that came late")
    last = next(span for span in kept.spans() if span.name == "resolve")
    way = [span.name for span in kept.ancestry(last)]
    assert way == ["resolve", "execute_order", "run/reconcile_positions"]
    routine = [span for span in kept.spans() if span.name == "run/audit_price_feed"]
    assert 0 < len(routine) < STORM / 2


def test_what_is_kept_waits_for_a_tempo_that_is_away(
    tmp_path: Path, tempo: Tempo, kept: OtlpSink
) -> None:
    gateway = Spans("order_gateway")
    with Collector(tmp_path, tempo.address) as collector:
        gateway.add("before", intent_id="BTC:1:open")
        collector.send(gateway.taken())
        wait_until(lambda: "before" in _names(kept), 30, "a trace")
        tempo.kill()
        gateway.add("meanwhile", intent_id="BTC:2:open")
        assert collector.send(gateway.taken()) is SpanExportResult.SUCCESS
        time.sleep(DECISION_SECS + 2)
        tempo.start()
        wait_until(lambda: "meanwhile" in _names(kept), 60, "the trace that waited")
        assert collector.metrics()["otelcol_receiver_accepted_spans"] == 2


def test_what_is_given_up_is_counted_as_rules_and_dashboards_read_it(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    impatient = {
        "timeout": "500ms",
        "retry_on_failure": {
            "initial_interval": "100ms",
            "max_interval": "200ms",
            "max_elapsed_time": "500ms",
        },
        "sending_queue": {"queue_size": 1},
    }
    worker = Spans("celery_worker")
    with Collector(
        tmp_path,
        nowhere,
        exporters={"otlp_grpc/tempo": impatient},
        processors={"batch": {"timeout": "0s"}},
    ) as collector:
        lost = {"otelcol_exporter_send_failed_spans", "otelcol_exporter_enqueue_failed_spans"}

        def both_happened() -> bool:
            worker.add("run/update_balance", failed=True)
            collector.send(worker.taken())
            return lost <= collector.metrics().keys()

        wait_until(both_happened, 30, "spans that were given up and refused by the queue")
        assert collector.metrics().keys() >= {
            "otelcol_receiver_accepted_spans",
            "otelcol_exporter_queue_size",
            "otelcol_exporter_queue_capacity",
        }


def test_without_memory_it_refuses_and_says_so(tmp_path: Path) -> None:
    small = {"limit_mib": 1, "spike_limit_mib": 0, "check_interval": "100ms"}
    nowhere = f"127.0.0.1:{free_port()}"
    worker = Spans("celery_worker")
    with Collector(tmp_path, nowhere, processors={"memory_limiter": small}) as collector:

        def refused() -> bool:
            worker.add("run/update_balance")
            return collector.send(worker.taken()) is SpanExportResult.FAILURE

        wait_until(refused, 30, "a refusal")
        assert collector.metrics()["otelcol_receiver_refused_spans"] >= 1
