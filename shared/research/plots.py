"""The pictures of a report, one function each; every one says what it shows and of how much."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.research.cohorts import Cohort, EntropyReturns
from shared.research.observers import EpochMark
from shared.research.performance import drawdown
from shared.research.tables import FloatArray
from shared.risk.account_epochs import EpochEnd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK: Final = "#1c2733"
MUTED: Final = "#6b7785"
GRID: Final = "#e3e8ee"
BLUE: Final = "#2962c4"
ORANGE: Final = "#d9822b"
RED: Final = "#c23b3b"
GREEN: Final = "#2b8a5b"
POINTS: Final = 4_000
"""Most points of a line; more cannot be seen."""
MIN_RUNS: Final = 2


class Plots:
    """Draws into PNG files of one folder."""

    def __init__(self, folder: Path) -> None:
        _set_style()
        self._folder = folder
        self.made: dict[str, Path] = {}

    def equity(
        self,
        tick_ms: NDArray[np.int64],
        equity: FloatArray,
        hold: FloatArray,
        start_usd: float,
        epochs: Sequence[EpochMark] = (),
    ) -> None:
        """Account and equal-weight buy and hold, and the account's drawdown below."""
        figure, (top, low) = _figure(10.0, 5.2, 2, heights=(3, 1))
        thin = _thin(len(tick_ms))
        when = _times(tick_ms[thin])
        top.plot(when, hold[thin], color=MUTED, linewidth=1.1, label="buy and hold, equal weights")
        top.plot(when, equity[thin], color=BLUE, linewidth=1.6, label="account, after costs")
        top.axhline(start_usd, color=INK, linewidth=0.8, linestyle=":")
        for mark in epochs:
            took = mark.end is EpochEnd.TAKE_PROFIT
            when_ended = np.datetime64(mark.tick_ms, "ms")
            top.axvline(when_ended, color=GREEN if took else RED, linewidth=0.9, alpha=0.6)  # type: ignore[arg-type]
        top.set_title("Account")
        top.set_ylabel("account value, USD")
        _dollars(top)
        top.legend(loc="best")
        fall = -100.0 * drawdown(equity, start_usd)[thin]
        low.fill_between(when, fall, 0.0, color=RED, alpha=0.25, linewidth=0)
        low.plot(when, fall, color=RED, linewidth=0.9)
        low.set_ylabel("drawdown, %")
        dates(low)
        self._save(figure, "equity")

    def exposure(
        self, tick_ms: NDArray[np.int64], gross: FloatArray, net: FloatArray, equity: FloatArray
    ) -> None:
        """Gross and net notional over equity."""
        figure, (axes,) = _figure(10.0, 2.8)
        thin = _thin(len(tick_ms))
        when, scale = _times(tick_ms[thin]), 100.0 / np.maximum(equity[thin], 1e-9)
        axes.fill_between(when, gross[thin] * scale, 0.0, color=BLUE, alpha=0.18, linewidth=0)
        axes.plot(when, gross[thin] * scale, color=BLUE, linewidth=0.7, label="gross")
        axes.plot(when, net[thin] * scale, color=ORANGE, linewidth=0.8, label="net")
        axes.set_title("Exposure")
        axes.set_ylabel("% of equity")
        axes.legend(loc="upper right", ncols=2)
        dates(axes)
        self._save(figure, "exposure")

    def turnover(self, days: list[str], traded_usd: list[float], costs_usd: list[float]) -> None:
        """Traded notional and costs of each UTC day."""
        figure, (axes,) = _figure(10.0, 2.8)
        axes.bar(range(len(days)), traded_usd, color=BLUE, width=0.8, label="traded")
        axes.set_title("Turnover per UTC day")
        axes.set_ylabel("traded, USD")
        axes.set_xlabel("UTC day")
        _dollars(axes)
        other = axes.twinx()
        other.plot(
            range(len(days)), np.cumsum(costs_usd), color=RED, linewidth=1.4, label="costs so far"
        )
        other.set_ylabel("costs so far, USD")
        _dollars(other)
        other.grid(visible=False)
        other.set_ylim(bottom=0.0)
        every = max(1, len(days) // 8)
        axes.set_xticks(range(0, len(days), every), days[::every])
        lines = [*axes.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
        axes.legend(lines, ["traded", "costs so far"], loc="upper left", ncols=2)
        axes.margins(y=0.25)
        self._save(figure, "turnover")

    def growth(self, groups: Mapping[str, Mapping[Hashable, Cohort]]) -> None:
        """Mean log-growth per run with two standard errors, group by group."""
        figure, axes = _figure(10.0, 3.2, columns=len(groups))
        for ax, (title, cohorts) in zip(axes, groups.items(), strict=True):
            known = {str(k): c for k, c in sorted(cohorts.items(), key=str) if c.runs >= MIN_RUNS}
            means = [100.0 * c.mean for c in known.values()]
            errors = [200.0 * c.error for c in known.values()]
            colours = [GREEN if mean > 0.0 else RED for mean in means]
            places = range(len(known))
            ax.barh(places, means, xerr=errors, color=colours, alpha=0.8, height=0.62, capsize=3)
            ax.set_yticks(places, [f"{k}\n{c.runs:,} runs" for k, c in known.items()], fontsize=8)
            ax.axvline(0.0, color=INK, linewidth=0.8)
            ax.invert_yaxis()
            ax.set_title(title, fontsize=10)
            ax.set_xlabel("mean log-growth, %")
            ax.grid(visible=False, axis="y")
        self._save(figure, "growth")

    def entropy(self, seen: EntropyReturns) -> None:
        """Next returns by entropy: their size, and their mean along the last move."""
        figure, axes = _figure(10.0, 3.0, columns=2)
        enough = seen.count >= max(30.0, 0.001 * seen.count.sum())
        centre = (seen.edges[:-1] + seen.edges[1:])[enough] / 2.0
        count = seen.count[enough]
        d, tau, w = seen.cell
        axes[0].bar(centre, 1e4 * seen.size[enough] / count, width=0.034, color=BLUE, alpha=0.8)
        axes[0].set_title("Size of the next return", fontsize=10)
        axes[0].set_ylabel("mean |return|, bps")
        mean = 1e4 * seen.trend[enough] / count
        spread = np.sqrt(np.maximum(seen.trend_squares[enough] / count - (mean / 1e4) ** 2, 0.0))
        axes[1].errorbar(
            centre, mean, yerr=2e4 * spread / np.sqrt(count), fmt="o", color=BLUE, capsize=3
        )
        axes[1].axhline(0.0, color=INK, linewidth=0.8)
        axes[1].set_title(f"Next return along the last {seen.lookback} samples", fontsize=10)
        axes[1].set_ylabel("mean, bps (2 s.e.)")
        for ax in axes:
            ax.set_xlabel(f"normalised entropy (d = {d}, τ = {tau}, w = {w} samples)")
        self._save(figure, "entropy")

    def surfaces(self, tables: Mapping[tuple[str, str], Mapping[Hashable, Cohort]]) -> None:
        """Mean log-growth over pairs of parameters."""
        figure, axes = _figure(10.0, 3.4, columns=len(tables))
        for ax, ((y_name, x_name), cohorts) in zip(axes, tables.items(), strict=True):
            _surface(figure, ax, y_name, x_name, cohorts)
        self._save(figure, "surfaces")

    def _save(self, figure: Figure, name: str) -> None:
        import matplotlib.pyplot as plt

        path = self._folder / f"{name}.png"
        figure.savefig(path, dpi=130)
        plt.close(figure)
        self.made[name] = path


def _set_style() -> None:
    # set before the first figure: a backtest has no screen
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "text.color": INK,
            "axes.edgecolor": GRID,
            "axes.labelcolor": MUTED,
            "axes.titlecolor": INK,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "grid.linewidth": 0.8,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "legend.frameon": False,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
        }
    )


