"""Imports resolve to this repository, and the arrows between its parts point one way."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "shared", ROOT / "celery-services" / "worker", ROOT / "components" / "src"]
COMPONENTS = sorted(
    path.stem
    for path in (ROOT / "components" / "src").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
)
PURE = ("providence", "reconciliation", "orders", "risk")
EDGES = {
    "ccxt", "celery", "eth_account", "fastapi", "hyperliquid", "mysql", "prometheus_client",
    "redis", "requests", "sqlalchemy", "urllib3", "uvicorn", "websockets",
}  # fmt: skip


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def _files(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*.py")
        if "tests" not in file.parts and "benchmarks" not in file.parts
    ]


@pytest.mark.parametrize("name", ["shared", "worker", *COMPONENTS])
def test_package_comes_from_this_repository(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def _own_files(name: str) -> list[Path]:
    """Files that importing a name of ours runs; ``name`` may also be of something in a module."""
    path = ROOT.joinpath(*name.split("."))
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()]


def _reached(files: list[Path]) -> dict[str, Path]:
    """Every root that the files import, also by way of our own modules -> who imports it."""
    found: dict[str, Path] = {}
    seen, pending = set(files), list(files)
    while pending:
        file = pending.pop()
        for name in _imports(file):
            found.setdefault(name.partition(".")[0], file)
            new = [own for own in _own_files(name) if own not in seen]
            seen.update(new)
            pending += new
    return found


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_reach_no_edge(package: str) -> None:
    files = _files(ROOT / "shared" / package)
    assert files
    reached = _reached(files)
    assert "shared" in reached
    assert not {name: str(reached[name]) for name in EDGES & reached.keys()}


def test_worker_and_components_meet_in_data_only() -> None:
    for file in _files(ROOT / "celery-services" / "worker"):
        roots = {name.partition(".")[0] for name in _imports(file)}
        assert not roots & set(COMPONENTS), file
    for file in _files(ROOT / "components" / "src"):
        roots = {name.partition(".")[0] for name in _imports(file)}
        assert "worker" not in roots, file


def test_shared_knows_neither_worker_nor_components() -> None:
    for file in _files(ROOT / "shared"):
        if file.parts[-2] == "testing":
            continue
        roots = {name.partition(".")[0] for name in _imports(file)}
        assert not roots & {"worker", *COMPONENTS}, file


def test_venue_shares_no_code_with_its_clients() -> None:
    for file in _files(ROOT / "components" / "src" / "paper_exchange"):
        assert not any(name.startswith("shared.exchange") for name in _imports(file)), file


def test_the_map_of_folders_is_complete_and_true() -> None:
    """``docs/arch/folders.md`` names every module and package of the source roots."""
    text = (ROOT / "docs" / "arch" / "folders.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+(?:\.py)?)`", text))
    there = {
        path.name
        for source in SOURCES
        for path in source.iterdir()
        if path.name not in ("__init__.py", "tests", "services")
        and (path.suffix == ".py" or any(path.glob("*.py")))
    }
    assert not there - named, f"give docs/arch/folders.md a line for {there - named}"
    inner = {path.name for path in (ROOT / "shared").rglob("*") if path.suffix in ("", ".py")}
    roots = {path.name for path in ROOT.iterdir()} | {"adr", "services", "shared", "worker"}
    assert not named - (there | inner | roots), "docs/arch/folders.md names what is gone"


def test_migrations_and_decisions_are_numbered_one_after_another() -> None:
    """Two branches that took the same number meet here, not in a database."""
    for folder, pattern in (("database/migrations/versions", "*.py"), ("docs/adr", "*.md")):
        numbers = [path.name[:4] for path in sorted((ROOT / folder).glob(pattern))]
        assert numbers == [f"{place:04}" for place in range(1, len(numbers) + 1)], folder
    for path in sorted((ROOT / "database/migrations/versions").glob("*.py")):
        number = int(path.name[:4])
        before = f'"{number - 1:04}"' if number > 1 else "None"
        text = path.read_text(encoding="utf-8")
        assert f'\nrevision = "{number:04}"\ndown_revision = {before}\n' in text, path.name
    for path in sorted((ROOT / "docs/adr").glob("*.md")):
        assert path.read_text(encoding="utf-8").startswith(f"# {int(path.name[:4])}. "), path.name
