"""Builders the Providence tests share: rules, spaces, prices, populations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence.market import MarketSeries, Samples
from shared.providence.recent import sorted_entropy
from shared.providence.rules import CloneRules, ParameterSpace, Rules
from shared.providence.run_state import Records, new_records
from shared.providence.step import Binding, Grid, TickMarket, bind
from shared.testing.run_world import fresh_runs

INTERVAL_MS = 5_000


def make_rules(**changes: Any) -> Rules:
    values: dict[str, Any] = {
        "taker_fee_rate": 0.00045,
        "slippage_rate": 0.0002,
        "base_fraction": 0.1,
        "probation_fraction": 0.02,
        "max_fraction": 0.5,
        "max_reward_ratio": 5.0,
        "min_trades": 5,
        "judge_after_trades": 20,
        "live_pnl_threshold": 0.0,
    }
    return Rules(**(values | changes))


def make_space(**changes: Any) -> ParameterSpace:
    values: dict[str, Any] = {
        "orders": (3, 4),
        "delays": (1, 2),
        "windows": (20, 40),
        "lookbacks": (3, 10),
        "theta_quantile": (0.1, 0.9),
        "dead_band": (0.0, 0.05),
        "interpretations": {"direct": 1.0, "inverse": 1.0, "breakout": 1.0, "swing": 1.0},
        "kelly_multiplier": (0.2, 1.0),
        "max_duration_secs": (3_600.0, 36_000.0),
        "max_drawdown": (0.05, 0.5),
        "take_profit": (0.0, 3.0),
        "max_symbol_share": 0.5,
        "start_balance": 1_000.0,
    }
    return ParameterSpace(**(values | changes))


def make_clone_rules(**changes: Any) -> CloneRules:
    values: dict[str, Any] = {
        "clonal_fraction": 0.8,
        "min_parent_age_secs": 600.0,
        "min_trades": 3,
        "mutation_scale": 0.05,
        "integer_step_probability": 0.1,
        "flip_probability": 0.02,
        "shrinkage": 5.0,
    }
    return CloneRules(**(values | changes))


def random_walk(rng: Generator, ticks: int, symbols: int, scale: float = 1e-3) -> NDArray[Any]:
    """Driftless in the price: the exponential martingale of a Gaussian walk."""
    steps = rng.normal(0.0, scale, (ticks, symbols)) - scale * scale / 2.0
    return 100.0 * np.exp(np.cumsum(steps, axis=0))


def make_samples(price: NDArray[Any], **changes: Any) -> Samples:
    ticks, symbols = price.shape
    values: dict[str, Any] = {
        "tick_ms": INTERVAL_MS * np.arange(1, ticks + 1),
        "price": price,
        "ok": np.ones((ticks, symbols), dtype=bool),
        "funding_index": np.zeros((ticks, symbols)),
        "volatility": np.full((ticks, symbols), 0.02),
    }
    return Samples(**(values | changes))


def markets(grid: Grid, samples: Samples) -> Iterator[TickMarket]:
    series = MarketSeries(grid, samples.price.shape[1], INTERVAL_MS)
    return series.push_many(samples)


def make_population(
    rng: Generator, n: int, space: ParameterSpace, seen: list[TickMarket], leverage: float = 5.0
) -> Records:
    """Fresh runs, numbered from 1, born at the last tick of ``seen``."""
    symbols = len(seen[-1].price)
    ids = list(range(1, symbols + 1))
    entropy = np.stack([market.entropy for market in seen])
    records = fresh_runs(
        rng,
        n,
        space,
        sorted_entropy(entropy, space, ids),
        dict.fromkeys(ids, leverage),
        spawn_tick=seen[-1].tick_ms,
    )
    records["run_id"] = np.arange(1, n + 1)
    return records


def count_symbols(records: Records) -> dict[int, int]:
    """Records per product id."""
    counts = np.bincount(records["product_id"]) if len(records) else np.zeros(0, dtype=np.int64)
    return {int(product_id): int(counts[product_id]) for product_id in np.flatnonzero(counts)}


def bind_all(records: Records, space: ParameterSpace, symbols: int) -> Binding:
    return bind(records, Grid.of(space), {column + 1: column for column in range(symbols)})


def plain_run(**changes: Any) -> Records:
    """One record with valid parameters on the default grid, to be changed by a test."""
    record = new_records(1)
    values: dict[str, Any] = {
        "run_id": 7,
        "product_id": 1,
        "order": 3,
        "delay": 1,
        "window": 20,
        "lookback": 3,
        "interpretation": 0,
        "theta": 0.5,
        "dead_band": 0.0,
        "kelly_multiplier": 1.0,
        "max_duration_ms": 36_000_000,
        "max_drawdown": 0.5,
        "take_profit": 0.0,
        "max_leverage": 5.0,
        "start_balance": 1_000.0,
        "equity": 1_000.0,
        "peak_equity": 1_000.0,
    }
    for name, value in (values | changes).items():
        record[name] = value
    return record


def one_tick(
    tick_ms: int,
    price: float,
    entropy: float,
    *,
    past: float = float("nan"),
    ok: bool = True,
    funding_index: float = 0.0,
    volatility: float = 0.02,
) -> TickMarket:
    """A market of one symbol whose every cell has this entropy, for the default grid."""
    grid = Grid.of(make_space())
    return TickMarket(
        tick_ms,
        np.array([price]),
        np.array([ok]),
        np.array([funding_index]),
        np.array([volatility]),
        np.full((len(grid.cells), 1), entropy),
        np.full((len(grid.lookbacks), 1), past),
    )