def _surface(
    figure: Figure, ax: Axes, y_name: str, x_name: str, cohorts: Mapping[Hashable, Cohort]
) -> None:
    pairs: list[tuple[Any, Any]] = [key for key in cohorts if isinstance(key, tuple)]
    ys, xs = (sorted({pair[axis] for pair in pairs}) for axis in (0, 1))
    values = np.full((len(ys), len(xs)), np.nan)
    for pair in pairs:
        values[ys.index(pair[0]), xs.index(pair[1])] = 100.0 * cohorts[pair].mean
    limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    image = ax.imshow(values, cmap="RdYlGn", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            ink = "white" if abs(value) > 0.6 * limit else INK
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=ink)
    ax.set_xticks(range(len(xs)), [str(x) for x in xs])
    ax.set_yticks(range(len(ys)), [str(y) for y in ys])
    ax.set_xlabel(f"{x_name}, samples")
    ax.set_ylabel(y_name if y_name == "order" else f"{y_name}, samples")
    ax.set_title(f"{y_name} × {x_name}", fontsize=10)
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, label="mean log-growth, %")


def start_drawing(
    width: float,
    height: float,
    *,
    rows: int = 1,
    columns: int = 1,
    heights: tuple[int, ...] | None = None,
    share_x: bool = True,
) -> tuple[Figure, list[Axes]]:
    """A figure in the style of the reports, inches wide and high, and its axes from the top."""
    _set_style()
    return _figure(width, height, rows, columns=columns, heights=heights, share_x=share_x)


def _figure(
    width: float,
    height: float,
    rows: int = 1,
    *,
    columns: int = 1,
    heights: tuple[int, ...] | None = None,
    share_x: bool = True,
) -> tuple[Figure, list[Axes]]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width, height),
        sharex=share_x and rows > 1,
        squeeze=False,
        layout="constrained",
        height_ratios=heights,
    )
    return figure, list(axes.ravel())


def _thin(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, POINTS)).astype(np.int64))


def _times(tick_ms: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return tick_ms.astype("datetime64[ms]")


def dates(axes: Axes) -> None:
    """Few, short labels of time along the axis."""
    import matplotlib.dates as mdates

    # more than 8 would let the 31st run into the 1st; with fewer than 3 as its least, every span
    # has a step that gives so few
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        mdates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
            locator,
            formats=["%Y", "%b", "%b %d", "%H:%M", "%H:%M", "%H:%M:%S"],
            zero_formats=["", "%b %Y", "%b %d", "%b %d", "%H:%M", "%H:%M"],
            offset_formats=["", "", "%Y", "%Y", "%Y-%m-%d", "%Y-%m-%d"],
        )
    )
    axes.set_xlabel("UTC")


def _dollars(axes: Axes) -> None:
    axes.yaxis.set_major_formatter("{x:,.0f}")
