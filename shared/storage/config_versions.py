"""The ``config_versions`` table: what a step depended on, by version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from shared.storage.tables import config_versions as t


def content(conn: Connection, version: str) -> Mapping[str, Any]:
    """The stored content; ``LookupError`` for a version that was never stored."""
    row = conn.execute(select(t.c.content).where(t.c.version == version)).one_or_none()
    if row is None:
        raise LookupError(f"configuration version {version!r} is not stored")
    found: Mapping[str, Any] = row.content
    return found
