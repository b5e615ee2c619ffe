"""The folder of an optimisation: inputs, trials, figures, pictures, proposal and the page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.research.optimize.outcome import FoldOutcome, Outcome, Tried
from shared.research.optimize.pictures import draw_all
from shared.research.optimize.proposal import config_diff
from shared.research.optimize.search import Optimisation
from shared.research.optimize.studies import settings_content
from shared.research.optimize.trial import Result
from shared.research.outputs import code_version, fingerprint, hold_curve, write_stats
from shared.research.report import Card, Picture, number, page, percent
from shared.research.request import series_of
from shared.research.statistics_text import Row, rows
from shared.research.tables import FloatArray

BPS: Final = 10_000.0
SIGNIFICANT: Final = 0.95
CAPTIONS: Final = {
    "walk": "The test windows end to end. Before each, parameters were chosen by the training "
    "window alone, a gap earlier. The present configuration ran through the same tests.",
    "fronts": "Every trial that went all the way, of all folds. Left what the choice was made by, "
    "right what the same trials did afterwards. Stars are the choices.",
    "luck": "Left: if training told of the test, the points would rise to the right. Right: the "
    "probability of backtest overfitting is the red share.",
    "marginals": "Growth by value of each searched key, medians with quartiles. Only where both "
    "colours say the same is there something to learn. Most telling in training first.",
    "surfaces": "Growth over pairs of the most telling keys, medians. A field that is good in "
    "training and not in the test was luck.",
}
Stats = dict[str, float | int | str]


def write_all(
    folder: Path, wanted: Optimisation, outcome: Outcome, seconds: float, config_text: str
) -> dict[str, Any]:
    """Write everything anew; the JSON line as a dict."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_inputs(folder, wanted)
    pq.write_table(_trials_table(outcome), folder / "trials.parquet", compression="zstd")
    hold = _hold(wanted, outcome)
    _write_walk(folder, outcome, hold)
    stats = _stats(wanted, outcome, hold, seconds)
    write_stats(folder, stats)
    proposal = write_proposal(folder, outcome, config_text)
    pictures = draw_all(folder, outcome, hold)
    report = _write_page(folder, wanted, outcome, stats, pictures, proposal)
    return {
        "trials": stats["trials"],
        "given_up_early": stats["given_up_early"],
        "failed": stats["failed"],
        "seconds": stats["seconds"],
        "folds": stats["folds"],
        "out_of_sample_return": _finite(outcome.walk.net_return),
        "out_of_sample_sharpe": _finite(outcome.walk.sharpe),
        "sharpe_error": _finite(outcome.walk.sharpe_error),
        "present_return": _finite(outcome.current_walk.net_return),
        "growth_in_training_bps_per_day": _finite(BPS * outcome.train_growth),
        "growth_out_of_sample_bps_per_day": _finite(BPS * outcome.test_growth),
        "deflated_sharpe": _finite(outcome.folds[-1].deflated_sharpe),
        "overfitting_probability": _finite(outcome.overfitting),
        "proposal": str(proposal) if proposal else None,
        "report": str(report),
    }


def write_proposal(folder: Path, outcome: Outcome, config_text: str) -> Path | None:
    """``proposal.diff`` with the newest choice; None if that is the present configuration."""
    path = folder / "proposal.diff"
    chosen = outcome.proposed
    diff = "" if chosen is None else config_diff(config_text, chosen.values)
    if not diff:
        path.unlink(missing_ok=True)
        return None
    path.write_text(diff, encoding="utf-8")
    return path


