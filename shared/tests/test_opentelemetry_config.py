"""Logs are JSON with a trace id; noisy tasks are sampled, all others kept."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from opentelemetry.sdk.trace.sampling import Decision

from shared.opentelemetry_config import NoisyTaskSampler


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
