"""Whole backtests on one core: prices to entropy, runs, births, journal hash, account."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.benchmarks.figure import Figure
from shared.config import load_settings
from shared.research.baselines import Costs, SmaCross, trade
from shared.research.engine import plan_of, run_backtest
from shared.research.markets import spec_of
from shared.research.observers import EquityCurve, Journal
from shared.research.price_files import PricePoints, Repairs
from shared.research.tables import FloatArray
from shared.research.tick_series import TickSeries

ROOT: Final = Path(__file__).parents[2]
SYMBOLS: Final = ("BTC", "ETH", "SOL")
MINUTE_MS: Final = 60_000
FIRST_MS: Final = 1_700_000_040_000
DAYS: Final = 4
RUNS: Final = 20_000
SUPERVISE_SECS: Final = 900.0
REBALANCE_SECS: Final = 300.0
MIN_FILL_SHARE: Final = 0.03
PAIRS: Final = 100
SWEEP_DAYS: Final = 90
YEAR_RUNS: Final = 1_000
_PEAK: Final = """
import resource, sys, tempfile
from shared.config import load_settings
from shared.research.backtest import backtest
from shared.research.request import Request
from pathlib import Path
with tempfile.TemporaryDirectory() as out:
    backtest(Request(data=(sys.argv[1],), runs=50), load_settings(environ={}), Path(out))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


_FIRST: Final = """
import time
from shared.benchmarks.bench_backtest import first_backtest
start = time.process_time()
first_backtest()
print(time.process_time() - start)
"""


def _walk(count: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    scale = np.repeat(rng.choice([0.0003, 0.0009], count // 60 + 1), 60)[:count]
    walk: FloatArray = 100.0 * np.exp(np.cumsum(rng.normal(0.0, scale)))
    return walk


def _points(symbol: str, count: int, seed: int) -> PricePoints:
    known_ms = FIRST_MS + MINUTE_MS * np.arange(count, dtype=np.int64)
    path = Path(f"{symbol}.csv")
    price = _walk(count, seed)
    return PricePoints(symbol, path, "", "candles", count, MINUTE_MS, known_ms, price, Repairs())


def _core_secs(work: Callable[[], object], runs: int = 3) -> float:
    """Median time of one core that ``work`` takes; what others do on the machine does not count."""
    work()
    found = []
    for _ in range(runs):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def backtest_run_bars_per_s() -> Figure:
    """20,000 runs of ``config.yml`` on 4 days of minutes of 3 symbols, per second of one core.

    Births, clones and exits every 15 minutes, the account every 5, every fill hashed.
    """
    settings = load_settings(ROOT / "config.yml", environ={})
    plan = plan_of(
        settings,
        [spec_of(symbol) for symbol in SYMBOLS],
        MINUTE_MS,
        runs=RUNS,
        supervise_secs=SUPERVISE_SECS,
        rebalance_secs=REBALANCE_SECS,
    )
    count = DAYS * 1_440
    series = TickSeries([_points(s, count, k) for k, s in enumerate(SYMBOLS)], MINUTE_MS)
    run_bars: list[int] = []

    def work() -> None:
        journal = Journal()
        totals = run_backtest(plan, series, [journal, EquityCurve()])
        if journal.count < MIN_FILL_SHARE * totals.run_bars or totals.living < RUNS // 2:
            raise RuntimeError(f"workload is off: {journal.count} fills, {totals.living} living")
        run_bars.append(totals.run_bars)

    secs = _core_secs(work)
    return Figure("backtest_run_bars_per_s", run_bars[-1] / secs, "run-bars/s", goal=40e6)


def backtest_year_s() -> Figure:
    """CPU seconds of a year of minutes, 1,000 runs of ``config.yml`` and one symbol.

    Births every 15 minutes, the account every 5, journal hash included.
    """
    settings = load_settings(ROOT / "config.yml", environ={})
    plan = plan_of(
        settings, [spec_of("BTC")], MINUTE_MS, runs=YEAR_RUNS, rebalance_secs=REBALANCE_SECS
    )

    def work(days: int) -> float:
        series = TickSeries([_points("BTC", days * 1_440, 0)], MINUTE_MS)
        start = time.process_time()
        run_backtest(plan, series, [Journal(), EquityCurve()])
        return time.process_time() - start

    work(1)
    return Figure("backtest_year_s", work(365), "s", goal=15.0, better="lower")


def first_backtest() -> None:
    """Half a day of minutes with births, clones and orders: everything that is compiled runs."""
    settings = load_settings(ROOT / "config.yml", environ={})
    plan = plan_of(settings, [spec_of("BTC")], MINUTE_MS, runs=200)
    run_backtest(plan, TickSeries([_points("BTC", 720, 0)], MINUTE_MS), [Journal(), EquityCurve()])


def backtest_first_call_s() -> Figure:
    """CPU seconds of the first backtest in a new process whose code has been compiled before."""
    secs = [
        float(subprocess.check_output([sys.executable, "-c", _FIRST], text=True)) for _ in range(2)
    ][-1]
    return Figure("backtest_first_call_s", secs, "s", goal=5.0, better="lower")


def backtest_peak_mib() -> Figure:
    """Peak memory of a process that reads and backtests a file of 5 years of minutes."""
    with tempfile.TemporaryDirectory() as folder:
        count = 5 * 365 * 1_440
        price = _walk(count, 3)
        table = {
            "timestamp_ms": FIRST_MS + MINUTE_MS * np.arange(count, dtype=np.int64),
            **dict.fromkeys(("open", "high", "low", "close"), price),
        }
        file = Path(folder) / "BTC.parquet"
        pq.write_table(pa.table(table), file)
        measured = subprocess.run(
            [sys.executable, "-c", _PEAK, str(file)], capture_output=True, text=True, check=True
        )
    peak_mib = int(measured.stdout.split()[-1]) / 1024
    return Figure("backtest_peak_mib", peak_mib, "MiB", goal=2_048.0, better="lower")


def backtest_sma_bars_per_s() -> Figure:
    """A sweep of 100 pairs of SMA windows over 90 days of minutes, per second of one core."""
    price = _walk(SWEEP_DAYS * 1_440, 9)
    pairs = [(fast, slow) for fast in range(5, 55, 5) for slow in range(60, 260, 20)][:PAIRS]
    costs = Costs(0.00045, 0.0001)

    def work() -> None:
        for fast, slow in pairs:
            trade(price, SmaCross(fast, slow).wanted(price), costs, 10_000.0)

    return Figure("backtest_sma_bars_per_s", len(pairs) * len(price) / _core_secs(work), "bars/s")
