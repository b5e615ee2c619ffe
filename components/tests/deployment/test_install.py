"""`make install` and `restart` reach what a person has started beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.native_servers import PROJECT_ROOT

DOCKER = """
case "$*" in
  "version "*) echo 26.1.5 ;;
  "compose version "*) echo 2.26.1 ;;
  "ps "*Label*) cat there ;;
  "ps "*|"inspect "*|"run "*) ;;
  *" config --services") printf '%s\\n' migrate celery_worker
    case "$COMPOSE_PROFILES" in *research*) echo celery_worker_research ;; esac ;;
  *) echo "$COMPOSE_PROFILES: $*" >>called ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that was installed in paper mode, and a docker that notes what it is asked for."""
    (tmp_path / "setup/install").mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / "setup/install/compose.sh", tmp_path / "setup/install/compose.sh")
    (tmp_path / ".local/docker/secrets").mkdir(parents=True)
    (tmp_path / ".local/docker/secrets/redis.env").touch()
    (tmp_path / ".env").write_text("COMPOSE_PROFILES=paper\nWORKERS=1\n")
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/usr/bin/env bash\n{DOCKER}")
    docker.chmod(0o755)
    return tmp_path


def _called(checkout: Path, command: str, there: str) -> list[str]:
    (checkout / "there").write_text(there)
    environ = {name: v for name, v in os.environ.items() if not name.startswith(("T3_", "COMPOSE"))}
    environ["PATH"] = f"{checkout / 'bin'}:{environ['PATH']}"
    script = str(checkout / "setup/install/compose.sh")
    done = subprocess.run([script, command], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (checkout / "called").read_text().splitlines()


def test_install_builds_and_starts_what_it_always_does(checkout: Path) -> None:
    build, up = _called(checkout, "install", "redis\ncelery_worker\n")
    assert build.endswith("build --quiet migrate celery_worker")
    assert up.startswith("paper: ")


def test_a_research_worker_that_was_started_is_upgraded_with_the_rest(checkout: Path) -> None:
    build, up = _called(checkout, "install", "redis\ncelery_worker_research\n")
    assert build.endswith("build --quiet migrate celery_worker celery_worker_research")
    assert up.startswith("paper,research: ")


def test_restart_reaches_a_research_worker_that_was_started(checkout: Path) -> None:
    (up,) = _called(checkout, "restart", "celery_worker_research\nloki\n")
    assert up.startswith("paper,research,logs: ")
    assert up.endswith("celery_worker celery_worker_research")
