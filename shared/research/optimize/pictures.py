"""The pictures of an optimisation; each shows training and test side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shared.research.optimize.outcome import FoldOutcome, Outcome, Tried
from shared.research.optimize.trial import Objectives
from shared.research.plots import BLUE, GREEN, INK, MUTED, ORANGE, RED, dates, start_drawing
from shared.research.tables import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BPS: Final = 10_000.0
BINS: Final = 5
MOST_MARGINALS: Final = 12
Growth = Callable[[Tried], float]


def draw_all(folder: Path, outcome: Outcome, hold: FloatArray) -> dict[str, Path]:
    """Every picture there is something to show for, by name."""
    tried = [trial for fold in outcome.folds for trial in fold.tried]
    made = {
        "walk": _walk(outcome, hold),
        "fronts": _fronts(outcome),
        "luck": _luck(outcome),
    }
    searched = _searched(tried)
    if searched:
        made["marginals"] = _marginals(tried, searched)
        if len(searched) > 1:
            made["surfaces"] = _surfaces(tried, searched)
    return {name: _save(figure, folder / f"{name}.png") for name, figure in made.items()}


def _walk(outcome: Outcome, hold: FloatArray) -> Figure:
    """Test windows end to end: chosen, present configuration, buy and hold."""
    figure, (axes, low) = start_drawing(10.0, 5.0, rows=2, heights=(3, 1))
    walk, current = outcome.walk, outcome.current_walk
    when = walk.tick_ms.astype("datetime64[ms]")
    chosen = np.cumprod(1.0 + walk.returns)
    for series, colour, label, width in (
        (hold, MUTED, "buy and hold", 1.0),
        (np.cumprod(1.0 + current.returns), ORANGE, "present configuration", 1.2),
        (chosen, BLUE, "chosen before each test", 1.8),
    ):
        axes.plot(when, 100.0 * (series - 1.0), color=colour, label=label, linewidth=width)
    axes.axhline(0.0, color=INK, linewidth=0.8, linestyle=":")
    for fold in outcome.folds:
        start = np.datetime64(fold.fold.test.from_ms, "ms")
        for ax in (axes, low):
            ax.axvline(start, color=MUTED, linewidth=0.7, linestyle="--")  # type: ignore[arg-type]
        axes.annotate(
            f"fold {fold.fold.number}",
            (start, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -12),
            textcoords="offset points",
            color=MUTED,
            fontsize=8,
        )
    axes.set_title("Out of sample, after costs")
    axes.set_ylabel("return, %")
    axes.legend(loc="lower left", ncols=3, fontsize=9)
    axes.margins(y=0.18)
    peak = np.maximum.accumulate(np.maximum(chosen, 1.0))
    low.fill_between(when, 100.0 * (chosen / peak - 1.0), 0.0, color=RED, alpha=0.3, linewidth=0)
    low.set_ylabel("drawdown, %")
    dates(low)
    return figure


def _fronts(outcome: Outcome) -> Figure:
    """Trials and their Pareto fronts, in training and in the test."""
    figure, axes = start_drawing(10.0, 7.0, rows=2, columns=2, share_x=False)
    for row, (name, x_of) in enumerate(
        (("drawdown, %", _drawdown), ("turnover per day", _turnover))
    ):
        for column, window in enumerate(("train", "test")):
            ax = axes[2 * row + column]
            _front(ax, outcome.folds, window, x_of)
            title = "In training" if window == "train" else "The same trials in the test"
            ax.set_title(title if row == 0 else "", fontsize=11)
            ax.set_xlabel(name)
            ax.set_ylabel("growth, bps per day")
            ax.axhline(0.0, color=INK, linewidth=0.8, linestyle=":")
            ax.set_xscale("symlog", linthresh=0.1)
            ax.set_yscale("symlog", linthresh=1.0)
            ax.set_xlim(left=-0.01)
    axes[0].legend(loc="lower left", fontsize=8)
    return figure


def _front(
    ax: Axes, folds: Sequence[FoldOutcome], window: str, x_of: Callable[[Objectives], float]
) -> None:
    def put(trials: Sequence[Tried], label: str, **look: Any) -> None:
        figures = [getattr(trial, window).objectives for trial in trials]
        ax.scatter(
            [x_of(f) for f in figures], [BPS * f.growth for f in figures], label=label, **look
        )

    put([t for f in folds for t in f.tried], "trial", s=14, color=MUTED, alpha=0.45, linewidth=0)
    put([t for f in folds for t in f.front], "Pareto front of the training", s=24, color=BLUE)
    if window == "test":
        put(
            [t for f in folds for t in f.test_front],
            "Pareto front of the test",
            s=60,
            facecolors="none",
            edgecolors=GREEN,
        )
    put([f.current for f in folds if f.current], "present", s=40, color=ORANGE, marker="s")
    put([f.chosen for f in folds if f.chosen], "chosen", s=110, color=RED, marker="*", zorder=5)


def _drawdown(figures: Objectives) -> float:
    return 100.0 * figures.drawdown


def _turnover(figures: Objectives) -> float:
    return figures.turnover


def _luck(outcome: Outcome) -> Figure:
    """Does training say anything of the test? And is choosing by it better than a draw?"""
    figure, axes = start_drawing(10.0, 3.6, columns=2)
    left, right = axes
    tried = [t for f in outcome.folds for t in f.tried]
    train = np.array([BPS * t.train.objectives.growth for t in tried])
    test = np.array([BPS * t.test.objectives.growth for t in tried])
    left.scatter(train, test, s=14, color=MUTED, alpha=0.5, linewidth=0)
    for fold in outcome.folds:
        if fold.chosen is not None:
            x, y = (BPS * r.objectives.growth for r in (fold.chosen.train, fold.chosen.test))
            left.scatter([x], [y], s=110, color=RED, marker="*", zorder=5)
    for line in (left.axhline, left.axvline):
        line(0.0, color=INK, linewidth=0.8, linestyle=":")
    for scale in (left.set_xscale, left.set_yscale):
        scale("symlog", linthresh=1.0)
    left.set_title("Training against test", fontsize=11)
    left.set_xlabel("growth in training, bps per day")
    left.set_ylabel("growth in the test, bps per day")
    logits = [f.overfitting.logits for f in outcome.folds if f.overfitting is not None]
    if logits:
        values = np.concatenate(logits)
        edges = np.linspace(values.min(), max(values.max(), values.min() + 1e-9), 31)
        bad = values <= 0.0
        right.hist([values[bad], values[~bad]], edges.tolist(), color=[RED, GREEN], stacked=True)
    right.axvline(0.0, color=INK, linewidth=1.0)
    right.set_title("Rank of the best of one half in the other", fontsize=11)
    right.set_xlabel("ln(ω / (1 − ω)); at or below 0: worse than the median")
    right.set_ylabel("splits")
    return figure


def _searched(tried: Sequence[Tried]) -> list[str]:
    """Keys with more than one value among the trials, the most telling in training first."""
    keys = sorted({key for trial in tried for key in trial.values})
    told = {key: _explained(tried, key) for key in keys if len(_bins(tried, key)) > 1}
    return sorted(told, key=lambda key: -told[key])[:MOST_MARGINALS]


def _short(key: str) -> str:
    """The end of a path that still says what it is."""
    parts = key.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def _label(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(sorted(name[:3] for name, share in value.items() if share))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000.0 else f"{value:.3g}"
    return json.dumps(value).replace(" ", "").strip("[]")


def _bins(tried: Sequence[Tried], key: str) -> dict[str, list[Tried]]:
    """Trials by value of a key; numbers in five classes of equal count."""
    own = [trial for trial in tried if key in trial.values]
    values = [trial.values[key] for trial in own]
    found: dict[str, list[Tried]] = {}
    if values and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        order = sorted(range(len(own)), key=lambda i: values[i])
        for part in np.array_split(np.array(order), min(BINS, len(order))):
            places = part.tolist()
            low, high = (_label(float(values[places[end]])) for end in (0, -1))
            found.setdefault(f"{low}–{high}", []).extend(own[i] for i in places)
        return found
    for trial, value in sorted(zip(own, values, strict=True), key=lambda pair: str(pair[1])):
        found.setdefault(_label(value), []).append(trial)
    return found


def _train_growth(trial: Tried) -> float:
    return BPS * trial.train.objectives.growth


def _test_growth(trial: Tried) -> float:
    return BPS * trial.test.objectives.growth


def _explained(tried: Sequence[Tried], key: str) -> float:
    """Share of the variance of ranks of training growth that the classes of a key explain."""
    own = [trial for trial in tried if key in trial.values]
    ranks = np.argsort(np.argsort([_train_growth(trial) for trial in own])).astype(float)
    by_trial = dict(zip(map(id, own), ranks.tolist(), strict=True))
    spread = float(ranks.var()) * len(ranks)
    between = sum(
        len(members) * (np.mean([by_trial[id(t)] for t in members]) - ranks.mean()) ** 2
        for members in _bins(tried, key).values()
    )
    return float(between) / spread if spread > 0.0 else 0.0


def _marginals(tried: Sequence[Tried], keys: Sequence[str]) -> Figure:
    """Median growth by value of each key, in training and in the test."""
    columns = 3
    rows = math.ceil(len(keys) / columns)
    figure, axes = start_drawing(10.0, 2.5 * rows, rows=rows, columns=columns, share_x=False)
    for ax, key in zip(axes, keys, strict=False):
        bins = _bins(tried, key)
        places = np.arange(len(bins))
        for growth, colour, shift, label in (
            (_train_growth, BLUE, -0.08, "training"),
            (_test_growth, ORANGE, 0.08, "test"),
        ):
            parts = [np.array([growth(t) for t in members]) for members in bins.values()]
            middle = np.array([np.median(p) for p in parts])
            low, high = (np.array([np.quantile(p, q) for p in parts]) for q in (0.25, 0.75))
            ax.errorbar(
                places + shift,
                middle,
                yerr=[middle - low, high - middle],
                fmt="o-",
                color=colour,
                markersize=4,
                linewidth=1.0,
                capsize=2,
                label=label,
            )
        ax.axhline(0.0, color=INK, linewidth=0.8, linestyle=":")
        ax.set_xticks(places, list(bins), fontsize=7, rotation=20)
        ax.set_yscale("symlog", linthresh=1.0)
        ax.set_title(_short(key), fontsize=9)
    for ax in axes[len(keys) :]:
        ax.set_visible(False)
    axes[0].legend(fontsize=8)
    axes[0].set_ylabel("growth, bps per day")
    return figure


def _surfaces(tried: Sequence[Tried], keys: Sequence[str]) -> Figure:
    """Median growth over the two pairs of most telling keys, training beside test."""
    pairs = [(keys[0], keys[1]), (keys[0], keys[2])] if len(keys) > 2 else [(keys[0], keys[1])]
    figure, axes = start_drawing(10.0, 3.6 * len(pairs), rows=len(pairs), columns=2, share_x=False)
    for row, (y_key, x_key) in enumerate(pairs):
        ys, xs = _bins(tried, y_key), _bins(tried, x_key)
        for column, (growth, name) in enumerate(
            ((_train_growth, "in training"), (_test_growth, "in the test"))
        ):
            _surface(figure, axes[2 * row + column], ys, xs, growth)
            axes[2 * row + column].set_title(f"Growth {name}", fontsize=10)
            axes[2 * row + column].set_xlabel(_short(x_key))
            axes[2 * row + column].set_ylabel(_short(y_key))
    return figure


def _surface(
    figure: Figure,
    ax: Axes,
    ys: dict[str, list[Tried]],
    xs: dict[str, list[Tried]],
    growth: Growth,
) -> None:
    values = np.full((len(ys), len(xs)), np.nan)
    for row, members in enumerate(ys.values()):
        own = set(map(id, members))
        for column, others in enumerate(xs.values()):
            both = [growth(trial) for trial in others if id(trial) in own]
            values[row, column] = np.median(both) if both else np.nan
    known = np.abs(values[np.isfinite(values)])
    limit = max(float(np.quantile(known, 0.8)) if len(known) else 1.0, 1e-6)
    image = ax.imshow(values, cmap="RdYlGn", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            ink = "white" if abs(value) > 0.7 * limit else INK
            ax.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, color=ink)
    ax.set_xticks(range(len(xs)), list(xs), fontsize=7, rotation=15)
    ax.set_yticks(range(len(ys)), list(ys), fontsize=7)
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, label="bps per day", extend="both")


def _save(figure: Figure, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
