"""What the project's documents contain that can be wrong: links, headings, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^ *```([a-z]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_PROMPTED = ("sh", "bash", "shell")
_ENDS = {"&&", "||", "|", ";", ">", "2>", "\\"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z_0-9]*=")


@dataclass(frozen=True, slots=True)
class Command:
    """One command as a document shows it: leading assignments, then its words."""

    assignments: tuple[str, ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def anchors(document: Path) -> set[str]:
    """Fragments by which the headings of a document are linked to, as GitHub makes them."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return {slug(heading) for heading in _HEADING.findall(text)}


def slug(heading: str) -> str:
    """``Lost Redis`` is linked to as ``lost-redis``."""
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.strip().replace(" ", "-")


def shell_blocks(document: Path) -> list[str]:
    """The fenced blocks of shell, as they stand."""
    text = document.read_text(encoding="utf-8")
    return [body for language, body in _FENCE.findall(text) if language in _PROMPTED]


def commands(document: Path) -> Iterator[Command]:
    """Every command in a document's shell blocks and inline code; a pipeline gives several."""
    text = document.read_text(encoding="utf-8")
    lines = [line for block in shell_blocks(document) for line in _joined(block).splitlines()]
    lines += _INLINE.findall(_FENCE.sub("", text))
    for line in lines:
        yield from _commands_of(line)


def _joined(block: str) -> str:
    return re.sub(r"\\\n\s*", " ", block)


def _commands_of(line: str) -> Iterator[Command]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose in code type, such as `don't`
        return
    current: list[str] = []
    for word in [*words, ";"]:
        if word not in _ENDS:
            current.append(word)
            continue
        if current:
            count = next(
                (i for i, w in enumerate(current) if not _ASSIGNMENT.match(w)), len(current)
            )
            if current[count:]:
                yield Command(tuple(current[:count]), tuple(current[count:]))
        current = []
