"""A choice of parameters as a diff of ``config.yml``: read it, then apply it, or do not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import yaml


def changed_text(text: str, values: Mapping[str, Any]) -> str:
    """``config.yml`` with ``values`` (by dotted path) in their places; comments and order stay.

    Raises
    ------
    KeyError
        If the file does not name one of the paths.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    places = []
    for path, value in values.items():
        node = _node(root, path)
        start, end = node.start_mark.index, node.end_mark.index
        end = start + len(text[start:end].rstrip())
        places.append((start, end, _flow(value)))
    for start, end, shown in sorted(places, reverse=True):
        text = text[:start] + shown + text[end:]
    return text


def config_diff(text: str, values: Mapping[str, Any]) -> str:
    """Unified diff that ``git apply`` and ``patch -p1`` take; empty if nothing changes.

    A key whose value is that of the file already is left as it is written there.
    """
    present = yaml.safe_load(text)
    news = {path: value for path, value in values.items() if _at(present, path) != value}
    lines = difflib.unified_diff(
        text.splitlines(keepends=True),
        changed_text(text, news).splitlines(keepends=True),
        "a/config.yml",
        "b/config.yml",
    )
    return "".join(lines)


def _node(root: yaml.Node | None, path: str) -> yaml.Node:
    node = root
    for key in path.split("."):
        if isinstance(node, yaml.MappingNode):
            node = next((v for k, v in node.value if k.value == key), None)
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
        else:
            node = None
        if node is None:
            raise KeyError(f"config.yml does not name {path}")
    if node is None:
        raise KeyError("config.yml is empty")
    return node


def _at(content: Any, path: str) -> Any:
    for key in path.split("."):
        content = content[int(key) if isinstance(content, list) else key]
    return content


def _flow(value: Any) -> str:
    shown = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True
    )
    return str(shown).removesuffix("...\n").strip()
