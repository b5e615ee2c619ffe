"""What ``config.yml`` says of a key beside it is what is checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from annotated_types import Ge, Gt, Le

from shared.config import Settings
from shared.config_faults import field_at

CONFIG = Path(__file__).parents[2] / "config.yml"
KEY = re.compile(r"( *)([a-z_0-9A-Z]+):")
PAIR = re.compile(r"(-?\d[\d,.e]*) to (-?\d[\d,.e]*\d|\d)")


def _described() -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Path, value and comment of each key that has a value; keys in a row share a comment."""
    text = CONFIG.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    path: list[str] = []
    comment = ""
    previous = ""
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("#"):
            comment = f"{comment} {words[2:]}" if previous.startswith("#") else words[2:]
        elif found := KEY.match(line):
            path = [*path[: len(found[1]) // 2], found[2]]
            value = content
            for part in path:
                value = value[part] if isinstance(value, dict) and part in value else None
            if value is not None and not isinstance(value, dict):
                yield tuple(path), value, comment
            if not line.startswith(" "):
                comment = ""
        previous = words


def _ends(path: tuple[str, ...], value: Any) -> tuple[float, float] | None:
    field = field_at(Settings, (*path, 0) if isinstance(value, list) else path)
    ends = {type(end): end for end in field.metadata} if field else {}
    low = ends[Ge].ge if Ge in ends else ends[Gt].gt if Gt in ends else None
    return (float(low), float(ends[Le].le)) if low is not None and Le in ends else None


def _pairs(comment: str) -> set[tuple[float, float]]:
    found = PAIR.findall(comment)
    return {(float(low.replace(",", "")), float(high.replace(",", ""))) for low, high in found}


def test_every_key_says_its_range() -> None:
    checked = [(".".join(path), _ends(path, v), _pairs(c)) for path, v, c in _described()]
    bounded = [(path, ends, said) for path, ends, said in checked if ends is not None]
    assert len(bounded) > 100
    assert [(path, ends, said) for path, ends, said in bounded if ends not in said] == []


def test_every_key_has_a_comment() -> None:
    assert [".".join(path) for path, _, comment in _described() if not comment] == []
