"""Logs are JSON with a trace id; noisy tasks are sampled, all others kept."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased
from opentelemetry.trace import SpanKind

from shared.opentelemetry_config import NoisyTaskSampler, SampledLogs, Seldom


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_log_lines_are_json_with_service_fields_and_trace_id() -> None:
    done = _run(
        """
        import logging, structlog
        from opentelemetry import trace
        from shared.config_sections import ObservabilitySettings
        from shared.opentelemetry_config import setup
        setup("probe", ObservabilitySettings())
        with trace.get_tracer("probe").start_as_current_span("reconcile_positions"):
            structlog.get_logger("probe").info("order_sent", intent_id="BTC:1:open")
        logging.getLogger("library").warning("old %s", "style")
        """
    )
    assert done.returncode == 0, done.stderr
    ours, library = (json.loads(line) for line in done.stderr.splitlines())
    assert ours["event"] == "order_sent"
    assert ours["intent_id"] == "BTC:1:open"
    assert ours["service"] == library["service"] == "probe"
    assert len(ours["trace_id"]) == 32
    assert library["event"] == "old style"
    assert "trace_id" not in library


def test_lines_of_an_unsampled_trace_are_dropped_unless_they_warn() -> None:
    done = _run(
        """
        import logging, structlog
        from opentelemetry import trace
        from shared.config_sections import ObservabilitySettings
        from shared.opentelemetry_config import setup
        setup("probe", ObservabilitySettings(sampling_rate=0.0))
        tracer, log = trace.get_tracer("probe"), structlog.get_logger("probe")
        with tracer.start_as_current_span("run/update_balance"):
            log.info("noise"); logging.getLogger("library").info("noise")
            log.warning("kept")
        with tracer.start_as_current_span("run/reconcile_positions"):
            log.info("critical")
        log.info("outside")
        """
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["kept", "critical", "outside"]


@pytest.mark.parametrize(
    ("name", "rate", "kept"),
    [
        ("update_balance", 0.0, False),
        ("update_balance", 1.0, True),
        ("reconcile_positions", 0.0, True),
    ],
)
def test_celerys_own_lines_about_noisy_tasks_are_sampled(
    name: str, rate: float, kept: bool
) -> None:
    message = "Task %(name)s[%(id)s] received"
    fields = {"name": name, "id": "8a1b"}
    record = logging.LogRecord("celery", logging.INFO, "", 0, message, (fields,), None)
    assert SampledLogs(rate).filter(record) is kept


@pytest.mark.parametrize(
    ("task", "kept"), [("update_balance", False), ("reconcile_positions", True)]
)
def test_beats_lines_about_noisy_tasks_are_sampled(task: str, kept: bool) -> None:
    message, names = "Scheduler: Sending due task %s (%s)", (task, task)
    record = logging.LogRecord("celery.beat", logging.INFO, "", 0, message, names, None)
    assert SampledLogs(0.0).filter(record) is kept


def test_sampling_by_id_keeps_the_share_it_is_asked_for() -> None:
    sampled = SampledLogs(0.1)

    def kept(number: int) -> bool:
        fields = {"name": "update_balance", "id": f"task-{number}"}
        return sampled.filter(logging.LogRecord("celery", 20, "", 0, "%(id)s", (fields,), None))

    assert 800 < sum(kept(number) for number in range(10_000)) < 1_200


def test_a_call_that_is_part_of_nothing_is_noise_and_one_within_an_order_is_not() -> None:
    provider = TracerProvider(sampler=ParentBased(NoisyTaskSampler(0.0)))
    tracer = provider.get_tracer("probe")
    poll = tracer.start_span("info:allMids", kind=SpanKind.CLIENT)
    assert not poll.get_span_context().trace_flags.sampled
    with tracer.start_as_current_span("execute_order", kind=SpanKind.SERVER):
        call = tracer.start_span("exchange:order", kind=SpanKind.CLIENT)
        assert call.get_span_context().trace_flags.sampled


def test_a_second_set_up_starts_no_second_exporter() -> None:
    done = _run(
        """
        import threading
        from shared.config_sections import ObservabilitySettings
        from shared.opentelemetry_config import flush_traces, setup, trace_celery
        settings = ObservabilitySettings(otlp_endpoint="http://127.0.0.1:9")
        setup("probe", settings)
        before = threading.active_count()
        trace_celery("probe", settings)
        assert threading.active_count() == before
        flush_traces()
        """
    )
    assert done.returncode == 0, done.stderr


def test_spans_are_counted_by_whether_the_collector_took_them() -> None:
    done = _run(
        """
        from opentelemetry import trace
        from prometheus_client import REGISTRY
        from shared.config_sections import ObservabilitySettings
        from shared.opentelemetry_config import flush_traces, setup
        from shared.testing.otlp_sink import OtlpSink
        with OtlpSink() as sink:
            setup("probe", ObservabilitySettings(otlp_endpoint=sink.url))
            trace.get_tracer("probe").start_span("taken").end()
            flush_traces()
        trace.get_tracer("probe").start_span("nobody listens").end()
        flush_traces()
        for outcome in ("exported", "lost"):
            assert REGISTRY.get_sample_value("t3_spans_total", {"outcome": outcome}) == 1, outcome
        """
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert "Connection refused" in json.loads(line)["event"]


def test_a_logger_that_repeats_itself_speaks_again_when_its_time_has_come() -> None:
    seldom = Seldom(60.0)

    def written(at: float) -> bool:
        record = logging.LogRecord("exporter", logging.ERROR, "", 0, "away", None, None)
        record.created = at
        return seldom.filter(record)

    assert [written(at) for at in (100.0, 101.0, 159.9, 160.0, 200.0, 221.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_exceptions_are_one_line_with_their_traceback() -> None:
    done = _run(
        """
        import structlog
        from shared.config_sections import ObservabilitySettings
        from shared.opentelemetry_config import setup
        setup("probe", ObservabilitySettings())
        try:
            1 / 0
        except ZeroDivisionError:
            structlog.get_logger().exception("division_failed")
        """
    )
    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert event["level"] == "error"
    assert "ZeroDivisionError" in event["exception"]


@pytest.mark.parametrize("task", ["reconcile_positions", "providence_supervisor", "execute_order"])
def test_critical_traces_are_always_kept(task: str) -> None:
    sampler = NoisyTaskSampler(0.0)
    result = sampler.should_sample(None, 2**127, f"run/{task}")
    assert result.decision is Decision.RECORD_AND_SAMPLE


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.0, Decision.DROP), (1.0, Decision.RECORD_AND_SAMPLE)]
)
def test_noisy_traces_are_kept_at_the_configured_rate(rate: float, expected: Decision) -> None:
    sampler = NoisyTaskSampler(rate)
    result = sampler.should_sample(None, 2**127, "run/providence_trading_iteration")
    assert result.decision is expected
