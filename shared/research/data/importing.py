"""Files of candles, ticks or funding into the archive.

What is wrong with a file is refused with its row, or repaired on request, as a backtest does. A
day is written as a whole or not at all, and a day that has all of its rows already is passed over:
an import that was killed is simply started again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shared.market_data.archive import FUNDING, PRICES, Archive
from shared.market_data.candle import TIMEFRAME_MS
from shared.research.data.days import by_day, merge
from shared.research.errors import DataFileError
from shared.research.funding_files import is_funding, load_funding
from shared.research.price_files import CANDLE_COLUMNS, Repairs, load_candles, load_prices
from shared.research.tables import columns_of

IMPORTED = "import"

Progress = Callable[[str], None]
"""Told after each day what was done, such as ``candles_1m BTC 2025-05-04``."""


@dataclass(slots=True)
class Imported:
    """One file: where its rows went, first and last time, and what was repaired."""

    path: Path
    dataset: str
    symbol: str
    from_ms: int
    to_ms: int
    rows: int
    repairs: Repairs = field(default_factory=Repairs)
    days_written: int = 0
    days_there: int = 0


def read_file(symbol: str, path: Path, *, repair: bool = False) -> tuple[Imported, Any]:
    """The file as rows of a dataset, sorted by time.

    Raises
    ------
    DataFileError
        As :func:`shared.research.price_files.load_prices` and ``load_funding``, and for candles of
        a length that the archive does not keep.
    """
    if is_funding(path):
        return _funding(symbol, path)
    if set(CANDLE_COLUMNS) <= set(columns_of(path)):
        return _candles(symbol, path, repair)
    return _ticks(symbol, path, repair)


def import_rows(
    archive: Archive,
    imported: Imported,
    table: Any,
    progress: Progress,
    *,
    replace: bool = False,
) -> None:
    """Write the rows day by day; counts go into ``imported``.

    Raises
    ------
    ResearchError
        If the archive has something else at the same time, unless ``replace``.
    """
    dataset, symbol = imported.dataset, imported.symbol
    for day, rows in by_day(dataset, table):
        if merge(archive, dataset, symbol, day, rows, replace=replace):
            imported.days_written += 1
        else:
            imported.days_there += 1
        progress(f"{dataset} {symbol} {day}")


def _candles(symbol: str, path: Path, repair: bool) -> tuple[Imported, Any]:
    rows = load_candles(path, repair=repair)
    timeframe = next((n for n, ms in TIMEFRAME_MS.items() if ms == rows.spacing_ms), None)
    if timeframe is None:
        raise DataFileError(
            path,
            f"candles are {rows.spacing_ms / 1000:g} s long; the archive keeps "
            f"{', '.join(TIMEFRAME_MS)}",
        )
    off = np.flatnonzero(rows.open_ms % rows.spacing_ms)
    if len(off):
        raise DataFileError(
            path,
            f"a candle opens at {rows.open_ms[off[0]]}; allowed are multiples of {timeframe}, as "
            "the venue's are",
        )
    names = ("open", "high", "low", "close", "volume")
    table = pa.table(
        {
            "symbol": pa.array([symbol] * len(rows.open_ms)),
            "open_ms": rows.open_ms,
            **{name: rows.values[:, k] for k, name in enumerate(names)},
        }
    )
    times = rows.open_ms
    imported = Imported(
        path,
        f"candles_{timeframe}",
        symbol,
        int(times[0]),
        int(times[-1]),
        len(times),
        rows.repairs,
    )
    return imported, table


def _ticks(symbol: str, path: Path, repair: bool) -> tuple[Imported, Any]:
    points = load_prices(symbol, path, repair=repair)
    times = points.known_ms
    # rows of one ms are told apart by their number within it
    first = np.flatnonzero(np.diff(times, prepend=times[0] - 1))
    number = np.arange(len(times)) - np.repeat(first, np.diff(np.append(first, len(times))))
    table = pa.table(
        {
            "symbol": pa.array([symbol] * len(times)),
            "received_ms": times,
            "venue_ms": times,
            "mid": points.price,
            "mark": points.price,
            "source": pa.array([IMPORTED] * len(times)),
            "entry_ms": times,
            "entry_seq": number,
        }
    )
    imported = Imported(
        path, PRICES, symbol, int(times[0]), int(times[-1]), len(times), points.repairs
    )
    return imported, table


def _funding(symbol: str, path: Path) -> tuple[Imported, Any]:
    rates = load_funding(symbol, path)
    unknown = np.full(len(rates.rate), np.nan)
    table = pa.table(
        {
            "symbol": pa.array([symbol] * len(rates.rate)),
            "time_ms": rates.time_ms,
            "rate": rates.rate,
            "oracle_price": unknown,
            "index_usd": unknown,
        }
    )
    times = rates.time_ms
    return Imported(path, FUNDING, symbol, int(times[0]), int(times[-1]), len(times)), table
