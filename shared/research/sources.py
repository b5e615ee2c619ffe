"""Where the prices of a backtest come from, and the one way to name it.

=========================  =====================================================================
``BTC_1m.csv.gz``          a file; ``SYMBOL=file`` where its name does not hold the symbol
``downloads/``             every file of a folder
``data/archive``           the recorder's archive: one-minute candles, or ticks if it has none
``data/archive:prices``    another dataset of it: ``prices``, ``candles_5m``, …
``mariadb:candles_1m``     candles that the platform has stored
``mariadb:ticks``          what the population saw: the samples of every tick
=========================  =====================================================================

Archive and MariaDB bring their funding with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from shared.config import Settings, load_secrets
from shared.database import make_engine
from shared.market_data.archive import DAY_MS, FUNDING, PRICES, Archive, start_of
from shared.market_data.candle import TIMEFRAME_MS
from shared.market_data.tick_inputs import TickInputStore, TickWindow
from shared.research.errors import ResearchError
from shared.research.funding_files import FundingRates, is_funding, load_funding
from shared.research.markets import MarketSpec, find_files
from shared.research.price_files import CANDLE_COLUMNS, PricePoints, check_prices, load_prices
from shared.research.stored_series import StoredSeries
from shared.research.tables import Batch
from shared.storage.products import ProductStore
from shared.storage.tables import candles, funding_rates

MARIADB: Final = "mariadb"
TICKS: Final = "ticks"
DEFAULT_DATASET: Final = "candles_1m"
_CANDLES: Final = tuple(f"candles_{timeframe}" for timeframe in TIMEFRAME_MS)


@dataclass(slots=True)
class Gathered:
    """Prices and funding by symbol, or the samples of MariaDB with their markets."""

    prices: dict[str, list[PricePoints]] = field(default_factory=dict)
    funding: dict[str, FundingRates] = field(default_factory=dict)
    stored: StoredSeries | None = None
    markets: dict[str, MarketSpec] = field(default_factory=dict)
    """Of symbols whose terms the source knows."""

    def add_prices(self, points: PricePoints) -> None:
        """One more series of its symbol."""
        self.prices.setdefault(points.symbol, []).append(points)

    def add_funding(self, rates: FundingRates) -> None:
        """Funding of a symbol, which must be the only one."""
        if rates.symbol in self.funding:
            raise ResearchError(
                f"{rates.path}: {self.funding[rates.symbol].path.name} holds funding of "
                f"{rates.symbol} too; give one file"
            )
        self.funding[rates.symbol] = rates


@dataclass(frozen=True, slots=True)
class Wanted:
    """Symbols (none: all there are), the time until which prices are read, and repairs."""

    symbols: tuple[str, ...]
    known: tuple[str, ...]
    """Symbols that a file's name may hold."""
    from_ms: int | None
    to_ms: int | None
    repair: bool

    def includes(self, symbol: str) -> bool:
        """Whether the symbol is wanted."""
        return not self.symbols or symbol in self.symbols


def gather(arguments: Sequence[str], wanted: Wanted, settings: Settings) -> Gathered:
    """Everything the arguments name.

    Raises
    ------
    ResearchError
        With one sentence on what is wrong, where, and what is allowed.
    """
    found = Gathered()
    files: list[str] = []
    for argument in arguments:
        source, _, dataset = argument.partition(":")
        if source == MARIADB:
            _from_mariadb(found, dataset or TICKS, wanted, settings)
        elif grows(argument):
            _from_archive(found, Archive(Path(source)), dataset, wanted, settings)
        else:
            files.append(argument)
    if files:
        _from_files(found, files, wanted)
    if found.stored is not None and (found.prices or found.funding):
        raise ResearchError(f"{MARIADB}:{TICKS} holds all there is; name nothing beside it")
    return found


def is_archive(folder: Path) -> bool:
    """Whether a folder has the recorder's layout."""
    names = (PRICES, FUNDING, *_CANDLES)
    return folder.is_dir() and any((folder / name).is_dir() for name in names)


def grows(argument: str) -> bool:
    """Whether what an argument names is still being written: an archive, or MariaDB."""
    source, _, _ = argument.partition(":")
    return source == MARIADB or (is_archive(Path(source)) and not Path(argument).is_file())


def _from_files(found: Gathered, files: Sequence[str], wanted: Wanted) -> None:
    for symbol, path in find_files(files, wanted.known):
        if not wanted.includes(symbol):
            continue
        if is_funding(path):
            found.add_funding(load_funding(symbol, path))
        else:
            found.add_prices(load_prices(symbol, path, repair=wanted.repair))


def _from_archive(
    found: Gathered, archive: Archive, dataset: str, wanted: Wanted, settings: Settings
) -> None:
    if not dataset:
        dataset = DEFAULT_DATASET if archive.symbols(DEFAULT_DATASET) else PRICES
    _require_dataset(dataset, (PRICES, *_CANDLES))
    first, last = _span(archive, dataset, wanted)
    own = set(archive.symbols(dataset))
    if dataset == PRICES:  # today's prices are not sorted by symbol yet
        own |= set(settings.reconciliation_engine.symbols)
    for symbol in sorted(filter(wanted.includes, own)):
        rows = archive.read(dataset, symbol, first, last)
        if rows.num_rows:
            path = archive.root / dataset / symbol
            _add_rows(found, symbol, path, dataset, rows, wanted)
    for symbol in found.prices.keys() & set(archive.symbols(FUNDING)):
        rows = archive.read(FUNDING, symbol, first, last)
        path = archive.root / FUNDING / symbol
        _add_rates(found, symbol, path, rows["time_ms"].to_numpy(), rows["rate"].to_numpy())


