"""What ``python -m shared.benchmarks`` reports."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from shared.benchmarks import __main__ as runner
from shared.benchmarks.bench_deployment import FIRST_STEP, added_bytes, mebibytes
from shared.benchmarks.figure import Figure, median_secs
from shared.native_servers import PROJECT_ROOT


def test_line_has_the_agreed_fields() -> None:
    line = json.loads(Figure("a_ns", 10.0, "ns", 30.0, "lower", "peer", 25_000.0).to_json())
    assert line == {
        "figure": "a_ns",
        "value": 10.0,
        "unit": "ns",
        "goal": 30.0,
        "met": True,
        "peer": "peer",
        "peer_value": 25_000.0,
        "ratio": 2_500.0,
    }


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("x", 20.0, "runs/s", 20.0), True),
        (Figure("x", 19.9, "runs/s", 20.0), False),
        (Figure("x", 30.0, "ns", 30.0, "lower"), True),
        (Figure("x", 30.1, "ns", 30.0, "lower"), False),
        (Figure("x", 10.0, "ns", 30.0, "lower", "p", 9_990.0, 1_000.0), False),
        (Figure("x", 10.0, "ns", 30.0, "lower", "p", 10_000.0, 1_000.0), True),
        (Figure("x", 5.0, "runs/s"), None),
    ],
)
def test_goal_counts_the_peer_where_asked(figure: Figure, met: bool | None) -> None:
    assert figure.met is met


def test_median_ignores_the_warm_up() -> None:
    calls: list[int] = []
    assert median_secs(lambda: calls.append(1), runs=3, warm_up=2) >= 0.0
    assert len(calls) == 5


@pytest.mark.parametrize("name", sorted(runner.BENCHMARKS))
def test_every_registered_figure_is_a_function_of_that_module(name: str) -> None:
    module, function = runner.BENCHMARKS[name].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def _fake(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(runner, "run", lambda name: [Figure(name, value, "runs/s", goal=10.0)])


def test_exit_code_tells_whether_goals_are_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake(monkeypatch, 11.0)
    assert runner.main(["--only", "step_runs_per_s"]) == 0
    _fake(monkeypatch, 9.0)
    assert runner.main(["--only", "step_runs_per_s", "entropy_ns_per_window"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["met"] for line in lines] == [True, False, False]


def test_figures_of_one_function_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def once(name: str) -> list[Figure]:
        measured.append(name)
        return [Figure(name, 1.0, "s")]

    monkeypatch.setattr(runner, "run", once)
    runner.main(["--only", "tick_lag_p99_s", "plans_per_s", "iterations_per_s"])
    assert measured == ["tick_lag_p99_s", "plans_per_s"]


def test_what_this_host_cannot_measure_is_named_and_no_miss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runner.main(["--only", "install_s"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "install_s: not measured: docker is not installed\n")


def test_a_measurement_that_fails_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_first(name: str) -> list[Figure]:
        if name == "plans_per_s":
            raise RuntimeError("no server")
        return [Figure(name, 11.0, "s")]

    monkeypatch.setattr(runner, "run", fail_first)
    assert runner.main(["--only", "plans_per_s", "recovery_s"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["figure"] == "recovery_s"
    assert "RuntimeError: no server" in printed.err
    assert "plans_per_s: failed" in printed.err


@pytest.mark.parametrize(
    ("text", "mib"), [("1.5GiB", 1536.0), ("87.5MiB", 87.5), ("512KiB", 0.5), ("0B", 0.0)]
)
def test_memory_is_read_as_docker_writes_it(text: str, mib: float) -> None:
    assert mebibytes(text) == mib


def test_unknown_figure_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        runner.main(["--only", "nonsense"])
    assert ended.value.code == 2
    assert "step_runs_per_s" in capsys.readouterr().err


def test_list_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["--list"]) == 0
    assert set(capsys.readouterr().out.split()) == set(runner.BENCHMARKS)


def test_layers_of_the_base_image_are_not_ours() -> None:
    history = f"5340000 COPY /opt/venv\n160000000 COPY /opt/venv\n0 {FIRST_STEP}3T\n74800000 base"
    assert added_bytes(history) == 165_340_000
    with pytest.raises(ValueError, match="no layer"):
        added_bytes("74800000 base")


def test_first_step_is_that_of_the_dockerfile() -> None:
    steps = (PROJECT_ROOT / "setup/docker/Dockerfile").read_text(encoding="utf-8")
    after_base = steps.partition(" AS runtime\n")[2]
    assert after_base.startswith(FIRST_STEP)
