"""A command of a person reaches the platform that runs here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script, and programs that say how they were called."""
    for script in ("setup/install/by_hand.sh", "setup/native/bootstrap.sh", ".venv/bin/python"):
        (tmp_path / script).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "setup/install/by_hand.sh", tmp_path / "setup/install/by_hand.sh")
    _program(tmp_path / "setup/native/bootstrap.sh", "exit 0")
    _program(tmp_path / ".venv/bin/python", 'echo "native ${T3_CONFIG:-none}: $*"')
    _program(
        tmp_path / "bin/docker",
        'case "$*" in *" ps "*) cat running ;; *) echo "docker: $*" ;; esac',
    )
    return tmp_path


def test_without_a_platform_it_says_how_to_get_one(checkout: Path) -> None:
    done = _run(checkout)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no platform runs here: start a demo ('make demo')" in done.stderr


def test_secrets_of_the_checkout_name_a_platform_that_was_started_otherwise(checkout: Path) -> None:
    (checkout / "secrets.yml").write_text("{}\n")
    assert _run(checkout).stdout == "native none: -m worker.cli why --symbol BTC\n"


def test_containers_of_this_folder_are_reached_in_the_service(checkout: Path) -> None:
    _installed(checkout, running="4f3c\n")
    said = _run(checkout).stdout
    assert said.startswith("docker: compose --project-name 3t exec -T --env USER=")
    assert said.endswith(" celery_worker_high python -m worker.cli why --symbol BTC\n")


def test_a_service_that_does_not_run_is_named(checkout: Path) -> None:
    _installed(checkout, running="")
    done = _run(checkout)
    assert (done.returncode, done.stdout) == (2, "")
    assert "celery_worker_high does not run" in done.stderr


def test_a_running_demo_comes_before_the_containers(checkout: Path) -> None:
    _installed(checkout, running="4f3c\n")
    demo = checkout / ".local/demo"
    demo.mkdir(parents=True)
    (demo / "processes.json").write_text("{}")
    (demo / "environment").write_text("export T3_CONFIG=demo.yml\n")
    assert _run(checkout).stdout.startswith("native demo.yml: ")


def test_named_files_come_before_everything(checkout: Path) -> None:
    _installed(checkout, running="4f3c\n")
    assert _run(checkout, T3_CONFIG="other.yml").stdout.startswith("native other.yml: ")


def _installed(checkout: Path, running: str) -> None:
    secrets = checkout / ".local/docker/secrets"
    secrets.mkdir(parents=True)
    (secrets / "redis.env").write_text("")
    (checkout / "running").write_text(running)


def _program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


def _run(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: v for name, v in os.environ.items() if not name.startswith("T3_")}
    path = f"{checkout / 'bin'}:{Path(sys.executable).parent}:{environ['PATH']}"
    script = checkout / "setup/install/by_hand.sh"
    return subprocess.run(
        [str(script), "celery_worker_high", "worker.cli", "why", "--symbol", "BTC"],
        env={**environ, **variables, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
