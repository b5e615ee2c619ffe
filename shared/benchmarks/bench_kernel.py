"""The Providence step: runs per second on one core, and what its compilation costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Final

import numpy as np

from shared.benchmarks.figure import Figure
from shared.providence.codes import Status
from shared.providence.rules import Rules
from shared.providence.run_state import Records, new_records
from shared.providence.step import Grid, TickMarket, bind, step

RUNS: Final = 250_000
SYMBOLS: Final = 50
TICKS: Final = 60
SHARD: Final = 500
INTERVAL_MS: Final = 5_000
GRID: Final = Grid(tuple((d, 1, w) for d in (3, 4, 5) for w in (60, 120)), (6, 12, 60))
RULES: Final = Rules(
    taker_fee_rate=0.00045,
    slippage_rate=0.0002,
    base_fraction=0.1,
    probation_fraction=0.02,
    max_fraction=0.5,
    max_reward_ratio=5.0,
    min_trades=10,
    judge_after_trades=1_000_000,
    live_pnl_threshold=0.0,
)
MIN_FILL_SHARE: Final = 0.05
"""At least this share of the runs trades on each tick, as in the design's end-to-end figure."""


def population(count: int) -> Records:
    """Runs of all four interpretations spread over symbols and cells, none of which ends early."""
    rng = np.random.default_rng(11)
    records = new_records(count)
    cells = np.array(GRID.cells)[rng.integers(len(GRID.cells), size=count)]
    records["order"], records["delay"], records["window"] = cells.T
    records["run_id"] = np.arange(1, count + 1)
    records["product_id"] = rng.integers(0, SYMBOLS, count)
    records["lookback"] = rng.choice(GRID.lookbacks, count)
    records["interpretation"] = rng.integers(0, 4, count)
    records["theta"] = rng.uniform(0.4, 0.6, count)
    records["dead_band"] = rng.uniform(0.0, 0.02, count)
    records["kelly_multiplier"] = 0.5
    records["max_duration_ms"] = 365 * 86_400_000
    records["max_drawdown"] = 1.0
    records["take_profit"] = 1e5
    records["max_leverage"] = 5.0
    for field in ("start_balance", "equity", "peak_equity"):
        records[field] = 1_000.0
    return records


def history(ticks: int) -> list[TickMarket]:
    """Markets whose entropy wanders around the thresholds, so that a share of the runs trades."""
    rng = np.random.default_rng(12)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, (ticks, SYMBOLS)), axis=0))
    shape = (len(GRID.cells), SYMBOLS)
    entropy = 0.5 + np.cumsum(rng.normal(0.0, 0.02, (ticks, *shape)), axis=0) * 0.3
    return [
        TickMarket(
            (t + 1) * INTERVAL_MS,
            price[t],
            np.ones(SYMBOLS, dtype=bool),
            np.full(SYMBOLS, -1e-4 * t),
            np.full(SYMBOLS, 0.01),
            entropy[t],
            np.repeat(price[max(t - 6, 0)][None], len(GRID.lookbacks), axis=0),
        )
        for t in range(ticks)
    ]


def _measure(shard: int) -> float:
    """Runs stepped per second: median over ticks, all shards of a tick in one go."""
    records = population(RUNS)
    columns = {product_id: product_id for product_id in range(SYMBOLS)}
    parts = [records[start : start + shard] for start in range(0, RUNS, shard)]
    bindings = [bind(part, GRID, columns) for part in parts]
    secs, fills = [], 0
    for t, market in enumerate(history(TICKS)):
        start = time.perf_counter()
        count = sum(
            len(step(part, binding, market, RULES))
            for part, binding in zip(parts, bindings, strict=True)
        )
        if t >= 2:  # nothing is decided before the first tick, and the first call loads the code
            secs.append(time.perf_counter() - start)
            fills += count
    alive = int((records["status"] == Status.ACTIVE).sum())
    share = fills / (RUNS * len(secs))
    if alive < RUNS or share < MIN_FILL_SHARE:
        raise RuntimeError(f"workload is off: {alive} of {RUNS} runs alive, {share:.1%} trade")
    return RUNS / statistics.median(secs)


def step_runs_per_s() -> Figure:
    """One tick of 250,000 active runs in one array on one core, at least 5 % of them trading."""
    return Figure("step_runs_per_s", _measure(RUNS), "runs/s", goal=20e6)


def step_shard_runs_per_s() -> Figure:
    """The same in shards of 500, call overhead included, as the worker does it."""
    return Figure("step_shard_runs_per_s", _measure(SHARD), "runs/s")


_FIRST_CALL: Final = """
import time
from shared.benchmarks import bench_kernel as b
records, market = b.population(10), b.history(1)[0]
start = time.perf_counter()
binding = b.bind(records, b.GRID, {i: i for i in range(b.SYMBOLS)})
b.step(records, binding, market, b.RULES)
print(time.perf_counter() - start)
"""


def _first_call_secs(cache_dir: str) -> float:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache_dir}
    environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{cache_dir}/pyc"}
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return float(done.stdout)


def kernel_cold_call_s() -> Figure:
    """First bind and step of a fresh process with an empty cache: compilation."""
    secs = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            secs.append(_first_call_secs(cache))
    return Figure("kernel_cold_call_s", statistics.median(secs), "s", goal=10.0, better="lower")


def kernel_warm_call_s() -> Figure:
    """First bind and step of a fresh process that finds the compiled kernel in the cache."""
    with tempfile.TemporaryDirectory() as cache:
        _first_call_secs(cache)
        secs = [_first_call_secs(cache) for _ in range(5)]
    return Figure("kernel_warm_call_s", statistics.median(secs), "s", goal=0.5, better="lower")
