"""A process serves its metrics, and a pool's processes are summed, whoever of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import requests

from shared.config_sections import ObservabilitySettings
from shared.metrics_server import FOLDER_VARIABLE, forget_dead, serve, write_target

CHILD = """
import os, sys, time
from shared import instruments
instruments.record_iteration("committed", 0.01, iterations=int(sys.argv[1]), fills=0, rebuilt=0)
instruments.set_breaker_state("venue:" + sys.argv[2], "open")
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import sys, time
from shared.config_sections import ObservabilitySettings
from shared.metrics_server import clear_folder, serve
clear_folder()
server = serve("pool", "paper", ObservabilitySettings(metrics_port=0, metrics_targets=sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
"""


def _scrape(target: Path) -> str:
    (entry,) = json.loads(target.read_text(encoding="utf-8"))
    reply = requests.get(f"http://{entry['targets'][0]}/metrics", timeout=5)
    reply.raise_for_status()
    return reply.text


def test_a_process_without_a_port_serves_nothing() -> None:
    assert serve("probe", "paper", ObservabilitySettings()) is None


def test_the_address_is_written_for_prometheus_and_taken_back(tmp_path: Path) -> None:
    settings = ObservabilitySettings(metrics_port=0, metrics_targets=str(tmp_path / "targets"))
    server = serve("probe", "paper", settings)
    assert server is not None
    target = tmp_path / "targets" / "probe.json"
    (entry,) = json.loads(target.read_text(encoding="utf-8"))
    assert entry == {"targets": [f"127.0.0.1:{server.port}"], "labels": {"job": "probe"}}
    assert 't3_build_info{mode="paper"' in _scrape(target)
    server.close()
    assert not target.exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{server.port}/metrics", timeout=2)


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    first = serve("probe", "paper", ObservabilitySettings(metrics_port=0))
    assert first is not None
    with pytest.raises(OSError, match="in use"):
        serve("probe", "paper", ObservabilitySettings(metrics_port=first.port))
    first.close()


def test_a_target_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_target(tmp_path, "probe", "127.0.0.1:1")
    file = write_target(tmp_path, "probe", "127.0.0.1:2")
    assert json.loads(file.read_text(encoding="utf-8"))[0]["targets"] == ["127.0.0.1:2"]


def test_a_pool_is_one_and_what_it_counted_outlives_its_processes(tmp_path: Path) -> None:
    folder, targets = tmp_path / "pool", tmp_path / "targets"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"left by a process of the past")
    environ = {**os.environ, FOLDER_VARIABLE: str(folder)}
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *arguments],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    try:
        start(PARENT, str(targets))
        first, _ = start(CHILD, "100", "a"), start(CHILD, "20", "b")
        text = _scrape(targets / "pool.json")
        assert "t3_iterations_total 120.0" in text
        assert 't3_breaker_state{name="venue:a"} 2.0' in text
        assert "process_resident_memory_bytes" in text
        first.send_signal(signal.SIGKILL)
        first.wait()
        text = _scrape(targets / "pool.json")
        assert "t3_iterations_total 120.0" in text
        assert 't3_breaker_state{name="venue:a"}' not in text
        assert 't3_breaker_state{name="venue:b"} 2.0' in text
        start(CHILD, "3", "c")
        assert "t3_iterations_total 123.0" in _scrape(targets / "pool.json")
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_gauges_of_the_living_stay(tmp_path: Path) -> None:
    alive, dead = os.getpid(), 2**22 + 1
    for pid in (alive, dead):
        (tmp_path / f"gauge_livemostrecent_{pid}.db").touch()
        (tmp_path / f"counter_{pid}.db").touch()
    forget_dead(tmp_path)
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == sorted(
        [f"counter_{alive}.db", f"counter_{dead}.db", f"gauge_livemostrecent_{alive}.db"]
    )


def test_bad_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    first = serve("probe", "paper", ObservabilitySettings(metrics_port=0))
    assert first is not None
    secrets = tmp_path / "secrets.yml"
    secrets.write_text("{}")
    code = """
    import sys
    from shared import service
    sys.exit(service.run("probe", lambda *_: None))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={
            **os.environ,
            "T3_CONFIG": str(Path(__file__).parents[2] / "config.yml"),
            "T3_SECRETS": str(secrets),
            "T3__observability__metrics_port": str(first.port),
        },
        capture_output=True,
        text=True,
    )
    first.close()
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"probe: observability.metrics_port: {first.port} is in use"
    )
