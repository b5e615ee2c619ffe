"""docs/metrics.md says what the code declares."""

from __future__ import annotations

from prometheus_client import REGISTRY

from shared import instruments, state_metrics
from shared.metrics_document import DOCUMENT, document


def test_the_document_is_that_of_the_code() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run `make docs`"


def test_every_metric_that_a_process_serves_is_declared() -> None:
    served = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in REGISTRY.collect()
        if metric.name.startswith("t3_")
    }
    declared = {metric.name for metric in instruments.DECLARED}
    assert served
    assert served <= declared | {metric.name for metric in state_metrics.DECLARED}


def test_names_are_used_once_and_carry_their_units() -> None:
    names = [metric.name for metric in (*instruments.DECLARED, *state_metrics.DECLARED)]
    assert len(names) == len(set(names))
    for metric in (*instruments.DECLARED, *state_metrics.DECLARED):
        assert metric.name.startswith("t3_")
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.documentation.endswith("."), metric.name
