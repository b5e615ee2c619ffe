"""A task that is delivered again while it runs: two executions under one id, in one process."""

from __future__ import annotations

import json
import subprocess
import sys

TWO_EXECUTIONS = """
import threading
from celery import Celery
from celery.app.trace import build_tracer
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from shared.celery_observability import CeleryObservability
from shared.config import load_settings
from shared.opentelemetry_config import set_up_logging, trace_celery

settings = load_settings("config.yml", {})
set_up_logging("worker", settings.observability)
trace_celery("worker", settings.observability)
spans = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))
observability = CeleryObservability(lambda: settings)
observability.connect()
app = Celery(broker="memory://", backend="disabled://")
both_run, first_ended = threading.Barrier(2), threading.Event()

@app.task(name="reconcile_positions")
def reconcile(place):
    both_run.wait(10)
    if place == 1:
        assert first_ended.wait(10)
    with trace.get_tracer("test").start_as_current_span(f"inside {place}"):
        if place == FAILING:
            raise ValueError("in the first")

def execute(place):
    tracer = build_tracer(reconcile.name, reconcile, app=app)
    parent = f"00-{place + 1:032x}-{place + 1:016x}-01"
    request = {"id": "one-id", "args": [place], "headers": {"traceparent": parent}}
    tracer("one-id", (place,), {}, {**request, "traceparent": parent})
    first_ended.set()
    assert not trace.get_current_span().get_span_context().is_valid, "a context was left behind"

threads = [threading.Thread(target=execute, args=(place,)) for place in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import json
seen = spans.get_finished_spans()
ids = {span.context.span_id: span.name for span in seen}
print(json.dumps({
    "spans": sorted([
        span.name, span.context.trace_id, ids.get(span.parent.span_id), span.status.is_ok,
    ] for span in seen),
    "counted": {outcome: REGISTRY.get_sample_value("t3_task_seconds_count",
        {"task": reconcile.name, "outcome": outcome}) for outcome in ("ok", "failed")},
}))
"""


def _executed(failing: int) -> tuple[dict[str, object], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", TWO_EXECUTIONS.replace("FAILING", str(failing))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [line for line in done.stderr.splitlines() if line]


def test_each_execution_has_its_span_and_its_time() -> None:
    seen, logged = _executed(failing=-1)
    assert seen["spans"] == [
        ["inside 0", 1, "run/reconcile_positions", True],
        ["inside 1", 2, "run/reconcile_positions", True],
        ["run/reconcile_positions", 1, None, True],
        ["run/reconcile_positions", 2, None, True],
    ]
    assert seen["counted"] == {"ok": 2.0, "failed": None}
    assert not [line for line in logged if "detach" in line or "no existing span" in line]


def test_a_failure_marks_the_span_of_its_own_execution() -> None:
    seen, _ = _executed(failing=0)
    assert seen["spans"] == [
        ["inside 0", 1, "run/reconcile_positions", False],
        ["inside 1", 2, "run/reconcile_positions", True],
        ["run/reconcile_positions", 1, None, False],
        ["run/reconcile_positions", 2, None, True],
    ]
    assert seen["counted"] == {"ok": 1.0, "failed": 1.0}
