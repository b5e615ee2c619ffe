"""Alert rules: each fires on what it is for, on metrics that exist, and says where to read on."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from shared import instruments, state_metrics
from shared.native_servers import PROJECT_ROOT, ServerMissingError, find_program

FOLDER = PROJECT_ROOT / "setup" / "prometheus"
RUNBOOK = PROJECT_ROOT / "docs" / "runbook.md"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
FOREIGN = {
    "up",
    "process_start_time_seconds",
    "redis_memory_used_bytes",
    "redis_memory_max_bytes",
    "redis_uptime_in_seconds",
    "mysql_global_status_uptime",
    "alertmanager_notifications_failed_total",
    "otelcol_exporter_send_failed_spans",
    "otelcol_exporter_enqueue_failed_spans",
    "otelcol_exporter_send_failed_log_records",
    "otelcol_exporter_enqueue_failed_log_records",
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
}
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        program = find_program("promtool")
    except ServerMissingError:
        pytest.skip("promtool is not installed: make prometheus")
    return subprocess.run([str(program), *arguments], cwd=FOLDER, capture_output=True, text=True)


def test_rules_fire_on_what_they_are_for_and_on_nothing_else() -> None:
    done = _promtool("test", "rules", "alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    cases = yaml.safe_load((FOLDER / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    tested = {
        (case["alert_rule_test"][0]["alertname"], bool(case["alert_rule_test"][0]["exp_alerts"]))
        for case in cases
    }
    assert tested == {(rule["alert"], fires) for rule in RULES for fires in (True, False)}


def test_configuration_of_the_containers_is_sound() -> None:
    done = _promtool("check", "config", "--syntax-only", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@every_rule
def test_metrics_of_a_rule_exist(rule: dict[str, Any]) -> None:
    known = set(FOREIGN)
    for metric in (*instruments.DECLARED, *state_metrics.DECLARED):
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        known |= {metric.name + part for part in parts}
    expression = re.sub(r"\{[^}]*\}", "", rule["expr"])
    named = set(
        re.findall(r"\b(?:t3|redis|otelcol|mysql|process|alertmanager)_\w+|\bup\b", expression)
    )
    assert named
    assert named <= known


@every_rule
def test_a_rule_says_how_urgent_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    anchor = re.sub(r"(?<!^)(?=[A-Z])", "-", rule["alert"]).lower()
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{anchor}"
    assert rule["annotations"]["summary"].endswith(".")


@every_rule
def test_the_runbook_has_the_section(rule: dict[str, Any]) -> None:
    words = re.sub(r"(?<!^)(?=[A-Z])", "-", rule["alert"]).lower()
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in headings}
    assert words in anchors
