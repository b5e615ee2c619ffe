"""The core imports alone, compiles on first call only, and caches where it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "providence"
MODULES = " ".join(sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"))
IMPORT_ALL = f"""
import importlib, sys
for name in "{MODULES}".split():
    importlib.import_module("shared.providence." + name)
"""


def _python(code: str, cache: Path) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fresh_interpreter_finds_no_outside_world(tmp_path: Path) -> None:
    code = IMPORT_ALL + "print(*sys.modules)"
    loaded = {name.split(".")[0] for name in _python(code, tmp_path).split()}
    assert "numba" in loaded
    outside = {"redis", "celery", "kombu", "sqlalchemy", "pydantic", "mysql", "asyncio"}
    clients = {"requests", "httpx", "aiohttp", "urllib3", "websockets", "ccxt", "eventlet"}
    assert not loaded & (outside | clients)
    project = {name for name in _python(code, tmp_path).split() if name.startswith("shared.")}
    assert all(name.split(".")[1] == "providence" for name in project)


def test_importing_compiles_nothing_and_the_first_call_fills_the_cache(tmp_path: Path) -> None:
    _python(IMPORT_ALL, tmp_path)
    assert not list(tmp_path.rglob("*.nbc"))
    call = IMPORT_ALL + "print(shared.providence.entropy.permutation_entropy([4, 7, 9, 10, 6], 3))"
    call = "import shared.providence.entropy\n" + call
    first = _python(call, tmp_path)
    compiled = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert compiled
    assert _python(call, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == compiled
