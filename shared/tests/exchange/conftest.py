"""Recorded data and protocol vectors that live beside the repository, where they are present."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shared.native_servers import PROJECT_ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of recorded data (``T3_DATA_DIR``, else ``../shared/data``)."""
    folder = Path(os.environ.get("T3_DATA_DIR", PROJECT_ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}; set T3_DATA_DIR")
    return folder


@pytest.fixture(scope="session")
def vectors(data_dir: Path) -> dict[str, Any]:
    """Protocol vectors of HyperLiquid, beside the folder of recorded data."""
    file = data_dir.parent / "hyperliquid_vectors.json"
    if not file.is_file():
        pytest.skip(f"no protocol vectors at {file}")
    content: dict[str, Any] = json.loads(file.read_text())
    return content
