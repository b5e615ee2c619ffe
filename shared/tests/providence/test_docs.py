"""Worked examples of the page and of docstrings are executed; the figure is current."""

from __future__ import annotations

import doctest
import importlib
import runpy
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parents[3] / "docs"


def test_worked_examples_of_the_page() -> None:
    result = doctest.testfile(str(DOCS / "providence.md"), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


@pytest.mark.parametrize("name", ["entropy", "ledger", "signals"])
def test_examples_of_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"shared.providence.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_figure_is_what_the_script_draws() -> None:
    drawn = runpy.run_path(str(DOCS / "img" / "providence_figure.py"))["draw"]()
    kept = (DOCS / "img" / "providence.svg").read_text(encoding="utf-8")
    assert drawn == kept, "run: python docs/img/providence_figure.py"
    curves = ET.fromstring(kept).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(curves) == 3
    assert all(len(curve.attrib["points"].split()) > 1_000 for curve in curves)