def _write_inputs(folder: Path, wanted: Optimisation) -> None:
    content = {
        "optimisation": wanted.id,
        "request": asdict(wanted.request),
        "trials_per_fold": wanted.trials,
        "folds": [asdict(fold) for fold in wanted.folds],
        "data": fingerprint(wanted.inputs),
        "code_version": code_version(),
        "interval_ms": wanted.inputs.series.interval_ms,
        "settings": settings_content(wanted.settings),
    }
    text = json.dumps(content, indent=2, default=str)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _trials_table(outcome: Outcome) -> pa.Table:
    """A row per trial that went all the way: values, figures of both windows."""
    keys = sorted({key for fold in outcome.folds for t in fold.tried for key in t.values})
    rows = []
    for fold in outcome.folds:
        front = {trial.number for trial in fold.front}
        for trial in fold.tried:
            row: dict[str, Any] = {
                "fold": fold.fold.number,
                "trial": trial.number,
                "present": trial.is_current,
                "chosen": trial is fold.chosen,
                "pareto": trial.number in front,
            }
            for window in ("train", "test"):
                row |= _figures(window, getattr(trial, window))
            row |= {key: json.dumps(trial.values.get(key)) for key in keys}
            rows.append(row | {"host": trial.host, "code_version": trial.code_version})
    return pa.Table.from_pylist(rows)


def _figures(window: str, result: Result) -> dict[str, Any]:
    return {
        f"{window}_growth_per_day": result.objectives.growth,
        f"{window}_drawdown": result.objectives.drawdown,
        f"{window}_turnover_per_day": result.objectives.turnover,
        f"{window}_net_return": result.net_return,
        f"{window}_sharpe": result.sharpe,
        f"{window}_orders": result.orders,
        f"{window}_costs": result.costs,
    }


def _hold(wanted: Optimisation, outcome: Outcome) -> FloatArray:
    """Buy and hold through the test windows, at the ends of the walk's periods; starts at 1."""
    inputs = wanted.inputs
    parts, worth = [], 1.0
    for fold in outcome.folds:
        window = fold.fold.test
        series = series_of(
            inputs.prices,
            inputs.funding,
            inputs.series.interval_ms,
            wanted.settings,
            window.from_ms,
            window.to_ms,
        )
        curve = hold_curve(series, 1.0)
        ticks = series.first_ms + np.arange(len(curve)) * series.interval_ms
        ends = outcome.walk.tick_ms
        own = ends[(ends > window.from_ms) & (ends <= window.to_ms + series.interval_ms)]
        rows = np.maximum(np.searchsorted(ticks, own, side="right") - 1, 0)
        parts.append(worth * curve[rows])
        worth = float(parts[-1][-1]) if len(own) else worth
    return np.concatenate(parts)


def _write_walk(folder: Path, outcome: Outcome, hold: FloatArray) -> None:
    table = pa.table(
        {
            "end_ms": pa.array(outcome.walk.tick_ms.astype(np.int64)),
            "chosen": np.cumprod(1.0 + outcome.walk.returns),
            "present": np.cumprod(1.0 + outcome.current_walk.returns),
            "buy_and_hold": hold,
        }
    )
    pq.write_table(table, folder / "walk.parquet", compression="zstd")


def _stats(wanted: Optimisation, outcome: Outcome, hold: FloatArray, seconds: float) -> Stats:
    walk, current = outcome.walk, outcome.current_walk
    stats: Stats = {
        "optimisation": wanted.id,
        "folds": len(outcome.folds),
        "trials": sum(fold.count for fold in outcome.folds),
        "given_up_early": sum(fold.pruned for fold in outcome.folds),
        "failed": sum(fold.failed for fold in outcome.folds),
        "seconds": round(seconds, 1),
        "out_of_sample_return": walk.net_return,
        "out_of_sample_drawdown": walk.max_drawdown,
        "out_of_sample_sharpe": walk.sharpe,
        "out_of_sample_sharpe_error": walk.sharpe_error,
        "out_of_sample_probabilistic_sharpe": walk.probability,
        "out_of_sample_turnover_per_day": walk.turnover,
        "out_of_sample_orders": walk.orders,
        "out_of_sample_costs": walk.costs,
        "present_return": current.net_return,
        "present_sharpe": current.sharpe,
        "present_drawdown": current.max_drawdown,
        "buy_and_hold_return": float(hold[-1]) - 1.0,
        "growth_in_training_bps_per_day": BPS * outcome.train_growth,
        "growth_out_of_sample_bps_per_day": BPS * outcome.test_growth,
        "overfitting_probability": outcome.overfitting,
    }
    for fold in outcome.folds:
        stats |= {f"fold_{fold.fold.number}_{k}": v for k, v in _fold_stats(fold).items()}
    return stats


