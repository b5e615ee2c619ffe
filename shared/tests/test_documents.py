"""What the documents tell people to type exists, and what they name is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from shared.config import Secrets, Settings, load_settings
from shared.config_faults import field_at
from shared.testing.documents import Command, anchors, commands, shell_blocks

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=str)
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
RULES = yaml.safe_load((ROOT / "setup/prometheus/alerts.yml").read_text(encoding="utf-8"))
TARGET = re.compile(r"`?make ([a-z][a-z-]*)")
MODULE = re.compile(r"python -m ([a-z_][a-z_.]*)")
OVERRIDE = re.compile(r"\b(T3__[A-Za-z_]+)=(\S+)")
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
COMPOSE_COMMANDS = {"build", "exec", "port", "ps", "restart", "rm", "run", "stop", "up"}
LOCAL_PORT = re.compile(r"http://127\.0\.0\.1:(\d+)")
DOTTED = re.compile(r"`([a-z_]+(?:\.[A-Za-z_0-9]+)+)(?::[^`\n]*)?`")
METRIC = re.compile(r"\bt3_[a-z_]*[a-z]\b")
FILE_ENDINGS = {"md", "py", "yml", "sql", "sh", "json", "svg"}
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
    for target, fragment in LINK.findall(document.read_text(encoding="utf-8")):
        place = document.parent / target if target else document
        assert place.exists(), target
        if fragment and place.suffix == ".md":
            assert fragment in anchors(place), f"{target}#{fragment}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shell_block_is_shell(document: Path) -> None:
    for block in shell_blocks(document):
        done = subprocess.run(
            ["bash", "-n"], input=block, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stderr}\n{block}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_key_and_metric_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    sections = {*Settings.model_fields, *Secrets.model_fields}
    for name in set(DOTTED.findall(text)):
        path = tuple(name.split("."))
        if path[0] in sections and path[-1] not in FILE_ENDINGS:
            assert field_at(Settings, path) or field_at(Secrets, path), name
    known = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert {name for name in METRIC.findall(text) if name not in known} == set()


def _all_commands(program: str) -> Iterator[Command]:
    found = {command for document in DOCUMENTS for command in commands(document)}
    return (c for c in sorted(found, key=str) if c.words[0].rpartition("/")[2] == program)


def test_make_knows_every_target_and_variable_of_the_documents() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    read = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "setup").rglob("*.sh"))
    for command in _all_commands("make"):
        words = [word for word in command.words[1:] if word != "…"]
        for name in (word.partition("=")[0] for word in words if "=" in word):
            used = rf"\$\({name}\)|wants,{name}\b|\b{name}:[a-z]+|\$\{{{name}\b"
            assert re.search(used, makefile + read), f"{command}: nothing reads {name}"
        done = subprocess.run(
            ["make", "--dry-run", *words],
            cwd=ROOT,
            env={**os.environ, "MAKEFLAGS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_services_that_documents_name_to_compose_are_there() -> None:
    named = [c.words[2:] for c in _all_commands("docker") if c.words[1] == "compose"]
    assert len(named) > 10
    for words in named:
        rest = [word for word in words if not word.startswith("-")]
        if words[:1] == ("--profile",):
            profiles = {p for s in COMPOSE["services"].values() for p in s.get("profiles", ())}
            assert rest.pop(0) in profiles, words
        assert rest[0] in COMPOSE_COMMANDS, words
        for service in rest[1:2] if rest[0] in ("exec", "port", "run") else rest[1:]:
            assert service in COMPOSE["services"], words


def test_local_ports_in_documents_are_published() -> None:
    published = {
        port.split(":")[1] for s in COMPOSE["services"].values() for port in s.get("ports", ())
    }
    operators = [d for d in DOCUMENTS if d.name in ("runbook.md", "deployment.md", "scaling.md")]
    named = {p for d in operators for p in LOCAL_PORT.findall(d.read_text(encoding="utf-8"))}
    assert named
    assert named <= published
    addresses = _section((ROOT / "docs/deployment.md").read_text("utf-8"), "Addresses")
    assert set(re.findall(r":(\d{4,5})\b", addresses)) >= published


def _module_calls() -> dict[tuple[str, ...], set[str]]:
    """Module with its subcommand, and the options that documents give it."""
    calls: dict[tuple[str, ...], set[str]] = {}
    for document in DOCUMENTS:
        for command in commands(document):
            words = command.words
            at = next((i for i, w in enumerate(words) if w.rpartition("/")[2] == "python"), None)
            if at is None or words[at + 1 : at + 2] != ("-m",):
                continue
            module, *rest = words[at + 2 :]
            options = {w.partition("=")[0] for w in rest if w.startswith("--")}
            taught = options or (rest and re.fullmatch("[a-z][a-z-]+", rest[0]))
            if module in OUTSIDE_MODULES or not taught:
                continue
            sub = (rest[0],) if re.fullmatch("[a-z][a-z-]+", rest[0]) else ()
            calls.setdefault((module, *sub), set()).update(options)
    return calls


def test_programs_know_every_subcommand_and_option_of_the_documents() -> None:
    calls = _module_calls()

    def help_of(call: tuple[str, ...]) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *call, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{call}: {done.stderr}"
        return done.stdout

    with ThreadPoolExecutor(2) as threads:
        for (call, options), taught in zip(calls.items(), threads.map(help_of, calls), strict=True):
            assert {o for o in options if o not in taught} == set(), call


def test_one_liners_of_the_documents_run() -> None:
    found = [c for c in _all_commands("python") if c.words[0] == ".venv/bin/python"]
    lines = [c.words[2] for c in found if c.words[1:2] == ("-c",)]
    assert lines
    for line in lines:
        subprocess.run([sys.executable, "-c", line], cwd=ROOT, check=True, capture_output=True)


def test_pytest_files_in_documents_are_there() -> None:
    for command in [*_all_commands("python"), *_all_commands("pytest")]:
        for word in command.words:
            if word.endswith(".py"):
                assert (ROOT / word).exists(), word


def _section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_runbook_has_a_section_for_every_alert() -> None:
    sections = anchors(ROOT / "docs/runbook.md")
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for rule in rules:
        page, _, fragment = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbook.md"
        assert fragment in sections, rule["alert"]
        assert f"*{rule['labels']['severity']} · rule `{rule['alert']}`" in text
        assert f"](#{fragment})" in _section(text, "Every alert on one page"), rule["alert"]
    told = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"\*.*messages? .*\*", text))))
    assert told == set(load_settings(ROOT / "config.yml", environ={}).alerts.enabled)


def test_the_readme_leads_to_every_document() -> None:
    linked = {target for target, _ in LINK.findall((ROOT / "README.md").read_text("utf-8"))}
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    assert pages <= linked


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


def test_a_reason_may_hold_any_character() -> None:
    """Nobody escapes an apostrophe in the middle of the night."""
    done = subprocess.run(
        ["make", "kill-switch", "DO=set", 'REASON=don\'t "trust" $x'],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": "", "T3_SECRETS": "/absent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "/absent: cannot be read" in done.stderr
