"""Draw ``docs/img/providence.svg``: ``python docs/img/providence_figure.py [FILE]``.

One breakout run over a made-up price that trends and reverts in turn, stepped by the same code that
trades: price and position, entropy and threshold, equity. Nothing in it is a promise of profit; the
pattern is planted.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.providence.codes import Interpretation
from shared.providence.market import MarketSeries, Samples
from shared.providence.rules import Rules
from shared.providence.run_state import new_records
from shared.providence.step import Grid, bind, step

TARGET: Final = Path(__file__).with_name("providence.svg")
GRID: Final = Grid(((4, 1, 60),), (20,))
SEGMENT, SEGMENTS, INTERVAL_MS = 200, 6, 5_000
THETA, DEAD_BAND = 0.65, 0.03
WIDTH, PANEL, GAP, LEFT = 900, 150, 34, 70
RULES: Final = Rules(
    taker_fee_rate=0.00045,
    slippage_rate=0.0002,
    base_fraction=0.5,
    probation_fraction=0.5,
    max_fraction=0.5,
    max_reward_ratio=5.0,
    min_trades=100,
    judge_after_trades=100,
    live_pnl_threshold=0.0,
)
Line = NDArray[np.float64]


def planted_price() -> Line:
    """Segments in turn: a trend, and reversion to the level at its end."""
    rng = np.random.default_rng(2002)
    now = level = drift = 0.0
    logs = np.empty(SEGMENT * SEGMENTS)
    for t in range(len(logs)):
        segment, place = divmod(t, SEGMENT)
        if place == 0:
            level = now
            drift = 0.0006 * (1 - segment % 4) * (segment % 2 == 0)
        pull = 0.4 * (level - now) * (segment % 2)
        now += drift + pull + float(rng.normal(0.0, 0.0005))
        logs[t] = now
    price: Line = 100.0 * np.exp(logs)
    return price


def simulate(price: Line) -> tuple[Line, Line, NDArray[np.int64]]:
    """(entropy, equity, direction) of one breakout run at every sample."""
    count = len(price)
    run = new_records(1)
    run["run_id"], run["product_id"] = 1, 1
    run["order"], run["delay"], run["window"] = GRID.cells[0]
    run["lookback"], run["interpretation"] = GRID.lookbacks[0], Interpretation.BREAKOUT
    run["theta"], run["dead_band"] = THETA, DEAD_BAND
    run["kelly_multiplier"], run["max_leverage"], run["max_drawdown"] = 1.0, 5.0, 1.0
    run["max_duration_ms"] = 10 * count * INTERVAL_MS
    run["start_balance"] = run["equity"] = run["peak_equity"] = 1_000.0
    binding = bind(run, GRID, {1: 0})
    samples = Samples(
        INTERVAL_MS * np.arange(1, count + 1),
        price[:, None],
        np.ones((count, 1), dtype=bool),
        np.zeros((count, 1)),
        np.full((count, 1), 0.01),
    )
    rows = []
    for market in MarketSeries(GRID, 1, INTERVAL_MS).push_many(samples):
        step(run, binding, market, RULES)
        rows.append((market.entropy[0, 0], run["equity"][0], run["direction"][0]))
    table = np.array(rows)
    return table[:, 0], table[:, 1], table[:, 2].astype(np.int64)


def _panel(number: int, title: str, values: Line, marks: tuple[float, ...]) -> list[str]:
    """Frame, caption, scale, curve and dashed levels of one panel."""
    top = GAP + number * (PANEL + GAP)
    known = values[np.isfinite(values)]
    low, high = float(min([known.min(), *marks])), float(max([known.max(), *marks]))

    def y(value: float) -> float:
        return top + PANEL - (value - low) / (high - low) * PANEL

    scale = (WIDTH - LEFT - 10) / (len(values) - 1)
    points = " ".join(
        f"{LEFT + t * scale:.1f},{y(v):.1f}" for t, v in enumerate(values) if np.isfinite(v)
    )
    parts = [
        f'<text x="{LEFT}" y="{top - 8}" class="title">{title}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 10}" height="{PANEL}" class="frame"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" class="scale">{high:.4g}</text>',
        f'<text x="{LEFT - 6}" y="{top + PANEL}" class="scale">{low:.4g}</text>',
    ]
    levels = [
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(m):.1f}" y2="{y(m):.1f}" class="mark"/>'
        for m in marks
    ]
    return [*parts, *levels, f'<polyline points="{points}" class="curve"/>']


def _holdings(direction: NDArray[np.int64]) -> list[str]:
    """Shaded stretches of the first panel: long green, short red."""
    scale = (WIDTH - LEFT - 10) / (len(direction) - 1)
    edges = [0, *(np.flatnonzero(np.diff(direction)) + 1), len(direction)]
    parts = []
    for start, end in pairwise(edges):
        if direction[start] != 0:
            side = "long" if direction[start] > 0 else "short"
            parts.append(
                f'<rect x="{LEFT + start * scale:.1f}" y="{GAP}" '
                f'width="{(min(end, len(direction) - 1) - start) * scale:.1f}" height="{PANEL}" '
                f'class="{side}"/>'
            )
    return parts


def draw() -> str:
    """The figure as SVG text."""
    price = planted_price()
    entropy, equity, direction = simulate(price)
    style = (
        "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.scale{text-anchor:end}"
        ".frame{fill:none;stroke:#ccc}.curve{fill:none;stroke:#1f4e79;stroke-width:1.2}"
        ".mark{stroke:#b3541e;stroke-dasharray:5 4}.long{fill:#d8efd8}.short{fill:#f6d9d6}"
    )
    height = GAP + 3 * (PANEL + GAP)
    band = (THETA - DEAD_BAND, THETA)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        "<title>One breakout run of Providence over a planted price</title>",
        f"<style>{style}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        *_holdings(direction),
        *_panel(0, "Price; shaded where the run is long (green) or short (red)", price, ()),
        *_panel(1, "Permutation entropy H, threshold and dead band (dashed)", entropy, band),
        *_panel(2, "Equity of the run in USD, after fees and slippage", equity, (1_000.0,)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the figure to the file given, else to its place in the docs."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
