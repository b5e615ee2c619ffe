"""What an equity curve says, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.research.tables import FloatArray

HOUR_MS: Final = 3_600_000
HOURS_PER_YEAR: Final = 365 * 24
DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Performance:
    """Fractions of the start balance; ``sharpe`` is per year, from hourly returns, without a
    risk-free rate, NaN with fewer than two; ``sharpe_error`` its standard error."""

    start_usd: float
    end_usd: float
    net_return: float
    max_drawdown: float
    sharpe: float
    sharpe_error: float
    volatility: float
    """Of hourly returns, per √year."""
    days: float
    exposure: float
    """Mean gross notional over equity."""
    turnover_per_day: float
    """Traded notional per day over the mean equity."""

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name."""
        return asdict(self)


def performance(
    tick_ms: NDArray[np.int64],
    equity: FloatArray,
    gross_usd: FloatArray,
    traded_usd: float,
    start_usd: float,
) -> Performance:
    """Figures of one curve, T ticks."""
    if not len(equity):
        nan = math.nan
        return Performance(start_usd, start_usd, 0.0, 0.0, nan, nan, nan, 0.0, 0.0, 0.0)
    hourly = hourly_returns(tick_ms, equity, start_usd)
    sharpe, error, volatility = sharpe_ratio(hourly)
    days = float(tick_ms[-1] - tick_ms[0]) / DAY_MS
    mean = float(equity.mean())
    return Performance(
        start_usd=start_usd,
        end_usd=float(equity[-1]),
        net_return=float(equity[-1]) / start_usd - 1.0,
        max_drawdown=float(drawdown(equity, start_usd).max()),
        sharpe=sharpe,
        sharpe_error=error,
        volatility=volatility,
        days=days,
        exposure=float((gross_usd / np.maximum(equity, 1e-9)).mean()),
        turnover_per_day=traded_usd / mean / days if days > 0.0 and mean > 0.0 else 0.0,
    )


def drawdown(equity: FloatArray, start_usd: float) -> FloatArray:
    """Fall from the highest value so far (the start included), as a fraction, 0 or more."""
    peak = np.maximum.accumulate(np.maximum(equity, start_usd))
    fall: FloatArray = 1.0 - equity / peak
    return fall


def hourly_returns(tick_ms: NDArray[np.int64], equity: FloatArray, start_usd: float) -> FloatArray:
    """Simple returns from the last tick of one UTC hour to that of the next."""
    hours = tick_ms // HOUR_MS
    last = np.flatnonzero(np.diff(hours, append=hours[-1] + 1))
    values = np.concatenate([[start_usd], equity[last]])
    before = np.maximum(values[:-1], 1e-9)
    returns: FloatArray = values[1:] / before - 1.0
    return returns


def sharpe_ratio(hourly: FloatArray) -> tuple[float, float, float]:
    """Sharpe ratio per year, its standard error (Lo 2002, independent returns), volatility."""
    if len(hourly) < 2:
        return math.nan, math.nan, math.nan
    spread = float(hourly.std(ddof=1))
    # an account that never traded has no ratio; rounding must not make one up
    if spread <= 1e-12:
        return math.nan, math.nan, 0.0
    ratio = float(hourly.mean()) / spread
    error = math.sqrt((1.0 + ratio * ratio / 2.0) / len(hourly))
    year = math.sqrt(HOURS_PER_YEAR)
    return ratio * year, error * year, spread * year
