"""Small images for most processes; compiler, Parquet and optimiser only where they are used."""

from __future__ import annotations

import re
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
# The extras of pyproject.toml that an image has beside what every process needs.
NEEDS: dict[str, set[str]] = {
    "services": {"services"},
    "worker": {"worker"},
    "recorder": {"recorder"},
    "research": {"worker", "recorder", "research"},
}
FAMILY_EXTRAS = set().union(*NEEDS.values())
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


@pytest.mark.parametrize(("family", "needed"), NEEDS.items())
def test_each_family_needs_the_libraries_of_its_own_extras_alone(
    family: str, needed: set[str]
) -> None:
    absent = {
        re.split("[<>=]", name)[0].replace("-", "_")
        for extra in {*FAMILY_EXTRAS, "native"} - needed
        for name in EXTRAS[extra]
    }
    done = _import_without(absent | ({"llvmlite"} if "numba" in absent else set()), family)
    assert done.returncode == 0, done.stderr


def test_missing_library_breaks_the_build() -> None:
    done = _import_without({"numba"}, "worker")
    assert done.returncode != 0
    assert "No module named 'numba'" in done.stderr


@pytest.mark.parametrize("family", imports.FAMILIES)
def test_each_family_has_its_locked_requirements(family: str) -> None:
    lock = f"requirements-{family}.lock"
    text = (PROJECT_ROOT / lock).read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    locked = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    for extra in FAMILY_EXTRAS:
        for name in EXTRAS[extra]:
            if extra in NEEDS[family]:
                assert re.split("[<>=]", name)[0] in locked
    assert ("numba" in locked) is (family in {"worker", "research"})
    assert ("pyarrow" in locked) is (family in {"recorder", "research"})
    assert ("fastapi" in locked) is (family == "services")
    assert "supervisor" not in locked
    # The layer of all images is made from requirements.lock: a family takes it as it is.
    assert _pinned("requirements.lock") <= _pinned(lock) <= _pinned("requirements-dev.lock")


def _pinned(lock: str) -> set[str]:
    """Names with versions."""
    lines = (PROJECT_ROOT / lock).read_text(encoding="utf-8").splitlines()
    return {line.split(" ")[0] for line in lines if "==" in line and line[0] not in " #"}


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
