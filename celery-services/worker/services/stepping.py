"""Steps records through stored ticks, each with the rules and symbols that were in force at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_markets import Frame, TickMarkets
from shared.providence.rules import Cell, Rules
from shared.providence.run_state import Records
from shared.providence.step import FILL_DTYPE, Binding, Fills, bind, step

MAX_TICKS_PER_PIECE = 512


@dataclass(frozen=True, slots=True)
class TickRules:
    """Rules in force at a tick and the products (ids) that were traded."""

    rules: Rules
    product_ids: frozenset[int]


class ConfigVersions:
    """``TickRules`` by configuration version, read once per process.

    ``read_config`` gives the stored content of a version, ``read_products`` the id of every known
    symbol.
    """

    def __init__(
        self,
        read_config: Callable[[str], Mapping[str, Any]],
        read_products: Callable[[], Mapping[str, int]],
    ) -> None:
        self._read_config = read_config
        self._read_products = read_products
        self._known: dict[str, TickRules] = {}

    def get(self, version: str) -> TickRules:
        """Raises ``LookupError`` for a version that was never stored."""
        if version not in self._known:
            config = TickConfig.from_json(self._read_config(version))
            products = self._read_products()
            ids = frozenset(products[s] for s in config.symbols if s in products)
            found = TickRules(config.rules, ids)
            if len(ids) < len(config.symbols):
                return found  # a symbol still waits for its product: ask again next time
            self._known[version] = found
        return self._known[version]


@dataclass(slots=True, eq=False)
class Bound:
    """Where each record finds its inputs, for one generation of frames and one configuration."""

    key: tuple[int, str]
    binding: Binding


@dataclass(frozen=True, slots=True)
class Needs:
    """Entropy cells, look-backs and products that some records look at."""

    cells: frozenset[Cell]
    lookbacks: frozenset[int]
    products: frozenset[int]

    @classmethod
    def of(cls, records: Records) -> Needs:
        """What these records look at; it never changes during their life."""
        cells = set(
            zip(
                records["order"].tolist(),
                records["delay"].tolist(),
                records["window"].tolist(),
                strict=True,
            )
        )
        return cls(
            frozenset(cells),
            frozenset(records["lookback"].tolist()),
            frozenset(records["product_id"].tolist()),
        )


class Stepper:
    """Advances records through the frames of one sample series."""

    def __init__(self, markets: TickMarkets, configs: ConfigVersions) -> None:
        self.markets = markets
        self._configs = configs

    def frames(self, needs: Needs, after_ms: int, until_ms: int) -> Iterator[list[Frame]]:
        """Stored ticks in (``after_ms``, ``until_ms``] in pieces that fit into memory, none empty.

        Take a piece's steps before the next piece: a new product renumbers the columns. A hole in
        the series, however long the platform stood still, costs one look.
        """
        self.markets.require(needs.cells, needs.lookbacks)
        span_ms = MAX_TICKS_PER_PIECE * self.markets.interval_ms
        while after_ms < until_ms:
            end_ms = min(after_ms + span_ms, until_ms)
            piece = self.markets.between(after_ms, end_ms, needs.products)
            if piece:
                yield piece
                after_ms = end_ms
                continue
            next_ms = self.markets.next_tick(end_ms)
            if next_ms is None:
                return
            after_ms = next_ms - self.markets.interval_ms

    def bind(self, records: Records, version: str, bound: Bound | None = None) -> Bound:
        """The binding under a configuration version; ``bound`` is returned if it is that one.

        A product that the configuration does not name has left: its runs exit at the next step.
        """
        key = (self.markets.generation, version)
        if bound is not None and bound.key == key:
            return bound
        traded = self._configs.get(version).product_ids
        columns = {p: c for p, c in self.markets.product_columns.items() if p in traded}
        return Bound(key, bind(records, self.markets.grid, columns))

    def rules(self, version: str) -> Rules:
        """The rules of a configuration version."""
        return self._configs.get(version).rules

    def advance(
        self, records: Records, frames: Iterable[Frame], bound: Bound | None = None
    ) -> tuple[Fills, Bound | None]:
        """Step ``records`` in place through ``frames``; their fills in time order.

        Records may stand at different ticks if they are sorted by tick: each is stepped from its
        own on.
        """
        ticks = records["tick"].astype(np.int64)
        uneven = len(ticks) > 0 and ticks[0] != ticks[-1]
        fills: list[Fills] = []
        for frame in frames:
            bound = self.bind(records, frame.config_version, bound)
            rules = self.rules(frame.config_version)
            if uneven:
                due = int(np.searchsorted(ticks, frame.market.tick_ms))
                part = Binding(*(column[:due] for column in bound.binding))
                fills.append(step(records[:due], part, frame.market, rules))
                uneven = due < len(records)
            else:
                fills.append(step(records, bound.binding, frame.market, rules))
        return (np.concatenate(fills) if fills else no_fills()), bound


def no_fills() -> Fills:
    """An empty journal."""
    return np.empty(0, dtype=FILL_DTYPE)


class Steppers:
    """A stepper for each length of a tick (ms) that is met, made at first use."""

    def __init__(self, make: Callable[[int], Stepper]) -> None:
        self._make = make
        self._made: dict[int, Stepper] = {}

    def __getitem__(self, interval_ms: int) -> Stepper:
        if interval_ms not in self._made:
            self._made[interval_ms] = self._make(interval_ms)
        return self._made[interval_ms]
