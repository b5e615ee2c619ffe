"""Days of candles, funding and fills in MariaDB, as the recorder copies them into the archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, Connection, Table, func, select

from shared.market_data.archive import DAY_MS, FILLS, FUNDING, SCHEMAS, day_of, start_of
from shared.storage.tables import candles, funding_rates, order_fills


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a dataset comes from: rows of ``table`` with ``where`` equal to these values."""

    table: Table
    symbol: Column[Any]
    time: Column[Any]
    timeframe: str | None = None


def _source(dataset: str) -> _Source:
    if dataset == FUNDING:
        return _Source(funding_rates, funding_rates.c.symbol, funding_rates.c.time_ms)
    if dataset == FILLS:
        return _Source(order_fills, order_fills.c.coin, order_fills.c.time_ms)
    timeframe = dataset.removeprefix("candles_")
    return _Source(candles, candles.c.symbol, candles.c.open_ms, timeframe)


class ArchiveDays:
    """What MariaDB holds of a dataset, by symbol and UTC day, in the caller's transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def counts(self, dataset: str, from_ms: int) -> Mapping[tuple[str, date], int]:
        """Rows of every symbol and day since ``from_ms`` (the start of a day)."""
        source = _source(dataset)
        day = source.time.op("DIV")(DAY_MS).label("day")
        statement = (
            select(source.symbol.label("symbol"), day, func.count().label("rows"))
            .where(source.time >= from_ms, *_timeframe(source))
            .group_by(source.symbol, day)
        )
        return {
            (row.symbol, day_of(int(row.day) * DAY_MS)): int(row.rows)
            for row in self._conn.execute(statement)
        }

    def day(self, dataset: str, symbol: str, day: date) -> Any:
        """The rows of one symbol and day as an Arrow table with the dataset's columns."""
        source = _source(dataset)
        schema = SCHEMAS[dataset]
        columns = [
            source.symbol if name == "symbol" else source.table.c[name] for name in schema.names
        ]
        first = start_of(day)
        statement = (
            select(*columns)
            .where(
                source.symbol == symbol,
                source.time.between(first, first + DAY_MS - 1),
                *_timeframe(source),
            )
            .order_by(source.time)
        )
        rows = [tuple(row) for row in self._conn.execute(statement)]
        series = zip(*rows, strict=True) if rows else ([] for _ in columns)
        arrays = [
            pa.array(values, type=field.type) for values, field in zip(series, schema, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=schema)


def _timeframe(source: _Source) -> list[Any]:
    return [] if source.timeframe is None else [candles.c.timeframe == source.timeframe]
