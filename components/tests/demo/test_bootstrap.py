"""Setup installs once, says what it cannot install, and touches no service of the system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.native_servers import PROJECT_ROOT

FAKE_PYTHON = f"""#!/bin/sh
if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi
echo "$*" >>"$(dirname "$0")/calls"
"""
TOOLS = ("bash", "dirname", "cat", "cksum", "mkdir", "id", "env", "ln", "sed", "sort", "cut")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a virtual environment whose pip only writes down what it is asked."""
    root = tmp_path / "checkout"
    shutil.copytree(PROJECT_ROOT / "setup" / "native", root / "setup" / "native")
    for name in ("requirements-dev.lock", "requirements-dev.txt", "pyproject.toml"):
        (root / name).write_text(f"{name}\n")
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return root


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH with the tools every system has, and no way to install anything."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return str(folder)


def bootstrap(checkout: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(checkout / "setup/native/bootstrap.sh")],
        env={**os.environ, "PATH": path or os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def pip_calls(checkout: Path) -> list[str]:
    return (checkout / ".venv/bin/calls").read_text().splitlines()


def without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("uv"):
        pytest.skip("uv is installed here and would be used in place of pip")


def test_requirements_are_installed_once_with_their_hashes(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_uv(monkeypatch)
    first = bootstrap(checkout)
    assert first.returncode == 0, first.stderr
    locked, project = pip_calls(checkout)
    assert "--require-hashes" in locked
    assert "requirements-dev.lock" in locked
    assert "--no-deps -r requirements-dev.txt" in project
    again = bootstrap(checkout)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(pip_calls(checkout)) == 2


def test_a_changed_lock_is_installed_anew(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_uv(monkeypatch)
    bootstrap(checkout)
    (checkout / "requirements-dev.lock").write_text("changed\n")
    assert bootstrap(checkout).returncode == 0
    assert len(pip_calls(checkout)) == 4


def test_a_redis_server_is_at_hand_afterwards(checkout: Path) -> None:
    assert bootstrap(checkout).returncode == 0
    path = os.pathsep.join([os.environ["PATH"], str(checkout / ".local/bin")])
    found = shutil.which("redis-server", path=path)
    assert found is not None
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("Redis server v=")


def test_without_python_and_package_manager_it_says_what_to_do(
    checkout: Path, bare_path: str
) -> None:
    shutil.rmtree(checkout / ".venv")
    ended = bootstrap(checkout, bare_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (sentence,) = ended.stderr.splitlines()
    assert "no Python 3.11 or newer" in sentence
    assert not (checkout / ".venv").exists()


def test_without_redis_and_package_manager_it_says_what_to_do(
    checkout: Path, bare_path: str
) -> None:
    bootstrap(checkout)
    shutil.rmtree(checkout / ".local")
    ended = bootstrap(checkout, bare_path)
    assert ended.returncode == 2
    (sentence,) = ended.stderr.splitlines()
    assert "Redis is missing" in sentence
    assert "neither apt-get nor Homebrew" in sentence


def test_a_failed_installation_leaves_no_stamp_and_says_where_to_look(checkout: Path) -> None:
    python = checkout / ".venv/bin/python"
    python.write_text(FAKE_PYTHON + "exit 1\n")
    ended = bootstrap(checkout)
    assert ended.returncode == 2
    assert "could not be installed" in ended.stderr
    assert ".local/bootstrap.log" in ended.stderr
    assert not (checkout / ".venv/.bootstrap-stamp").exists()


def test_only_packages_without_a_service_are_installed(
    checkout: Path, bare_path: str, tmp_path: Path
) -> None:
    """On a system where the versioned package names of Ubuntu 22.04 are the only ones."""
    log = tmp_path / "apt"
    fakes = {
        "sudo": '[ "$1" = -n ] && shift; exec "$@"',
        "apt-cache": 'case "$3" in ^maria*) n="${3#^}"; echo "${n%%(*}-10.6 - x";; '
        "*) echo 'redis-tools - x';; esac",
        "apt-get": f"""echo "$*" >>{log}
case "$*" in
  *redis-tools*) names="redis-check-rdb redis-cli" ;;
  *mariadb*) names="mariadb mariadbd mariadb-install-db" ;;
esac
for name in $names; do
  ln -sf "$(PATH=/usr/bin:/usr/sbin command -v $name)" {bare_path}/
done""",
    }
    for name, body in fakes.items():
        fake = Path(bare_path) / name
        fake.write_text(f"#!/bin/bash\n{body}\n")
        fake.chmod(0o755)
    (Path(bare_path) / "tail").symlink_to(shutil.which("tail") or "/usr/bin/tail")
    ended = bootstrap(checkout, bare_path)
    assert ended.returncode == 0, ended.stderr
    update, redis, mariadb = log.read_text().splitlines()
    options = "install --yes --no-remove --no-install-recommends"
    assert update == "update"
    assert redis == f"{options} redis-tools"
    assert mariadb == f"{options} mariadb-server-core-10.6 mariadb-client-core-10.6"
