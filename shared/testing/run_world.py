"""A small market and population for tests and benchmarks of iterations: seeded, gaps included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection

from shared.exchange.payloads import Asset
from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_inputs import (
    TickInputStore,
    TickRow,
    TickSource,
    config_version,
    empty_samples,
)
from shared.providence.entropy import sliding_entropy
from shared.providence.recent import Recent, sorted_entropy
from shared.providence.rules import CloneRules, ParameterSpace, Rules
from shared.providence.run_state import Records, new_records
from shared.providence.supervision import Candidates, conceive
from shared.storage.products import Product, ProductStore

FIRST_TICK_MS = 1_700_000_000_000
SYMBOLS = ("BTC", "ETH", "SOL")

RULES = Rules(
    taker_fee_rate=0.00045,
    slippage_rate=0.0001,
    base_fraction=0.5,
    probation_fraction=0.1,
    max_fraction=2.0,
    max_reward_ratio=5.0,
    min_trades=3,
    judge_after_trades=30,
    live_pnl_threshold=-50.0,
)

NO_CLONES = CloneRules(
    clonal_fraction=0.0,
    min_parent_age_secs=0.0,
    min_trades=1,
    mutation_scale=0.0,
    integer_step_probability=0.0,
    flip_probability=0.0,
    shrinkage=0.0,
)
"""For populations that are drawn afresh."""


def fresh_runs(
    rng: np.random.Generator,
    count: int,
    parameter_space: ParameterSpace,
    recent: Recent,
    max_leverage: Mapping[int, float],
    *,
    spawn_tick: int,
    desired: int | None = None,
    symbol_counts: Mapping[int, int] | None = None,
) -> Records:
    """Runs as a supervisor conceives them where there is no parent; of ``count`` by default."""
    return conceive(
        rng,
        count,
        parameter_space,
        NO_CLONES,
        symbol_counts or {},
        lambda: Candidates.of(new_records(0)),
        recent,
        max_leverage,
        desired=count if desired is None else desired,
        spawn_tick=spawn_tick,
    )


def space(**changes: object) -> ParameterSpace:
    """A parameter space whose windows are short and whose runs trade and end often."""
    values: dict[str, object] = {
        "orders": (3, 4),
        "delays": (1,),
        "windows": (16, 24),
        "lookbacks": (3, 8),
        "theta_quantile": (0.2, 0.8),
        "dead_band": (0.0, 0.01),
        "interpretations": {"direct": 1.0, "inverse": 1.0, "breakout": 1.0, "swing": 1.0},
        "kelly_multiplier": (0.25, 0.5),
        "max_duration_secs": (40.0, 400.0),
        "max_drawdown": (0.02, 0.2),
        "take_profit": (1.0, 20.0),
        "max_symbol_share": 0.5,
        "start_balance": 10_000.0,
    }
    return ParameterSpace(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class RunWorld:
    """Ticks of three symbols from a seed: ``length`` of them, ``warm`` before the first run.

    Every 37th tick has no row, every 53rd a ``missing`` one, and now and then a sample is not ok.
    """

    length: int = 120
    warm: int = 64
    seed: int = 7
    interval_ms: int = 1000
    gaps: bool = True
    symbols: tuple[str, ...] = SYMBOLS
    rules: Rules = RULES
    rows_: list[TickRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = TickConfig(self.interval_ms, self.symbols, self.rules)
        self.version = config_version(self.config.to_json())
        self.product_ids = {symbol: place + 1 for place, symbol in enumerate(self.symbols)}
        self.rows_ = list(self._make_rows())

    @property
    def ticks(self) -> list[int]:
        """Stored ticks after the warm-up, ms."""
        return [row.tick_ms for row in self.rows_ if row.tick_ms > self.start_ms]

    @property
    def start_ms(self) -> int:
        """The tick at which runs are born."""
        return FIRST_TICK_MS + (self.warm - 1) * self.interval_ms

    def rows(self, interval_ms: int, from_ms: int, to_ms: int) -> list[TickRow]:
        """Stored rows, as ``TickRows``."""
        if interval_ms != self.interval_ms:
            return []
        return [row for row in self.rows_ if from_ms <= row.tick_ms <= to_ms]

    def next_tick(self, interval_ms: int, after_ms: int) -> int | None:
        """The first stored tick after ``after_ms``, as ``TickRows``."""
        later = [row.tick_ms for row in self.rows(interval_ms, after_ms + 1, 1 << 62)]
        return min(later, default=None)

    def newborns(self, count: int, parameter_space: ParameterSpace | None = None) -> Records:
        """Fresh runs with thresholds from the warm-up, born at ``start_ms``; ids from 1."""
        parameter_space = parameter_space or space()
        warm_rows = self.rows(self.interval_ms, 0, self.start_ms)
        product_ids = list(self.product_ids.values())
        recent = np.empty((len(warm_rows), len(parameter_space.cells), len(product_ids)))
        for column, product_id in enumerate(product_ids):
            mids = np.array([self._mid(row, product_id) for row in warm_rows])
            for row, cell in enumerate(parameter_space.cells):
                recent[:, row, column] = sliding_entropy(mids, *cell, ok=np.isfinite(mids))
        records = fresh_runs(
            np.random.default_rng([self.seed, 3]),
            count,
            parameter_space,
            sorted_entropy(recent, parameter_space, product_ids),
            dict.fromkeys(product_ids, 20.0),
            spawn_tick=self.start_ms,
        )
        records["run_id"] = np.arange(1, len(records) + 1)
        return records

    def store(self, conn: Connection) -> None:
        """Write products, configuration and all rows into the database."""
        self.store_products(conn)
        self.store_rows(conn, self.rows_)

    def store_products(self, conn: Connection) -> list[Product]:
        """The symbols as products with the ids of ``product_ids``."""
        assets = [
            Asset(
                symbol=symbol,
                index=place,
                size_decimals=3,
                max_leverage=20,
                only_isolated=False,
                delisted=False,
            )
            for place, symbol in enumerate(self.symbols)
        ]
        known = ProductStore(conn).sync(assets)
        if {s: p.id for s, p in known.items()} != self.product_ids:
            raise RuntimeError("the database already has other products")
        return list(known.values())

    def store_rows(self, conn: Connection, rows: Iterable[TickRow]) -> None:
        """Write these rows and their configuration."""
        store = TickInputStore(conn)
        store.save_config(self.config.to_json(), FIRST_TICK_MS)
        for row in rows:
            store.insert(row)

    def _mid(self, row: TickRow, product_id: int) -> float:
        found = row.samples[(row.samples["product_id"] == product_id) & (row.samples["ok"] == 1)]
        return float(found["mid"][0]) if len(found) else float("nan")

    def _make_rows(self) -> Iterable[TickRow]:
        rng = np.random.default_rng(self.seed)
        total = self.warm + self.length
        drift = np.repeat(rng.normal(0.0, 0.0006, (total // 20 + 1, len(self.symbols))), 20, axis=0)
        steps = rng.normal(0.0, 0.001, (total, len(self.symbols))) + drift[:total]
        prices = np.resize([60_000.0, 3_000.0, 150.0], len(self.symbols)) * np.exp(
            np.cumsum(steps, axis=0)
        )
        not_ok = rng.random((total, len(self.symbols))) < 0.003
        for place in range(total):
            gap = self.gaps and place >= self.warm
            if gap and place % 37 == 0:
                continue
            missing = gap and place % 53 == 0
            samples = empty_samples(self.product_ids.values())
            if not missing:
                samples["ok"] = ~not_ok[place] if gap else 1
                samples["mid"] = samples["mark"] = prices[place]
                samples["funding_index"] = prices[place] * 1e-6 * place
                samples["volatility"] = 0.06
            source: TickSource = "missing" if missing else "live"
            tick_ms = FIRST_TICK_MS + place * self.interval_ms
            yield TickRow(self.interval_ms, tick_ms, self.version, source, samples, tick_ms)
