"""GitHub's workflows use actions that cannot change under us, and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
USES = re.compile(r"uses: (.+)$", re.MULTILINE)
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
INSTALLED = re.compile(r"pip install '?([\w-]+(?:\[\w+\])?==)?")


def _runs(workflow: Path) -> str:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])


def test_the_workflows_are_there() -> None:
    names = {path.stem for path in WORKFLOWS}
    assert names == {"ci", "security", "backtest", "optimize", "paper"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit_and_tools_to_a_version(workflow: Path) -> None:
    used = USES.findall(workflow.read_text(encoding="utf-8"))
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []
    assert all(version for version in INSTALLED.findall(_runs(workflow)))
    assert "@latest" not in _runs(workflow)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_a_person_types_becomes_part_of_a_script(workflow: Path) -> None:
    assert "${{ inputs" not in _runs(workflow)
    assert "${{ github.event" not in _runs(workflow)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_and_no_more_unless_a_job_says_so(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_targets_of_the_workflows_exist(workflow: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", _runs(workflow))) <= targets