def _fold_stats(fold: FoldOutcome) -> Stats:
    chosen, overfitting = fold.chosen, fold.overfitting
    nan = math.nan
    return {
        "chosen_trial": -1 if chosen is None else chosen.number,
        "train_growth_bps_per_day": BPS * chosen.train.objectives.growth if chosen else nan,
        "test_growth_bps_per_day": BPS * chosen.test.objectives.growth if chosen else nan,
        "train_sharpe": chosen.train.sharpe if chosen else nan,
        "test_sharpe": chosen.test.sharpe if chosen else nan,
        "deflated_sharpe": fold.deflated_sharpe,
        "overfitting_probability": overfitting.probability if overfitting else nan,
        "loss_probability": overfitting.loss_probability if overfitting else nan,
        "rank_in_test": fold.rank,
    }


def _write_page(
    folder: Path,
    wanted: Optimisation,
    outcome: Outcome,
    stats: Stats,
    pictures: Mapping[str, Path],
    proposal: Path | None,
) -> Path:
    """``report.html``."""
    series = wanted.inputs.series
    first, last = (
        datetime.fromtimestamp(ms / 1000.0, tz=UTC) for ms in (series.first_ms, series.last_ms)
    )
    fold = outcome.folds[0].fold
    gap_hours = (fold.test.from_ms - fold.train.to_ms) / 3_600_000
    subtitle = (
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d} UTC · a tick every {series.interval_ms / 1000:g} s · "
        f"{len(outcome.folds)} folds: {fold.train.hours / 24:.1f} days of training, a gap of "
        f"{gap_hours / 24:.1f}, {fold.test.hours / 24:.1f} days of test"
    )
    whole = {name: value for name, value in stats.items() if not name.startswith("fold_")}
    tables = {"Numbers": rows(whole)}
    for one in outcome.folds:
        tables[f"Fold {one.fold.number}"] = _fold_rows(one)
    if proposal is not None:
        tables["Proposal (proposal.diff)"] = _proposal_rows(outcome.proposed)
    text = page(
        f"Optimisation on {', '.join(series.symbols)}",
        subtitle,
        _cards(outcome, stats),
        [*notes(outcome), *other_ticks(wanted)],
        [Picture(path, CAPTIONS[name]) for name, path in pictures.items()],
        tables,
        f"Written by make optimize, search {wanted.id}. config.json beside this page holds "
        "everything needed to run it again.",
    )
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _cards(outcome: Outcome, stats: Stats) -> list[Card]:
    walk, newest = outcome.walk, outcome.folds[-1]
    hold = float(stats["buy_and_hold_return"])
    return [
        Card(percent(walk.net_return), "chosen, out of sample", _tone(walk.net_return)),
        Card(
            percent(outcome.current_walk.net_return),
            "present configuration, same time",
            _tone(outcome.current_walk.net_return),
        ),
        Card(percent(hold), "buy and hold, same time", _tone(hold)),
        Card(
            f"{number(walk.sharpe)} ± {number(walk.sharpe_error)}",
            "Sharpe per year out of sample, ± 1 s.e.",
        ),
        Card(
            f"{number(BPS * outcome.train_growth, 1)} → {number(BPS * outcome.test_growth, 1)}",
            "growth of the choices, bps per day: training → test",
        ),
        Card(number(newest.deflated_sharpe), "deflated Sharpe, newest training (bar: 0.95)"),
        Card(number(outcome.overfitting), "probability of overfitting (0.5: a mere draw)"),
        Card(
            f"{int(stats['trials']):,}",
            f"trials, {int(stats['given_up_early']):,} given up early",
        ),
    ]


