"""What the documents tell people to type exists, and what they name is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from shared.config import load_settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CLAUDE.md", *(ROOT / "docs").rglob("*.md")],
    key=str,
)
TARGET = re.compile(r"`?make ([a-z][a-z-]*)")
MODULE = re.compile(r"python -m ([a-z_][a-z_.]*)")
OVERRIDE = re.compile(r"\b(T3__[A-Za-z_]+)=(\S+)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
OUTSIDE_MODULES = {"pytest", "alembic", "venv", "pip"}


def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))


def _code(document: Path) -> str:
    """Fenced blocks and inline code of a document."""
    text = document.read_text(encoding="utf-8")
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_in_a_document_exists(document: Path) -> None:
    assert set(TARGET.findall(_code(document))) <= _targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_in_a_document_can_be_run(document: Path) -> None:
    for name in set(MODULE.findall(_code(document))) - OUTSIDE_MODULES:
        path = name.replace(".", "/")
        places = [ROOT, ROOT / "celery-services", ROOT / "components" / "src"]
        files = [f for p in places for f in (p / f"{path}.py", p / path / "__main__.py")]
        assert any(file.exists() for file in files), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_override_in_a_document_is_accepted(document: Path) -> None:
    for name, value in OVERRIDE.findall(_code(document)):
        if name != "T3__section__key":
            load_settings(ROOT / "config.yml", environ={name: shlex.split(value)[0]})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_in_a_document_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_make_help_lists_the_targets_of_the_readme() -> None:
    done = subprocess.run(
        ["make", "help"],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    listed = {
        line.split()[0] for line in re.sub(r"\x1b\[\d*m", "", done.stdout).splitlines() if line
    }
    assert set(TARGET.findall(_code(ROOT / "README.md"))) <= listed


def test_summary_shown_in_the_readme_has_the_keys_of_the_real_one() -> None:
    from demo.summary import Summary

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert list(json.loads(shown)) == list(Summary.__dataclass_fields__)
