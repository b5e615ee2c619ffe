"""The real thing: install, trade, heal, back up. Takes minutes and needs a Docker engine.

``T3_TEST_DOCKER=1 .venv/bin/python -m pytest components/tests/deployment/test_stack.py``
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from shared.native_servers import PROJECT_ROOT

PATIENCE_SECS = 300
FILLED = "SELECT COUNT(*) FROM order_execution_log WHERE state = 'FILLED'"
LABEL = "label=com.docker.compose.project=3t"
pytestmark = pytest.mark.timeout(1_800)


def _why_not() -> str | None:
    if os.environ.get("T3_TEST_DOCKER") != "1":
        return "takes minutes: set T3_TEST_DOCKER=1 to run it"
    if shutil.which("docker") is None:
        return "docker is not installed"
    answer = _run("docker", "ps", "--all", "--quiet", "--filter", LABEL)
    if answer.returncode != 0:
        return "the Docker engine does not answer"
    volumes = _run("docker", "volume", "ls", "--quiet", "--filter", "name=^3t_")
    if answer.stdout.strip() or volumes.stdout.strip():
        return "a deployment is on this host already, and the test would remove it"
    return None


def _run(*command: str, folder: Path = PROJECT_ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def _eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(3)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh clone with the platform installed from it; removed with its data afterwards."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("clone") / "3t"
    assert _run("git", "clone", "--quiet", str(PROJECT_ROOT), str(folder)).returncode == 0
    try:
        installed = _run("make", "install", folder=folder)
        assert installed.returncode == 0, installed.stdout + installed.stderr
        assert "every container does its work" in installed.stdout
        yield folder
    finally:
        _run("make", "clean", "VOLUMES=yes", folder=folder)


def _number(folder: Path, query: str) -> int:
    shell = 'MYSQL_PWD="$(cat /run/secrets/mariadb_root_password)" mariadb -uroot -BN 3t -e "$0"'
    answer = _run(
        "docker", "compose", "exec", "-T", "mariadb", "sh", "-c", shell, query, folder=folder
    )
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout)


def test_queue_answers_as_documented(checkout: Path) -> None:
    answer = _run(
        *("docker", "compose", "exec", "-T", "redis", "redis-cli", "LLEN", "high_priority"),
        folder=checkout,
    )
    assert answer.stdout.strip().isdecimal(), answer.stdout + answer.stderr


def test_logs_of_an_unknown_service_name_the_known_ones(checkout: Path) -> None:
    known = _run("make", "logs", "SERVICE=3t_order-gateway", "TAIL=1", folder=checkout)
    assert "order_gateway" in known.stdout
    unknown = _run("make", "logs", "SERVICE=gateway", folder=checkout)
    assert unknown.returncode != 0
    assert "order-gateway" in unknown.stderr


def test_orders_are_filled(checkout: Path) -> None:
    _eventually(lambda: _number(checkout, FILLED) > 0, "no order was filled")


def test_private_key_is_in_the_gateway_alone(checkout: Path) -> None:
    names = _run("docker", "ps", "--format", "{{.Names}}").stdout.split()
    holders = [
        name
        for name in names
        if name.startswith("3t")
        and _run("docker", "exec", name, "grep", "-rqs", "privateKey", "/run/secrets").returncode
        == 0
    ]
    assert holders == ["3t_order-gateway"]


KILLED = ("redis", "mariadb", "order-gateway", "celery_worker_high", "celery_beat")


def _process(name: str) -> str:
    return _run("docker", "inspect", "--format", "{{.State.Pid}}", name).stdout.strip()


def _kill(name: str) -> str:
    killed = _process(name)
    if _run("kill", "-9", killed).returncode != 0:
        pytest.skip("the processes of containers belong to another user here")
    return killed


def _restarted(name: str, killed: str) -> bool:
    return _process(name) not in {killed, "0"}


def _heals(checkout: Path, killed: dict[str, str]) -> None:
    for name, process in killed.items():
        _eventually(partial(_restarted, name, process), f"{name} was not restarted")
    _eventually(lambda: _run("make", "status", folder=checkout).returncode == 0, "not healthy")


@pytest.mark.parametrize("name", [f"3t_{service}" for service in KILLED])
def test_killed_container_heals(checkout: Path, name: str) -> None:
    _heals(checkout, {name: _kill(name)})


def test_all_others_heal_when_they_are_killed_together(checkout: Path) -> None:
    running = _run("docker", "ps", "--filter", LABEL, "--format", "{{.Names}}").stdout.split()
    others = set(running) - {f"3t_{service}" for service in KILLED}
    assert len(others) > len(KILLED)
    _heals(checkout, {name: _kill(name) for name in sorted(others)})


def test_backup_is_restored(checkout: Path) -> None:
    filled = _number(checkout, FILLED)
    saved = _run("make", "backup", "TO=backups/test", folder=checkout)
    assert saved.returncode == 0, saved.stderr
    assert _number(checkout, "SELECT COUNT(*) FROM backups") == 1
    refused = _run("make", "restore", "FROM=backups/test", folder=checkout)
    assert refused.returncode != 0
    assert "YES=yes" in refused.stderr
    restored = _run("make", "restore", "FROM=backups/test", "YES=yes", folder=checkout)
    assert restored.returncode == 0, restored.stderr
    assert _number(checkout, FILLED) >= filled > 0
    # The note of a backup is made after it, so what was restored does not have it.
    assert _number(checkout, "SELECT COUNT(*) FROM backups") == 0
