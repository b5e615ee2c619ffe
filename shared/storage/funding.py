"""Hourly funding rates and their cumulative index, in MariaDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from shared.storage.tables import funding_rates


@dataclass(frozen=True, slots=True)
class FundingPoint:
    """One hour's funding: ``rate`` × ``oracle_price`` is what one unit held long paid.

    ``index_usd`` is what such a unit has received in all since the symbol's first point.
    """

    symbol: str
    time_ms: int
    rate: float
    oracle_price: float
    index_usd: float


class FundingStore:
    """The ``funding_rates`` table, within the caller's transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def append(self, points: Sequence[FundingPoint]) -> None:
        """Add points; one that is there already is an ``IntegrityError``."""
        if points:
            rows = [
                {
                    "symbol": point.symbol,
                    "time_ms": point.time_ms,
                    "rate": point.rate,
                    "oracle_price": point.oracle_price,
                    "index_usd": point.index_usd,
                }
                for point in points
            ]
            self._conn.execute(insert(funding_rates), rows)

    def latest(self, until_ms: int) -> Mapping[str, FundingPoint]:
        """The newest point of every symbol at or before ``until_ms``."""
        newest = (
            select(funding_rates.c.symbol, func.max(funding_rates.c.time_ms).label("time_ms"))
            .where(funding_rates.c.time_ms <= until_ms)
            .group_by(funding_rates.c.symbol)
            .subquery()
        )
        statement = select(funding_rates).join(
            newest,
            (funding_rates.c.symbol == newest.c.symbol)
            & (funding_rates.c.time_ms == newest.c.time_ms),
        )
        return {
            row.symbol: FundingPoint(
                row.symbol, row.time_ms, row.rate, row.oracle_price, row.index_usd
            )
            for row in self._conn.execute(statement)
        }
