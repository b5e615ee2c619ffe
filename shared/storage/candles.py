"""Candles in MariaDB: every bar in ``candles``, recent ones in memory in ``market_data``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, func, select
from sqlalchemy.dialects.mysql import insert

from shared.market_data.candle import TIMEFRAME_MS, Candle
from shared.storage.tables import candles, market_data

_COLUMNS = ("open", "high", "low", "close", "volume")


class CandleStore:
    """Both candle tables, within the caller's transaction.

    ``keep`` bars per symbol and time frame stay in the MEMORY table.
    """

    def __init__(self, conn: Connection, keep: int = 500) -> None:
        self._conn = conn
        self._keep = keep

    def save(self, symbol: str, timeframe: str, bars: Sequence[Candle]) -> None:
        """Insert bars, or correct those that are there already."""
        if not bars:
            return
        self._upsert(candles, symbol, timeframe, bars)
        self._upsert(market_data, symbol, timeframe, bars[-self._keep :])
        newest = max(bar.open_ms for bar in bars)
        horizon = newest - self._keep * TIMEFRAME_MS[timeframe]
        self._conn.execute(
            delete(market_data).where(
                market_data.c.symbol == symbol,
                market_data.c.timeframe == timeframe,
                market_data.c.open_ms <= horizon,
            )
        )

    def newest_open(self, symbol: str, timeframe: str) -> int | None:
        """Open time of the newest stored bar."""
        statement = select(func.max(candles.c.open_ms)).where(
            candles.c.symbol == symbol, candles.c.timeframe == timeframe
        )
        return cast("int | None", self._conn.execute(statement).scalar_one())

    def oldest_open(self, symbol: str, timeframe: str, from_ms: int) -> int | None:
        """Open time of the oldest stored bar at or after ``from_ms``."""
        statement = select(func.min(candles.c.open_ms)).where(
            candles.c.symbol == symbol,
            candles.c.timeframe == timeframe,
            candles.c.open_ms >= from_ms,
        )
        return cast("int | None", self._conn.execute(statement).scalar_one())

    def bars(self, symbol: str, timeframe: str, from_ms: int, to_ms: int) -> list[Candle]:
        """Stored bars whose open lies in [``from_ms``, ``to_ms``], oldest first."""
        return self._select(candles, symbol, timeframe, from_ms, to_ms)

    def recent(self, symbol: str, timeframe: str, from_ms: int, to_ms: int) -> list[Candle]:
        """The same from memory: empty after a database restart until it is refilled."""
        return self._select(market_data, symbol, timeframe, from_ms, to_ms)

    def gaps(self, symbol: str, timeframe: str, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        """Missing bars of [``from_ms``, ``to_ms``] as ranges of open times, ends included."""
        step = TIMEFRAME_MS[timeframe]
        first, last = -(-from_ms // step) * step, to_ms // step * step
        statement = select(candles.c.open_ms).where(
            candles.c.symbol == symbol,
            candles.c.timeframe == timeframe,
            candles.c.open_ms.between(first, last),
        )
        known = {row.open_ms for row in self._conn.execute(statement)}
        ranges: list[tuple[int, int]] = []
        for open_ms in range(first, last + 1, step):
            if open_ms in known:
                continue
            if ranges and ranges[-1][1] == open_ms - step:
                ranges[-1] = (ranges[-1][0], open_ms)
            else:
                ranges.append((open_ms, open_ms))
        return ranges

    def refill_memory(self, symbol: str, timeframe: str) -> int:
        """Copy recent bars back to memory if it holds none of them; returns how many."""
        newest = self.newest_open(symbol, timeframe)
        if newest is None:
            return 0
        held = select(func.count()).where(
            market_data.c.symbol == symbol, market_data.c.timeframe == timeframe
        )
        if self._conn.execute(held).scalar_one():
            return 0
        from_ms = newest - (self._keep - 1) * TIMEFRAME_MS[timeframe]
        bars = self.bars(symbol, timeframe, from_ms, newest)
        self._upsert(market_data, symbol, timeframe, bars)
        return len(bars)

    def _upsert(self, table: Table, symbol: str, timeframe: str, bars: Sequence[Candle]) -> None:
        rows: list[dict[str, Any]] = [
            {
                "symbol": symbol,
                "timeframe": timeframe,
                "open_ms": bar.open_ms,
                **{name: getattr(bar, name) for name in _COLUMNS},
            }
            for bar in bars
        ]
        if rows:
            statement = insert(table).values(rows)
            update = {name: statement.inserted[name] for name in _COLUMNS}
            self._conn.execute(statement.on_duplicate_key_update(**update))

    def _select(
        self, table: Table, symbol: str, timeframe: str, from_ms: int, to_ms: int
    ) -> list[Candle]:
        statement = (
            select(table)
            .where(
                table.c.symbol == symbol,
                table.c.timeframe == timeframe,
                table.c.open_ms.between(from_ms, to_ms),
            )
            .order_by(table.c.open_ms)
        )
        return [
            Candle(row.open_ms, row.open, row.high, row.low, row.close, row.volume)
            for row in self._conn.execute(statement)
        ]
