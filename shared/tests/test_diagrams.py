"""Diagrams name what there is, and their pictures are as new as their sources."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ARCH = ROOT / "docs" / "arch"
SOURCES = sorted(ARCH.glob("*.puml"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SHAPE = re.compile(r'^\s*(Container|Signer|Store|Component|Pure)\(\w+, "([^"]+)"', re.MULTILINE)
MODULES = {
    "level-3-providence": ("shared/providence", "celery-services/worker"),
    "level-3-reconciliation-service": ("shared/reconciliation", "celery-services/worker"),
    "level-3-order-gateway": ("components/src/order_gateway",),
    "level-3-price-streaming": ("shared/market_data", "components/src"),
}
NOT_SERVICES = {"secrets of each container"}


def _shapes(source: Path, *kinds: str) -> set[str]:
    found = SHAPE.findall(source.read_text(encoding="utf-8"))
    return {name for kind, name in found if kind in kinds}


@pytest.mark.parametrize("diagram", ["level-2-container", "deployment"])
def test_every_container_is_on_the_diagram_and_no_other(diagram: str) -> None:
    drawn = _shapes(ARCH / f"{diagram}.puml", "Container", "Signer", "Store") - NOT_SERVICES
    assert drawn == set(COMPOSE["services"])


@pytest.mark.parametrize("diagram", MODULES)
def test_every_component_is_a_module(diagram: str) -> None:
    """A component is called after one module or several: ``services/why, why_report``."""
    for shape in _shapes(ARCH / f"{diagram}.puml", "Component", "Pure"):
        folder, _, names = shape.rpartition("/")
        for name in names.split(", "):
            places = [ROOT / place / folder / name for place in MODULES[diagram]]
            assert any(place.with_suffix(".py").exists() for place in places), f"{shape}: {name}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_picture_is_as_new_as_its_source(source: Path) -> None:
    """``make render-diagrams`` writes the hash of the sources into each picture."""
    made_from = (ARCH / "c4.iuml").read_bytes() + source.read_bytes()
    picture = source.with_suffix(".svg").read_text(encoding="utf-8")
    assert f"made from sha256 {hashlib.sha256(made_from).hexdigest()}" in picture


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_fetched_and_no_value_of_the_configuration_is_drawn(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert re.findall(r"!include\w* (.+)", text) == ["c4.iuml"]
    assert re.findall(r"https?://|:\d{2,}|\b\d+(?:\.\d+)? ?(?:s|ms|%|USD)\b", text) == []
