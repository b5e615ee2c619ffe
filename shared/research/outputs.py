"""The folder of one backtest: configuration, fingerprints, results, pictures and the page."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.config import Settings
from shared.research.cohorts import Cohorts, EntropyReturns
from shared.research.observers import EquityCurve, Journal
from shared.research.performance import Performance
from shared.research.plots import Plots
from shared.research.report import Card, Picture, number, page, percent
from shared.research.request import Inputs, Request
from shared.research.statistics_text import Row, rows
from shared.research.stored_series import StoredSeries
from shared.research.tables import FloatArray
from shared.research.tick_series import Series

ROOT: Final = Path(__file__).parents[2]
OF_THE_RUNS: Final = (
    "ticks",
    "run_bars",
    "runs_born",
    "runs_living",
    "runs_traded",
    "mean_log_growth_of_runs",
    "virtual_fills",
    "virtual_fees_usd",
    "seconds",
)
"""Statistics that are not the account's."""
CAPTIONS: Final = {
    "equity": "The account after fees, slippage and funding, marked at every tick, against equal "
    "parts of every symbol bought at the start and held at no cost. Lines down through it are ends "
    "of its epochs: green a take profit, red a drawdown reset.",
    "exposure": "What the account held: gross counts both sides, net is long minus short.",
    "turnover": "What the account traded, and what fees and slippage have taken of it.",
    "growth": "Virtual runs that traded, ended ones included: mean ln(end / start) per run after "
    "its own costs. Bars are two standard errors; runs share prices, so the truth is wider.",
    "entropy": "What the market showed, before any strategy: the next return by entropy, all "
    "symbols together. A strategy has something to live on where the right-hand points leave 0 by "
    "more than the costs.",
    "surfaces": "Mean log-growth of runs by pairs of parameters. A lone good field among bad "
    "neighbours is luck.",
}


def make_folder(root: Path, request: Request, inputs: Inputs, now: datetime) -> Path:
    """A new folder named after the time, the strategy and what was asked."""
    wanted = json.dumps([asdict(request), fingerprint(inputs)], sort_keys=True, default=str)
    name = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    folder = root / f"{now:%Y%m%dT%H%M%S}-{request.strategy}-{name}"
    folder.mkdir(parents=True, exist_ok=False)
    return folder


def fingerprint(inputs: Inputs) -> list[dict[str, Any]]:
    """Every file that was read, with what its bytes hash to and what was repaired in it."""
    prices = [
        {
            "symbol": points.symbol,
            "kind": points.kind,
            "file": str(points.path),
            "sha256": points.sha256,
            "rows": points.rows,
            "spacing_ms": points.spacing_ms,
            "repairs": asdict(points.repairs),
        }
        for points in inputs.prices
    ]
    rates = [
        {
            "symbol": symbol,
            "kind": "funding",
            "file": str(rates.path),
            "sha256": rates.sha256,
            "rows": len(rates.rate),
        }
        for symbol, rates in inputs.funding.items()
    ]
    stored = [
        {
            "symbol": symbol,
            "kind": "ticks",
            "file": "mariadb:ticks",
            "sha256": inputs.series.sha256,
            "rows": len(inputs.series),
        }
        for symbol in inputs.series.symbols
        if isinstance(inputs.series, StoredSeries)
    ]
    return [*prices, *rates, *stored]


