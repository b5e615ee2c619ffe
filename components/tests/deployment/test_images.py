"""Small images for most processes; the compiler and Parquet in those of the workers only."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml

from deployment import imports
from shared.native_servers import PROJECT_ROOT

PYPROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
COMPOSE: dict[str, Any] = yaml.safe_load(
    (PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8")
)
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from deployment import imports
sys.exit(imports.main([{family!r}]))
"""


def _import_without(absent: set[str], family: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(absent=absent, family=family)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_services_need_no_library_of_the_workers() -> None:
    absent = {name for extra in ("worker", "research", "native") for name in EXTRAS[extra]}
    done = _import_without(absent | {"llvmlite"}, "services")
    assert done.returncode == 0, done.stderr


def test_workers_need_no_library_of_research_or_of_the_demo() -> None:
    done = _import_without({"optuna", "supervisor"}, "worker")
    assert done.returncode == 0, done.stderr


def test_missing_library_breaks_the_build() -> None:
    done = _import_without({"numba"}, "worker")
    assert done.returncode != 0
    assert "No module named 'numba'" in done.stderr


@pytest.mark.parametrize("family", imports.FAMILIES)
def test_each_family_has_its_locked_requirements(family: str) -> None:
    lock = "requirements" + ("" if family == "services" else f"-{family}") + ".lock"
    text = (PROJECT_ROOT / lock).read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    locked = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    assert ("numba" in locked) is (family != "services")
    assert ("optuna" in locked) is (family == "research")
    assert "supervisor" not in locked
    dev = (PROJECT_ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    for line in text.splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            assert line.split(" ")[0] in dev, f"{lock} and requirements-dev.lock differ: {line}"


def test_what_a_container_runs_is_checked_when_its_image_is_built() -> None:
    for name, service in COMPOSE["services"].items():
        if not service["image"].startswith(("3t:", "3t-")):
            continue
        image = service["image"].partition(":")[0]
        family = "services" if image == "3t" else image.removeprefix("3t-")
        command = service["command"]
        module = command[command.index("-m") + 1] if "-m" in command else command[0]
        known = {entry.partition(".")[0] for entry in imports.FAMILIES[family]}
        assert module.partition(".")[0] in known, name
        # Whatever runs Celery loads every task, and with them the kernel.
        assert family != "services" or module != "deployment.start", name