def notes(outcome: Outcome) -> list[str]:
    """What a reader must know, in sentences; the verdict first."""
    walk, newest = outcome.walk, outcome.folds[-1]
    found = [verdict(outcome)]
    found.append(
        "In training the choices grew "
        f"{number(BPS * outcome.train_growth)} bps a day, in their tests "
        f"{number(BPS * outcome.test_growth)}. Only the second figure was earned on prices that "
        "nobody had looked at."
    )
    ranks = ", ".join("–" if math.isnan(f.rank) else f"{f.rank:.0%}" for f in outcome.folds)
    found.append(
        f"Share of the other trials that the choice beat in its test, fold by fold: {ranks}. "
        "Half is what a draw gives."
    )
    if math.isfinite(newest.deflated_sharpe):
        found.append(
            f"The newest choice is the best of {newest.count}; the probability that its training "
            f"Sharpe ratio is more than the luck of so many trials is {newest.deflated_sharpe:.2f}."
        )
    losing = [
        str(f.fold.number)
        for f in outcome.folds
        if f.chosen is None or f.chosen.train.objectives.growth <= 0.0
    ]
    if losing:
        found.append(
            f"In fold {', '.join(losing)} no trial grew even in training: not to trade was better."
        )
    versions = {trial.code_version for fold in outcome.folds for trial in fold.tried}
    if len(versions) > 1:
        found.append(
            f"The trials were done by different versions of the code ({', '.join(sorted(versions))}"
            "): the search went on after a change. Another SEED begins a new one."
        )
    if walk.orders < 100:
        found.append(f"The choices sent {walk.orders} orders in all: few to judge by.")
    return found


def other_ticks(wanted: Optimisation) -> list[str]:
    """A sentence where the search was made on other ticks than the platform's own."""
    searched, own = wanted.inputs.series.interval_ms, wanted.settings.interval_ms
    if searched == own:
        return []
    text = (
        f"Windows and look-backs are counted in ticks. This search ticked every {searched / 1000:g}"
        f" s, the platform every {own / 1000:g} s: there the same values are another strategy. "
        "Search with INTERVAL, on prices as fine as that, before you apply anything."
    )
    return [text]


def verdict(outcome: Outcome) -> str:
    """One sentence: is the search worth following?"""
    walk, current = outcome.walk, outcome.current_walk
    if outcome.proposed is None:
        return "No trial stayed within the limits; there is nothing to propose."
    if is_proven(outcome):
        return "What was chosen earned money out of sample, and more than luck explains."
    better = walk.net_return > current.net_return
    compared = "less badly than" if better and walk.net_return <= 0.0 else "better than"
    return (
        "Nothing here is proven to earn money: "
        + ("what was chosen earned" if walk.net_return > 0.0 else "what was chosen lost")
        + f" {percent(abs(walk.net_return)).lstrip('+')} out of sample, "
        + (f"{compared} the present configuration" if better else "no better than the present one")
        + f" ({percent(current.net_return)}); the probability that its Sharpe ratio is above 0 is "
        + f"{number(walk.probability)}."
    )


def is_proven(outcome: Outcome, min_deflated_sharpe: float = SIGNIFICANT) -> bool:
    """Earned money out of sample, surely, and by more than the luck of many trials explains."""
    walk = outcome.walk
    return (
        walk.net_return > max(0.0, outcome.current_walk.net_return)
        and walk.probability >= SIGNIFICANT
        and outcome.folds[-1].deflated_sharpe >= min_deflated_sharpe
    )


def _fold_rows(fold: FoldOutcome) -> list[Row]:
    windows = []
    for name, window in (("Training", fold.fold.train), ("Test", fold.fold.test)):
        start, end = (
            datetime.fromtimestamp(ms / 1000.0, tz=UTC) for ms in (window.from_ms, window.to_ms)
        )
        windows.append((name, f"{start:%m-%d %H:%M} to {end:%m-%d %H:%M}", "UTC"))
    return windows + rows(_fold_stats(fold))


def _proposal_rows(chosen: Tried | None) -> list[Row]:
    values = {} if chosen is None else chosen.values
    return [(path, json.dumps(value), "") for path, value in values.items()]


def _tone(value: float) -> str:
    return "good" if value > 0.0 else "bad" if value < 0.0 else ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