@cache
def code_version() -> str:
    """Commit of the code and whether it has changes on top; ``unknown`` outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    try:
        described = subprocess.run(
            [git, "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def write_inputs(folder: Path, request: Request, settings: Settings, inputs: Inputs) -> None:
    """``config.json``: request, configuration, files and code, enough to run it again."""
    plan = inputs.plan
    content = {
        "request": asdict(request),
        "data": fingerprint(inputs),
        "code_version": code_version(),
        "first_tick_ms": inputs.series.first_ms,
        "last_tick_ms": inputs.series.last_ms,
        "interval_ms": inputs.series.interval_ms,
        "supervise_every_ticks": plan.supervise_every,
        "rebalance_every_ticks": plan.rebalance_every,
        "fee_rate": plan.account.fee_rate,
        "slippage_rate": plan.account.slippage_rate,
        "markets": [asdict(market) for market in plan.markets],
        "settings": settings.model_dump(mode="json"),
    }
    text = json.dumps(content, indent=2, default=str)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def write_stats(folder: Path, stats: Mapping[str, float | int | str]) -> None:
    """``stats.csv``: one statistic per row."""
    with (folder / "stats.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["statistic", "value"])
        writer.writerows(stats.items())


def hold_curve(series: Series, balance_usd: float) -> FloatArray:
    """Equal parts of every symbol bought at its first known price, without costs."""
    coins = np.full(len(series.symbols), np.nan)
    share, last = balance_usd / len(coins), np.full(len(coins), np.nan)
    values = []
    for number_of_block in range(series.blocks):
        price = np.vstack([last, series.samples(number_of_block).price])
        rows = np.maximum.accumulate(
            np.where(np.isfinite(price), np.arange(len(price))[:, None], 0), axis=0
        )
        filled = np.take_along_axis(price, rows, axis=0)[1:]
        first = np.array(
            [c[np.isfinite(c)][0] if np.isfinite(c).any() else np.nan for c in filled.T]
        )
        coins = np.where(np.isfinite(coins), coins, share / first)
        worth = np.where(np.isfinite(filled), filled * coins, share)
        values.append(worth.sum(axis=1))
        last = filled[-1]
    return np.concatenate(values)


def draw(
    folder: Path,
    inputs: Inputs,
    curve: EquityCurve,
    cohorts: Cohorts | None,
    entropy: EntropyReturns | None,
) -> dict[str, Path]:
    """All pictures that there is something to show for."""
    plots = Plots(folder)
    tick_ms, equity, gross, net = curve.arrays()
    start = inputs.plan.account.start_balance_usd
    plots.equity(tick_ms, equity, hold_curve(inputs.series, start), start, curve.epochs)
    plots.exposure(tick_ms, gross, net, equity)
    by_day = curve.by_day()
    days = sorted(by_day)
    plots.turnover(
        [f"{datetime.fromtimestamp(day * 86_400, tz=UTC):%m-%d}" for day in days],
        [by_day[day][0] for day in days],
        [by_day[day][1] for day in days],
    )
    if cohorts is not None and cohorts.total.runs:
        plots.growth(
            {
                "By interpretation": cohorts.by_interpretation,
                "By symbol": cohorts.by_symbol,
                "By end": cohorts.by_end,
            }
        )
        plots.surfaces(
            {
                ("order", "window"): cohorts.by_order_and_window,
                ("window", "look-back"): cohorts.by_window_and_lookback,
            }
        )
    if entropy is not None and entropy.count.sum() > 0.0:
        plots.entropy(entropy)
    return plots.made


def write_page(
    folder: Path,
    request: Request,
    inputs: Inputs,
    result: Performance,
    stats: Mapping[str, float | int | str],
    pictures: Mapping[str, Path],
    journal: Journal,
) -> Path:
    """``report.html``."""
    series = inputs.series
    first, last = (
        datetime.fromtimestamp(ms / 1000.0, tz=UTC) for ms in (series.first_ms, series.last_ms)
    )
    title = f"{request.strategy.capitalize()} on {', '.join(series.symbols)}"
    subtitle = (
        f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC · a tick every "
        f"{series.interval_ms / 1000:g} s · fee {inputs.plan.account.fee_rate * 1e4:g} bps and "
        f"slippage {inputs.plan.account.slippage_rate * 1e4:g} bps a side"
    )
    numbers = {name: value for name, value in stats.items() if not isinstance(value, str)}
    text = page(
        title,
        subtitle,
        _cards(result, stats),
        _notes(request, inputs, result, stats),
        [Picture(path, CAPTIONS[name]) for name, path in pictures.items()],
        {
            "The account": rows({k: v for k, v in numbers.items() if k not in OF_THE_RUNS}),
            "The runs": rows({k: numbers[k] for k in OF_THE_RUNS if k in numbers}),
            "Inputs": _inputs(inputs, journal),
        },
        "Written by make backtest. config.json beside this page holds everything needed to run it "
        "again; the same inputs give the same journal hash.",
    )
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _cards(result: Performance, stats: Mapping[str, float | int | str]) -> list[Card]:
    hold = float(stats["buy_and_hold_return"])
    sharpe = f"{number(result.sharpe)} ± {number(result.sharpe_error)}"
    return [
        Card(percent(result.net_return), "net return", _tone(result.net_return)),
        Card(percent(hold), "buy and hold", _tone(hold)),
        Card(percent(-result.max_drawdown), "largest drawdown"),
        Card(sharpe, "Sharpe per year, ± 1 s.e."),
        Card(f"{int(stats['orders']):,}", "account orders"),
        Card(number(result.turnover_per_day, 1) + " ×", "turnover per day, of equity"),
        Card(
            percent(-float(stats["costs_usd"]) / result.start_usd),
            "fees and slippage, of the start balance",
        ),
        Card(f"{result.days:,.1f}", "days of prices"),
    ]


def _tone(value: float) -> str:
    return "good" if value > 0.0 else "bad" if value < 0.0 else ""


def _notes(
    request: Request,
    inputs: Inputs,
    result: Performance,
    stats: Mapping[str, float | int | str],
) -> list[str]:
    notes = [
        "One path of the past. What was chosen on it proves nothing by it: look at other data."
    ]
    if math.isfinite(result.sharpe):
        sure = abs(result.sharpe) > 2.0 * result.sharpe_error
        side = "above" if result.sharpe > 0.0 else "below"
        notes.append(
            f"The Sharpe ratio is {number(result.sharpe)} with a standard error of "
            f"{number(result.sharpe_error)}: "
            + (f"it is {side} 0 by more than chance." if sure else "it may as well be 0.")
        )
    gross = result.net_return + float(stats["costs_usd"]) / result.start_usd
    notes.append(
        f"Before fees and slippage the account would have made about {percent(gross)}; costs took "
        f"{100.0 * float(stats['costs_usd']) / result.start_usd:.2f} % of the start balance."
    )
    without = [s for s in inputs.series.symbols if s not in inputs.funding]
    if without and not isinstance(inputs.series, StoredSeries):
        notes.append(f"No funding was given for {', '.join(without)}: it counts as 0.")
    repaired = [points.path.name for points in inputs.prices if points.repairs.any]
    if repaired:
        notes.append(f"Repaired on request: {', '.join(repaired)}; see config.json for the rows.")
    if request.free_of_costs:
        notes.append("Costs were switched off by hand. Nothing here can be earned.")
    return notes


def _inputs(inputs: Inputs, journal: Journal) -> list[Row]:
    files = [
        (
            f"{item['symbol']} {item['kind']}",
            Path(item["file"]).name,
            f"SHA-256 {item['sha256'][:16]}…" if item["sha256"] else "",
        )
        for item in fingerprint(inputs)
    ]
    return [
        *files,
        ("Journal", journal.sha256, "SHA-256 of every virtual fill; the same inputs give the same"),
        ("Code", code_version(), "commit"),
    ]
