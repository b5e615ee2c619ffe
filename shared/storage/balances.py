"""The account's value over time; only complete readings are stored."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select

from shared.exchange.payloads import AccountSnapshot
from shared.risk.day_start import ValueReading
from shared.storage.tables import balance_history


@dataclass(frozen=True, slots=True)
class Balance:
    """The account over all configured dexes, in USD; times UTC ms.

    ``account_value`` includes unrealised profit; ``venue_ms`` is the venue's time of the
    oldest part.
    """

    account_value: Decimal
    withdrawable: Decimal
    margin_used: Decimal
    total_notional: Decimal
    venue_ms: int
    read_ms: int

    @classmethod
    def of(cls, account: AccountSnapshot, read_ms: int) -> Balance:
        """The amounts of a complete reading."""
        return cls(
            account_value=account.account_value,
            withdrawable=account.withdrawable,
            margin_used=account.margin_used,
            total_notional=account.total_notional,
            venue_ms=account.venue_ms,
            read_ms=read_ms,
        )


class BalanceStore:
    """``balance_history`` over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def add(self, balance: Balance) -> None:
        """Append one complete reading."""
        self._conn.execute(
            insert(balance_history).values(
                account_value=balance.account_value,
                withdrawable=balance.withdrawable,
                margin_used=balance.margin_used,
                total_notional=balance.total_notional,
                venue_ms=balance.venue_ms,
                read_ms=balance.read_ms,
            )
        )

    def latest(self) -> Balance | None:
        """The last stored reading; None before the first."""
        row = self._conn.execute(
            select(balance_history).order_by(balance_history.c.id.desc()).limit(1)
        ).one_or_none()
        return None if row is None else _balance(row)

    def first_ms(self) -> int | None:
        """Venue time of the oldest stored reading; None before the first."""
        oldest = select(func.min(balance_history.c.venue_ms))
        return self._conn.execute(oldest).scalar_one_or_none()

    def value_before(self, venue_ms: int) -> ValueReading | None:
        """The last stored value that is older than a venue time."""
        time = balance_history.c.venue_ms
        return self._value(time < venue_ms, time.desc(), balance_history.c.id.desc())

    def value_from(self, venue_ms: int) -> ValueReading | None:
        """The first stored value from a venue time on."""
        time = balance_history.c.venue_ms
        return self._value(time >= venue_ms, time, balance_history.c.id)

    def _value(
        self, within: ColumnElement[bool], *order: ColumnElement[Any]
    ) -> ValueReading | None:
        columns = select(balance_history.c.venue_ms, balance_history.c.account_value)
        row = self._conn.execute(columns.where(within).order_by(*order).limit(1)).one_or_none()
        return None if row is None else ValueReading(int(row.venue_ms), row.account_value)

    def since(self, venue_ms: int, limit: int = 10_000) -> list[Balance]:
        """Readings from a venue time on, oldest first."""
        rows = self._conn.execute(
            select(balance_history)
            .where(balance_history.c.venue_ms >= venue_ms)
            .order_by(balance_history.c.venue_ms, balance_history.c.id)
            .limit(limit)
        )
        return [_balance(row) for row in rows]

    def sampled(
        self, since_ms: int, sample_ms: int, until_ms: int | None = None
    ) -> list[tuple[int, float]]:
        """(venue time, account value) of the last reading in each ``sample_ms``, oldest first."""
        b = balance_history.c
        within = b.venue_ms >= since_ms
        if until_ms is not None:
            within &= b.venue_ms < until_ms
        newest = select(func.max(b.id)).where(within).group_by(func.floor(b.venue_ms / sample_ms))
        rows = self._conn.execute(
            select(b.venue_ms, b.account_value).where(b.id.in_(newest)).order_by(b.venue_ms)
        )
        return [(int(row.venue_ms), float(row.account_value)) for row in rows]


def _balance(row: Row[Any]) -> Balance:
    return Balance(
        account_value=row.account_value,
        withdrawable=row.withdrawable,
        margin_used=row.margin_used,
        total_notional=row.total_notional,
        venue_ms=int(row.venue_ms),
        read_ms=int(row.read_ms),
    )
