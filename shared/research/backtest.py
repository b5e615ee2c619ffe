"""``python -m shared.research.backtest --data FILES``: a backtest, its folder and one JSON line.

Exit code 0 when it ran, 2 when it cannot be run as asked (one sentence on stderr), 130 when it was
interrupted. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.command_line import Parser
from shared.config import ConfigError, Settings, load_settings
from shared.research.baselines import Baseline, Costs, Rsi, SmaCross, run_baseline
from shared.research.cohorts import Cohorts, EntropyReturns
from shared.research.engine import run_backtest
from shared.research.errors import ResearchError
from shared.research.observers import EquityCurve, Journal, Observer, ParquetFiles
from shared.research.outputs import (
    draw,
    hold_curve,
    make_folder,
    write_inputs,
    write_page,
    write_stats,
)
from shared.research.performance import performance
from shared.research.progress import BacktestProgress
from shared.research.request import Inputs, Request, load
from shared.research.times import time_ms


def backtest(
    request: Request, settings: Settings, root: Path = Path("artifacts/backtest")
) -> dict[str, Any]:
    """Run one backtest into a new folder under ``root``; the JSON line as a dict.

    Raises
    ------
    ResearchError
        If it cannot be run as asked; the message is one sentence.
    """
    if find_spec("matplotlib") is None:
        raise ResearchError("matplotlib is not installed; install the extra 'research'")
    inputs = load(request, settings)
    folder = make_folder(root, request, inputs, datetime.now(tz=UTC))
    write_inputs(folder, request, settings, inputs)
    symbols = inputs.series.symbols
    journal, curve, cohorts = Journal(), EquityCurve(), Cohorts(symbols)
    files = ParquetFiles(folder, symbols, inputs.plan.colony.product_ids)
    watchers: list[Observer] = [journal, curve, cohorts, files]
    entropy = _entropy_returns(inputs)
    work: dict[str, float | int]
    if request.strategy == "providence":
        work = _providence(inputs, [*watchers, entropy])
    else:
        work = _baseline(request, inputs, watchers)
    tick_ms, equity, gross, _ = curve.arrays()
    start = inputs.plan.account.start_balance_usd
    result = performance(tick_ms, equity, gross, curve.traded_usd, start)
    hold = hold_curve(inputs.series, start)
    stats: dict[str, float | int | str] = {
        **result.to_dict(),
        "buy_and_hold_return": float(hold[-1]) / start - 1.0,
        "orders": curve.orders,
        "traded_usd": curve.traded_usd,
        "costs_usd": curve.costs_usd,
        **work,
        "virtual_fills": journal.count,
        "virtual_fees_usd": journal.fees_usd,
        "runs_traded": cohorts.total.runs,
        "mean_log_growth_of_runs": cohorts.total.mean,
        "journal_sha256": journal.sha256,
    }
    write_stats(folder, stats)
    pictures = draw(folder, inputs, curve, cohorts, entropy)
    report = write_page(folder, request, inputs, result, stats, pictures, journal)
    return {
        "run_bars": work["run_bars"],
        "seconds": round(float(work["seconds"]), 3),
        "run_bars_per_s": round(float(work["run_bars"]) / max(float(work["seconds"]), 1e-9)),
        "orders": curve.orders,
        "net_return": _finite(result.net_return),
        "max_drawdown": _finite(result.max_drawdown),
        "sharpe": _finite(result.sharpe),
        "journal_sha256": journal.sha256,
        "report": str(report),
    }


def _providence(inputs: Inputs, observers: list[Observer]) -> dict[str, float | int]:
    with BacktestProgress(len(inputs.series)) as progress:
        totals = run_backtest(inputs.plan, inputs.series, observers, progress)
    account = totals.account
    return {
        "ticks": totals.ticks,
        "run_bars": totals.run_bars,
        "seconds": totals.seconds,
        "runs_born": totals.born,
        "runs_living": totals.living,
        "account_fees_usd": account.fees,
        "account_slippage_usd": account.slippage,
        "account_funding_usd": account.funding,
        "orders_expired": account.expired,
        "account_epochs": totals.epochs,
    }


def _baseline(
    request: Request, inputs: Inputs, observers: list[Observer]
) -> dict[str, float | int]:
    strategy: Baseline = (
        SmaCross(request.fast, request.slow)
        if request.strategy == "sma"
        else Rsi(request.rsi_window, request.rsi_low, request.rsi_high)
    )
    rules = inputs.plan.account
    start = time.perf_counter()
    run_baseline(
        strategy,
        inputs.series,
        Costs(rules.fee_rate, rules.slippage_rate),
        rules.start_balance_usd,
        observers,
    )
    seconds = time.perf_counter() - start
    ticks = len(inputs.series)
    return {"ticks": ticks, "run_bars": ticks * len(inputs.markets), "seconds": seconds}


def _entropy_returns(inputs: Inputs) -> EntropyReturns:
    """Of the middle cell and look-back of the grid."""
    space = inputs.plan.colony.space
    cell, lookback = len(space.cells) // 2, len(space.lookbacks) // 2
    return EntropyReturns(space.cells[cell], cell, space.lookbacks[lookback], lookback)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _parser() -> Parser:
    parser = Parser(
        prog="python -m shared.research.backtest",
        description="Backtest on recorded prices; writes a folder and ends with one JSON line.",
    )
    add = parser.add_argument
    add(
        "--data",
        nargs="+",
        required=True,
        help="files, folders, SYMBOL=file, an archive[:dataset], mariadb:candles_1m, mariadb:ticks",
    )
    add("--strategy", choices=("providence", "sma", "rsi"), default="providence")
    add("--symbol", nargs="+", default=(), help="only these symbols")
    add("--from", dest="from_ms", type=time_ms, help="first time, UTC")
    add("--to", dest="to_ms", type=time_ms, help="last time, UTC")
    add("--interval", type=float, help="seconds per tick (default: the candles')")
    add("--repair", action="store_true", help="repair faulty files, and report what was done")
    add("--runs", type=int, help="size of the population (default: config.yml)")
    add("--seed", type=int, default=0)
    add("--balance", type=float, default=10_000.0, help="start balance, USD")
    add("--supervise-secs", type=float, help="period of births (default: 15 ticks)")
    add("--rebalance-secs", type=float, help="period of reconciliation (default: config.yml)")
    add("--fee-bps", type=float, help="fee per side (default: config.yml)")
    add("--slippage-bps", type=float, help="slippage per side (default: config.yml)")
    add("--free-of-costs", action="store_true", help="no fee and no slippage; marked in the report")
    add(
        "--latency-secs",
        type=float,
        default=0.0,
        help="from a decision of the account to its fill, at least a tick",
    )
    add("--fast", type=int, default=20, help="sma: samples of the fast mean")
    add("--slow", type=int, default=100, help="sma: samples of the slow mean")
    add("--rsi-window", type=int, default=14)
    add("--rsi-low", type=float, default=30.0)
    add("--rsi-high", type=float, default=70.0)
    add("--config", help="default: T3_CONFIG or config.yml")
    add("--out", type=Path, default=Path("artifacts/backtest"), help="where the folder is made")
    return parser


def _request(options: argparse.Namespace) -> Request:
    return Request(
        data=tuple(options.data),
        strategy=options.strategy,
        symbols=tuple(options.symbol),
        from_ms=options.from_ms,
        to_ms=options.to_ms,
        interval_ms=None if options.interval is None else round(options.interval * 1000),
        repair=options.repair,
        runs=options.runs,
        seed=options.seed,
        balance_usd=options.balance,
        supervise_secs=options.supervise_secs,
        rebalance_secs=options.rebalance_secs,
        fee_bps=options.fee_bps,
        slippage_bps=options.slippage_bps,
        free_of_costs=options.free_of_costs,
        latency_secs=options.latency_secs,
        fast=options.fast,
        slow=options.slow,
        rsi_window=options.rsi_window,
        rsi_low=options.rsi_low,
        rsi_high=options.rsi_high,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        line = backtest(_request(options), load_settings(options.config), options.out)
    except (ResearchError, ConfigError, OSError) as error:
        sys.stderr.write(f"backtest: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("backtest: interrupted\n")
        return 130
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
