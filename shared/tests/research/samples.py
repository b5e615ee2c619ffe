"""Builders the research tests share: files of candles, series, plans."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.config import Settings, load_settings
from shared.research.engine import BacktestPlan, plan_of
from shared.research.markets import spec_of
from shared.research.price_files import PricePoints, Repairs
from shared.research.tick_series import TickSeries

FIRST_MS = 1_700_000_040_000
MINUTE_MS = 60_000
SYMBOLS = ("BTC", "ETH", "SOL")
LEVELS = (60_000.0, 3_000.0, 150.0)
ROOT = Path(__file__).parents[3]


def settings() -> Settings:
    """The configuration of the repository, without the environment's overrides."""
    return load_settings(ROOT / "config.yml", environ={})


def walk(count: int, seed: int = 1, level: float = 100.0) -> NDArray[np.float64]:
    """Prices with calm and restless stretches, so that entropy moves and runs trade."""
    rng = np.random.default_rng(seed)
    scale = np.repeat(rng.choice([0.0004, 0.0015], count // 30 + 1), 30)[:count]
    drift = np.repeat(rng.normal(0.0, 0.0004, count // 20 + 1), 20)[:count]
    return level * np.exp(np.cumsum(rng.normal(0.0, scale) + drift))


def points(
    symbol: str, price: Sequence[float] | NDArray[np.float64], known_ms: Iterable[int] | None = None
) -> PricePoints:
    """Candles of a minute; their closes become known from ``FIRST_MS`` on, or as given."""
    times = (
        FIRST_MS + MINUTE_MS * np.arange(len(price), dtype=np.int64)
        if known_ms is None
        else np.array(list(known_ms), dtype=np.int64)
    )
    return PricePoints(
        symbol,
        Path(f"{symbol}.csv"),
        "0" * 64,
        "candles",
        len(times),
        MINUTE_MS,
        times,
        np.asarray(price, dtype=np.float64),
        Repairs(),
    )


def walks(count: int, seed: int = 1, gaps: bool = False) -> list[PricePoints]:
    """Three symbols; with ``gaps`` every one lacks some ticks, and some ticks lack every one."""
    rng = np.random.default_rng(seed + 100)
    found = []
    dark = rng.random(count) < 0.004
    for place, (symbol, level) in enumerate(zip(SYMBOLS, LEVELS, strict=True)):
        price = walk(count, seed * 10 + place, level)
        times = FIRST_MS + MINUTE_MS * np.arange(count, dtype=np.int64)
        kept = ~(dark | (rng.random(count) < 0.003)) if gaps else np.ones(count, dtype=bool)
        kept[[0, -1]] = True
        found.append(points(symbol, price[kept], times[kept]))
    return found


def plan(runs: int = 60, seed: int = 5, **changes: object) -> BacktestPlan:
    """The configuration's plan on minutes for the three symbols."""
    markets = [spec_of(symbol) for symbol in SYMBOLS]
    return plan_of(settings(), markets, MINUTE_MS, runs=runs, seed=seed, **changes)  # type: ignore[arg-type]


def series(count: int = 1_500, **changes: object) -> TickSeries:
    """Three walks on minutes."""
    return TickSeries(walks(count), MINUTE_MS, **changes)  # type: ignore[arg-type]


def candle_text(price: Sequence[float] | NDArray[np.float64], first_ms: int = FIRST_MS) -> str:
    """A candle file whose closes are ``price``."""
    lines = ["timestamp_ms,open,high,low,close,volume"]
    before = float(price[0])
    for place, close in enumerate(float(p) for p in price):
        high, low = max(before, close) * 1.0001, min(before, close) * 0.9999
        time_ms = first_ms + place * MINUTE_MS
        lines.append(f"{time_ms},{before!r},{high!r},{low!r},{close!r},1.5")
        before = close
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> Path:
    """The text as a file, gzipped by its name."""
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path
