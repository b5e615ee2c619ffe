"""The attribution tables: events of the account, a book per symbol, results of ended runs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from sqlalchemy import Connection, and_, exists, func, insert, select
from sqlalchemy.dialects.mysql import insert as upsert

from shared.orders.attribution import SHARE_DTYPE, Book, Shares, Split, empty_book
from shared.orders.fill_order import FillStep, in_order
from shared.storage.tables import attribution as events
from shared.storage.tables import attribution_books as books
from shared.storage.tables import attribution_runs as ended
from shared.storage.tables import order_fills

Kind = Literal["fill", "funding", "transfer"]
ROWS_PER_INSERT = 1_000
LATE_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Event:
    """One change of the account's cash. ``ref`` tells events of one millisecond apart."""

    kind: Kind
    time_ms: int
    ref: int
    symbol: str
    account_usd: Decimal
    size: Decimal = Decimal(0)
    price: Decimal = Decimal(0)
    intent_id: str | None = None


@dataclass(frozen=True, slots=True)
class PendingFill:
    """A stored fill that is not attributed yet; ``size`` is signed."""

    event: Event
    fee: Decimal
    start_position: Decimal


class AttributionStore:
    """The three tables over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def pending_fills(self, limit: int) -> list[PendingFill]:
        """Fills that are stored and not attributed, in the order in which they happened.

        About ``limit`` of them, never a part of those of one millisecond. A fill that becomes known
        more than ``LATE_MS`` after a later one was attributed stays out.
        """
        f = order_fills
        done = exists().where(
            events.c.kind == "fill",
            events.c.time_ms == f.c.time_ms,
            events.c.ref == f.c.tid,
            events.c.symbol == f.c.coin,
        )
        pending = (f.c.time_ms >= self.cursor_ms("fill") - LATE_MS, ~done)
        last = select(f.c.time_ms).where(*pending).order_by(f.c.time_ms).offset(limit - 1).limit(1)
        until_ms = self._conn.execute(last).scalar_one_or_none()
        query = select(f).where(*pending).order_by(f.c.time_ms, f.c.tid)
        if until_ms is not None:
            query = query.where(f.c.time_ms <= until_ms)
        return in_order([_pending(row) for row in self._conn.execute(query)], _step)

    def price_after(self, event: Event) -> Decimal | None:
        """Price of the symbol's first attributed fill later than ``event``; None without one."""
        later = (
            select(events.c.time_ms)
            .where(
                events.c.kind == "fill",
                events.c.symbol == event.symbol,
                events.c.time_ms > event.time_ms,
            )
            .order_by(events.c.time_ms)
            .limit(1)
        )
        f = order_fills
        query = (
            select(f)
            .where(f.c.coin == event.symbol, f.c.time_ms == later.scalar_subquery())
            .order_by(f.c.tid)
        )
        together = in_order([_pending(row) for row in self._conn.execute(query)], _step)
        return together[0].event.price if together else None

    def cursor_ms(self, kind: Kind) -> int:
        """Time of the newest attributed event of a kind; 0 before the first."""
        newest = select(func.coalesce(func.max(events.c.time_ms), 0)).where(events.c.kind == kind)
        return int(self._conn.execute(newest).scalar_one())

    def is_known(self, event: Event) -> bool:
        """Whether the event is attributed already."""
        query = select(events.c.ref).where(
            and_(
                events.c.kind == event.kind,
                events.c.time_ms == event.time_ms,
                events.c.ref == event.ref,
                events.c.symbol == event.symbol,
            )
        )
        return self._conn.execute(query).first() is not None

    def book(self, symbol: str, *, lock: bool = False) -> Book:
        """A symbol's book; ``lock`` keeps others from changing it until the transaction ends."""
        if lock:  # there has to be a row to lock
            blank = upsert(books).values(symbol=symbol, shares=pack(empty_book()), updated_ms=0)
            self._conn.execute(blank.on_duplicate_key_update(symbol=symbol))
        query = select(books.c.shares).where(books.c.symbol == symbol)
        blob = self._conn.execute(query.with_for_update() if lock else query).scalar_one_or_none()
        return empty_book() if blob is None else unpack(bytes(blob))

    def books(self) -> dict[str, Book]:
        """All books by symbol."""
        return {
            row.symbol: unpack(bytes(row.shares))
            for row in self._conn.execute(select(books.c.symbol, books.c.shares))
        }

    def save_book(self, symbol: str, book: Book, now_ms: int) -> None:
        """Replace a book that is locked."""
        self._conn.execute(
            books.update()
            .where(books.c.symbol == symbol)
            .values(shares=pack(book), updated_ms=now_ms)
        )

    def add(self, event: Event, split: Split, now_ms: int) -> None:
        """Record an event; the database refuses it a second time (``IntegrityError``)."""
        self._conn.execute(
            insert(events).values(
                kind=event.kind,
                time_ms=event.time_ms,
                ref=event.ref,
                symbol=event.symbol,
                intent_id=event.intent_id,
                size=event.size,
                price=event.price,
                account_usd=event.account_usd,
                runs_usd=split.runs_usd,
                house_usd=split.house_usd,
                runs=split.runs,
                created_ms=now_ms,
            )
        )

    def retire(self, symbol: str, gone: Shares) -> None:
        """Keep what runs that left the book have made; they hold nothing any more."""
        rows = [
            {
                "run_id": int(row["run_id"]),
                "symbol": symbol,
                "pnl_usd": float(row["cash"]),
                "fees_usd": float(row["fees"]),
                "funding_usd": float(row["funding"]),
                "fills": int(row["fills"]),
            }
            for row in gone
            if row["fills"]
        ]
        for start in range(0, len(rows), ROWS_PER_INSERT):
            statement = upsert(ended).values(rows[start : start + ROWS_PER_INSERT])
            sums = ("pnl_usd", "fees_usd", "funding_usd", "fills")
            self._conn.execute(
                statement.on_duplicate_key_update(
                    {name: ended.c[name] + statement.inserted[name] for name in sums}
                )
            )

    def ended_usd(self) -> dict[str, float]:
        """What ended runs have made together, by symbol."""
        query = select(ended.c.symbol, func.sum(ended.c.pnl_usd)).group_by(ended.c.symbol)
        return {symbol: float(usd) for symbol, usd in self._conn.execute(query)}

    def transfers(self, since_ms: int) -> list[tuple[int, Decimal]]:
        """Deposits and withdrawals (time, USD) after ``since_ms``, oldest first."""
        query = (
            select(events.c.time_ms, events.c.account_usd)
            .where(events.c.kind == "transfer", events.c.time_ms > since_ms)
            .order_by(events.c.time_ms)
        )
        return [(int(row.time_ms), row.account_usd) for row in self._conn.execute(query)]


def pack(book: Book) -> bytes:
    """A book as the database holds it."""
    return zlib.compress(np.ascontiguousarray(book.shares).tobytes(), 1)


def unpack(blob: bytes) -> Book:
    """The book that ``pack`` wrote."""
    return Book(np.frombuffer(zlib.decompress(blob), dtype=SHARE_DTYPE).copy())


def signed_ref(index: int, entries: Sequence[Any]) -> int:
    """Number of an entry among those before it of the same millisecond."""
    return sum(1 for other in entries[:index] if other.time_ms == entries[index].time_ms)


def _step(pending: PendingFill) -> FillStep:
    event = pending.event
    return FillStep(event.symbol, event.time_ms, pending.start_position, event.size)


def _pending(row: Any) -> PendingFill:
    signed = row.size if row.side == "buy" else -row.size
    event = Event(
        "fill",
        int(row.time_ms),
        int(row.tid),
        row.coin,
        account_usd=-signed * row.price - row.fee_usd,
        size=signed,
        price=row.price,
        intent_id=row.intent_id,
    )
    return PendingFill(event, row.fee_usd, row.start_position)
