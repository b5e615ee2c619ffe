"""Leases in MariaDB: one holder at a time, judged by the database's clock.

A lease ends by itself when its holder stops renewing it. Each change of holder raises the
fence, and work that must not be done by a former holder checks owner and fence in its own
transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from shared.storage.tables import leases

_DATABASE_MS = func.unix_timestamp(text("SYSDATE(3)")) * 1000
_REQUIRE = (
    select(leases.c.fence)
    .where(
        leases.c.name == bindparam("of"),
        leases.c.owner == bindparam("holder"),
        leases.c.fence == bindparam("under"),
        leases.c.expires_ms > _DATABASE_MS,
    )
    .with_for_update(read=True)
)


@dataclass(frozen=True, slots=True)
class Lease:
    """Proof of a lease: who holds which name under which fence."""

    name: str
    owner: str
    fence: int


class LeaseLost(RuntimeError):
    """Someone else holds the lease now, or it has run out; the caller must stop working."""


class LeaseStore:
    """Leases over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def acquire(self, name: str, owner: str, ttl_ms: int) -> Lease | None:
        """Take the lease if it is free, run out, or already the owner's; None if it is held."""
        now_ms = self._now_ms()
        row = self._conn.execute(
            select(leases).where(leases.c.name == name).with_for_update()
        ).one_or_none()
        if row is None:
            return self._first(name, owner, now_ms + ttl_ms)
        if row.owner != owner and row.expires_ms > now_ms:
            return None
        fence = row.fence if row.owner == owner else row.fence + 1
        self._conn.execute(
            update(leases)
            .where(leases.c.name == name)
            .values(owner=owner, expires_ms=now_ms + ttl_ms, fence=fence)
        )
        return Lease(name, owner, fence)

    def renew(self, lease: Lease, ttl_ms: int) -> None:
        """Extend a lease that is still held; raises ``LeaseLost``."""
        changed = self._conn.execute(
            update(leases)
            .where(*_held(lease), leases.c.expires_ms > _DATABASE_MS)
            .values(expires_ms=_DATABASE_MS + ttl_ms)
        )
        if changed.rowcount != 1:
            raise LeaseLost(f"the lease {lease.name} is no longer held by {lease.owner}")

    def require(self, lease: Lease) -> None:
        """Raise ``LeaseLost`` unless held; it cannot change hands before this transaction ends."""
        holder = {"of": lease.name, "holder": lease.owner, "under": lease.fence}
        row = self._conn.execute(_REQUIRE, holder).one_or_none()
        if row is None:
            raise LeaseLost(f"the lease {lease.name} is no longer held by {lease.owner}")

    def release(self, lease: Lease) -> None:
        """End the lease now, so that the next holder need not wait."""
        self._conn.execute(update(leases).where(*_held(lease)).values(expires_ms=0))

    def _first(self, name: str, owner: str, expires_ms: int) -> Lease | None:
        try:
            self._conn.execute(
                insert(leases).values(name=name, owner=owner, expires_ms=expires_ms, fence=1)
            )
        except IntegrityError:
            return None
        return Lease(name, owner, 1)

    def _now_ms(self) -> int:
        """The database's time (UTC ms): two hosts need not agree on theirs."""
        return int(self._conn.execute(select(_DATABASE_MS)).scalar_one())


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        leases.c.name == lease.name,
        leases.c.owner == lease.owner,
        leases.c.fence == lease.fence,
    )
