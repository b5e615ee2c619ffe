"""Tick inputs turned into what the kernel sees: entropy and look-backs once per tick, for all runs.

The series is kept up to date tick by tick; whatever lies outside what is kept is computed anew from
the rows. Both ways give the same bits, because every number depends on the samples of its own
window alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

from shared.market_data.tick_inputs import TickInputStore, TickRow, TickWindow
from shared.providence.market import MarketSeries, Samples, warm_up_samples
from shared.providence.rules import Cell
from shared.providence.step import Grid, TickMarket
from shared.storage.transactions import Transactions


class Frame(NamedTuple):
    """One stored tick as the kernel sees it."""

    market: TickMarket
    config_version: str


class TickRows(Protocol):
    """Where stored ticks are read from."""

    def rows(self, interval_ms: int, from_ms: int, to_ms: int) -> list[TickRow]:
        """Rows in [``from_ms``, ``to_ms``] of one series, in time order."""

    def next_tick(self, interval_ms: int, after_ms: int) -> int | None:
        """Time of the first row after ``after_ms``; None if there is none."""


class DatabaseTickRows:
    """Stored ticks from MariaDB, one short transaction per call."""

    def __init__(self, begin: Transactions) -> None:
        self._begin = begin

    def rows(self, interval_ms: int, from_ms: int, to_ms: int) -> list[TickRow]:
        """Rows in [``from_ms``, ``to_ms``] of one series, in time order."""
        with self._begin() as conn:
            return TickInputStore(conn).rows(interval_ms, from_ms, to_ms)

    def next_tick(self, interval_ms: int, after_ms: int) -> int | None:
        """Time of the first row after ``after_ms``; None if there is none."""
        with self._begin() as conn:
            return TickInputStore(conn).next_tick(interval_ms, after_ms)


class TickMarkets:
    """Frames of one sample series, for a process: the newest ones are kept, older ones computed.

    ``grid`` is what is always computed; cells and look-backs that living runs need beside it (the
    configuration has moved on, they have not) join it at the end, so rows once given never move.
    """

    def __init__(self, rows: TickRows, interval_ms: int, grid: Grid, keep: int = 256) -> None:
        self._rows = rows
        self._keep = keep
        self.interval_ms = interval_ms
        self.grid = grid
        self.generation = 0
        """Grows when columns or rows of the frames change: bindings made before are void."""
        self._series: MarketSeries | None = None
        self._products: tuple[int, ...] = ()
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._start = 0
        self._head = 0

    @property
    def product_columns(self) -> dict[int, int]:
        """Column of each product in the frames of this generation."""
        return {product: column for column, product in enumerate(self._products)}

    def require(self, cells: Collection[Cell], lookbacks: Collection[int]) -> None:
        """Compute these from now on as well."""
        new_cells = sorted(set(cells) - set(self.grid.cells))
        new_lookbacks = sorted(set(lookbacks) - set(self.grid.lookbacks))
        if new_cells or new_lookbacks:
            self.grid = Grid((*self.grid.cells, *new_cells), (*self.grid.lookbacks, *new_lookbacks))
            self._forget()

    def between(self, after_ms: int, until_ms: int, products: Iterable[int] = ()) -> list[Frame]:
        """Frames of all stored ticks in (``after_ms``, ``until_ms``].

        ``products`` get a column even if no row holds them. ``generation``, ``grid`` and
        ``product_columns`` describe the frames of the latest call.
        """
        if until_ms <= after_ms:
            return []
        if not set(products) <= set(self._products):
            self._forget()
        self._extend(until_ms, products)
        if after_ms >= self._start:
            return [f for tick, f in self._frames.items() if after_ms < tick <= until_ms]
        return self._compute(after_ms, until_ms)

    def next_tick(self, after_ms: int) -> int | None:
        """The first stored tick after ``after_ms``; None if there is none."""
        return self._rows.next_tick(self.interval_ms, after_ms)

    def _reach_ms(self) -> int:
        return (warm_up_samples(self.grid) + 1) * self.interval_ms

    def _forget(self) -> None:
        self._series = None
        self._frames.clear()
        self.generation += 1

    def _extend(self, until_ms: int, products: Iterable[int]) -> None:
        if self._series is None or until_ms - self._head > self._reach_ms():
            self._restart(until_ms, products)
            return
        if until_ms <= self._head:
            return
        rows = self._rows.rows(self.interval_ms, self._head + self.interval_ms, until_ms)
        if not rows:
            return
        if not _products(rows) <= set(self._products):
            self._restart(until_ms, products)
            return
        self._push(self._series, self._head + self.interval_ms, rows)

    def _restart(self, until_ms: int, products: Iterable[int]) -> None:
        """Warm a new series over the longest window before the newest row up to ``until_ms``."""
        self._forget()
        from_ms = _floor(until_ms - self._reach_ms(), self.interval_ms)
        rows = self._rows.rows(self.interval_ms, from_ms, until_ms)
        self._products = tuple(sorted({*self._products, *products, *_products(rows)}))
        self._series = self._new_series()
        self._start = self._head = from_ms + self._reach_ms() - self.interval_ms
        if rows:
            self._push(self._series, from_ms, rows)
        self._start = min(self._start, self._head)
        for tick in [tick for tick in self._frames if tick <= self._start]:
            del self._frames[tick]

    def _push(self, series: MarketSeries, from_ms: int, rows: list[TickRow]) -> None:
        for frame in self._advance(series, from_ms, rows):
            self._frames[frame.market.tick_ms] = frame
        self._head = rows[-1].tick_ms
        while len(self._frames) > self._keep:
            self._start, _ = self._frames.popitem(last=False)

    def _new_series(self) -> MarketSeries:
        return MarketSeries(self.grid, len(self._products), self.interval_ms)

    def _advance(self, series: MarketSeries, from_ms: int, rows: list[TickRow]) -> list[Frame]:
        """Push every tick from ``from_ms`` to the last row; frames of those that have a row."""
        window = TickWindow.from_rows(
            self.interval_ms, from_ms, rows[-1].tick_ms, rows, self._products
        )
        markets = series.push_many(
            Samples(
                window.tick_ms,
                window.mid.copy(),
                window.ok,
                window.funding_index.copy(),
                window.volatility.copy(),
            )
        )
        return [
            Frame(market, version)
            for market, version in zip(markets, window.config_version, strict=True)
            if version
        ]

    def _compute(self, after_ms: int, until_ms: int) -> list[Frame]:
        """Frames from series of their own, warmed over the longest window before ``after_ms``."""
        from_ms = _floor(after_ms - self._reach_ms(), self.interval_ms)
        rows = self._rows.rows(self.interval_ms, from_ms, until_ms)
        if not _products(rows) <= set(self._products):
            self._restart(self._head, _products(rows))
        frames: list[Frame] = []
        for group in _split_at_holes(rows, self._reach_ms()):
            frames += self._advance(self._new_series(), group[0].tick_ms, group)
        return [frame for frame in frames if frame.market.tick_ms > after_ms]


def _split_at_holes(rows: list[TickRow], reach_ms: int) -> Iterator[list[TickRow]]:
    """Groups of rows with holes between them that no window reaches over."""
    start = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or rows[at].tick_ms - rows[at - 1].tick_ms > reach_ms:
            yield rows[start:at]
            start = at


def _products(rows: Iterable[TickRow]) -> set[int]:
    return {int(p) for row in rows for p in row.samples["product_id"]}


def _floor(ms: int, interval_ms: int) -> int:
    return ms - ms % interval_ms
