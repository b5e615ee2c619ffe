"""Permutation entropy: one sliding window against antropy, and the live grid per tick."""

from __future__ import annotations

from typing import Final

import antropy
import numpy as np

from shared.benchmarks.figure import Figure, median_secs
from shared.providence.entropy import sliding_entropy
from shared.providence.market import MarketSeries
from shared.providence.step import Grid

ORDER: Final = 4
WINDOW: Final = 120
SAMPLES: Final = 1_000_000
PEER_WINDOWS: Final = 2_000
SYMBOLS: Final = 200
GRID: Final = Grid(
    tuple((d, tau, w) for d in (3, 4, 5, 6) for tau in (1, 2) for w in (60, 120, 240)), (12, 60)
)


def entropy_ns_per_window() -> Figure:
    """Every window of a random walk, d = 4, w = 120; the peer recomputes each window."""
    x = np.random.default_rng(1).normal(size=SAMPLES).cumsum()

    def ours() -> object:
        return sliding_entropy(x, ORDER, 1, WINDOW)

    def peer() -> object:
        return [
            antropy.perm_entropy(x[t : t + WINDOW], order=ORDER, normalize=True)
            for t in range(PEER_WINDOWS)
        ]

    return Figure(
        "entropy_ns_per_window",
        median_secs(ours) / (SAMPLES - WINDOW + 1) * 1e9,
        "ns",
        goal=30.0,
        better="lower",
        peer="antropy.perm_entropy, recomputed",
        peer_value=median_secs(peer, runs=5) / PEER_WINDOWS * 1e9,
        min_ratio=1_000.0,
    )


def entropy_grid_ms_per_tick() -> Figure:
    """One live tick: 24 cells and 2 look-backs of 200 symbols, pushed one tick at a time."""
    rng = np.random.default_rng(2)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, (400, SYMBOLS)), axis=0))
    ok, zeros = np.ones(SYMBOLS, dtype=bool), np.zeros(SYMBOLS)
    series = MarketSeries(GRID, SYMBOLS, 1)
    ticks = iter(range(1, len(price) + 1))

    def push_twenty() -> None:
        for _ in range(20):
            tick = next(ticks)
            series.push(tick, price[tick - 1], ok, zeros, zeros)

    secs = median_secs(push_twenty, runs=7, warm_up=13)
    return Figure("entropy_grid_ms_per_tick", secs / 20 * 1e3, "ms")
