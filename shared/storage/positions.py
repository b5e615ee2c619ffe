"""What each voter last read of the account: one complete snapshot per voter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.mysql import insert

from shared.exchange.payloads import AccountSnapshot
from shared.storage.tables import position_snapshots, positions

FUTURE_TOLERANCE_MS = 60_000
"""A stored venue time further ahead of a new reading than this came from a broken clock."""


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A complete reading as stored, times UTC ms.

    ``positions`` are signed sizes in coins by symbol, ``marks`` the prices (USD) at which the venue
    valued them.
    """

    voter: str
    venue_ms: int
    read_ms: int
    dexes: frozenset[str]
    positions: Mapping[str, Decimal]
    marks: Mapping[str, Decimal]


class PositionStore:
    """Snapshots over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def replace(
        self, voter: str, account: AccountSnapshot, dexes: Sequence[str], read_ms: int
    ) -> bool:
        """Make ``account``, a complete reading of all ``dexes``, the voter's snapshot.

        False, and nothing written, where the stored one is as new or newer by venue time: of two
        readings made at the same time the later one stays, whichever is stored first.
        """
        if not self._advance(voter, account.venue_ms, dexes, read_ms):
            return False
        self._conn.execute(delete(positions).where(positions.c.voter == voter))
        if account.positions:
            self._conn.execute(
                insert(positions),
                [
                    {
                        "voter": voter,
                        "symbol": held.symbol,
                        "size": held.size,
                        "entry_price": held.entry_price,
                        "unrealised_usd": held.unrealised,
                        "margin_used_usd": held.margin_used,
                        "venue_ms": account.venue_ms,
                        "read_ms": read_ms,
                    }
                    for held in account.positions.values()
                ],
            )
        return True

    def snapshot(self, voter: str) -> StoredSnapshot | None:
        """The voter's last complete snapshot; None if it never made one.

        Header and positions are read in one statement, so that both are of the same reading.
        """
        header, held = position_snapshots, positions.c
        rows = self._conn.execute(
            select(header, held.symbol, held.size, held.entry_price, held.unrealised_usd)
            .join(positions, positions.c.voter == header.c.voter, isouter=True)
            .where(header.c.voter == voter, header.c.complete.is_(True))
        ).all()
        if not rows:
            return None
        return StoredSnapshot(
            voter=voter,
            venue_ms=int(rows[0].venue_ms),
            read_ms=int(rows[0].read_ms),
            dexes=frozenset(rows[0].dexes),
            positions={row.symbol: row.size for row in rows if row.symbol is not None},
            marks={
                row.symbol: row.entry_price + row.unrealised_usd / row.size
                for row in rows
                if row.symbol is not None
            },
        )

    def _advance(self, voter: str, venue_ms: int, dexes: Sequence[str], read_ms: int) -> bool:
        header = position_snapshots
        first = insert(header).values(
            voter=voter, venue_ms=0, read_ms=0, complete=False, dexes=list(dexes)
        )
        self._conn.execute(first.on_duplicate_key_update(voter=voter))
        stored_ms = self._conn.execute(
            select(header.c.venue_ms).where(header.c.voter == voter).with_for_update()
        ).scalar_one()
        if venue_ms <= stored_ms <= read_ms + FUTURE_TOLERANCE_MS:
            return False
        self._conn.execute(
            update(header)
            .where(header.c.voter == voter)
            .values(venue_ms=venue_ms, read_ms=read_ms, complete=True, dexes=list(dexes))
        )
        return True