def _require_dataset(dataset: str, allowed: Sequence[str]) -> None:
    if dataset not in allowed:
        raise ResearchError(f"{dataset!r} is no dataset; allowed are {', '.join(allowed)}")


def _span(archive: Archive, dataset: str, wanted: Wanted) -> tuple[int, int]:
    """Everything up to the last time wanted: what lies before the first warms the windows up."""
    days = [day for symbol in archive.symbols(dataset) for day in archive.days(dataset, symbol)]
    parts = archive.root / PRICES / "parts"
    if dataset == PRICES and parts.is_dir():
        days += [date.fromisoformat(folder.name) for folder in parts.iterdir()]
    if not days:
        raise ResearchError(f"{archive.root}: holds no {dataset}")
    last = start_of(max(days)) + DAY_MS - 1
    return start_of(min(days)), last if wanted.to_ms is None else min(last, wanted.to_ms)


def _add_rows(
    found: Gathered, symbol: str, path: Path, dataset: str, rows: Any, wanted: Wanted
) -> None:
    """Rows of an archive's dataset, checked as those of a file."""
    names = ("mid",) if dataset == PRICES else CANDLE_COLUMNS
    time = "received_ms" if dataset == PRICES else "open_ms"
    times = rows[time].to_numpy().astype(np.int64)
    values = tuple(np.asarray(rows[name].to_numpy(), dtype=np.float64) for name in names)
    batch = Batch(1, times, values, tuple(rows[name] for name in (time, *names)))
    columns = ("price",) if dataset == PRICES else CANDLE_COLUMNS
    sha256 = _fingerprint(times, *values)
    found.add_prices(check_prices(symbol, path, columns, [batch], sha256, repair=wanted.repair))


def _add_rates(
    found: Gathered,
    symbol: str,
    path: Path,
    time_ms: NDArray[np.int64],
    rate: NDArray[np.float64],
) -> None:
    if len(time_ms):
        times, rates = np.asarray(time_ms, np.int64), np.asarray(rate, np.float64)
        found.add_funding(FundingRates(symbol, path, _fingerprint(times, rates), times, rates))


def _fingerprint(*columns: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


@contextmanager
def _database(settings: Settings) -> Iterator[Connection]:
    engine = make_engine(settings, load_secrets(require=("database.app_password",)))
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    try:
        with snapshot.connect() as conn, conn.begin():
            yield conn
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise ResearchError(f"the database cannot be used: {reason}") from error


def _from_mariadb(found: Gathered, dataset: str, wanted: Wanted, settings: Settings) -> None:
    _require_dataset(dataset, (TICKS, *_CANDLES))
    with _database(settings) as conn:
        for product in ProductStore(conn).all().values():
            found.markets[product.symbol] = MarketSpec(
                product.symbol, product.sz_decimals, float(product.max_leverage)
            )
        if dataset == TICKS:
            found.stored = _stored_ticks(conn, wanted, settings)
            return
        _stored_candles(conn, found, dataset, wanted)


def _stored_candles(conn: Connection, found: Gathered, dataset: str, wanted: Wanted) -> None:
    timeframe, t = dataset.removeprefix("candles_"), candles.c
    path = Path(f"{MARIADB}:{dataset}")
    names = ("open_ms", *CANDLE_COLUMNS)
    last = wanted.to_ms if wanted.to_ms is not None else np.iinfo(np.int64).max
    symbols = conn.execute(select(t.symbol).where(t.timeframe == timeframe).distinct()).scalars()
    for symbol in sorted(filter(wanted.includes, symbols)):
        rows = conn.execute(
            select(*(t[name] for name in names))
            .where(t.symbol == symbol, t.timeframe == timeframe, t.open_ms <= int(last))
            .order_by(t.open_ms)
        ).all()
        if rows:
            columns = zip(*rows, strict=True)
            table = pa.table({n: pa.array(c) for n, c in zip(names, columns, strict=True)})
            _add_rows(found, symbol, path, dataset, table, wanted)
    f = funding_rates.c
    for symbol in sorted(found.prices):
        rates = conn.execute(
            select(f.time_ms, f.rate)
            .where(f.symbol == symbol, f.time_ms <= int(last))
            .order_by(f.time_ms)
        ).all()
        times = np.array([row.time_ms for row in rates], dtype=np.int64)
        rate = np.array([row.rate for row in rates], dtype=np.float64)
        _add_rates(found, symbol, Path(f"{MARIADB}:{FUNDING}"), times, rate)


def _stored_ticks(conn: Connection, wanted: Wanted, settings: Settings) -> StoredSeries:
    store, step_ms = TickInputStore(conn), settings.interval_ms
    oldest, newest = store.oldest_tick(step_ms), store.latest_tick(step_ms)
    if oldest is None or newest is None:
        raise ResearchError(f"{MARIADB}: no ticks of {step_ms / 1000:g} s are stored")
    first = oldest if wanted.from_ms is None else max(oldest, wanted.from_ms)
    last = newest if wanted.to_ms is None else min(newest, wanted.to_ms)
    first, last = -(-first // step_ms) * step_ms, last // step_ms * step_ms
    if first > last:
        raise ResearchError(f"{MARIADB}: ticks are stored from {oldest} to {newest}")
    ids = {
        product.id: symbol
        for symbol, product in ProductStore(conn).all().items()
        if symbol in settings.reconciliation_engine.symbols and wanted.includes(symbol)
    }
    if not ids:
        raise ResearchError(f"{MARIADB}: no configured symbol is among {wanted.symbols}")
    window = TickWindow.from_rows(step_ms, first, last, store.rows(step_ms, first, last), ids)
    return StoredSeries(window, tuple(ids[int(p)] for p in window.product_ids))
