"""Volatility and trading range of a price series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shared.market_data.candle import Candle

HOUR_MS = 3_600_000
MIN_RETURNS = 10
"""Fewer returns than this estimate nothing."""


@dataclass(frozen=True, slots=True)
class VolatilityEstimate:
    """``per_sqrt_hour``: standard deviation of the log price over one hour, as a fraction.

    ``range_high`` and ``range_low`` are the extremes of the period, USD per coin; ``samples``
    is the number of returns that went in, ``as_of_ms`` the time of the newest price.
    """

    per_sqrt_hour: float
    range_high: float
    range_low: float
    samples: int
    as_of_ms: int


def realised(times_ms: ArrayLike, prices: ArrayLike) -> tuple[float, int] | None:
    """Realised volatility per √hour and the number of returns: √(Σ r² / Σ Δt).

    ``times_ms`` rise; ``prices`` are positive, NaN where unknown. A return spans neighbouring
    known prices and is weighted by the time between them, so gaps bias nothing. None with
    fewer than ``MIN_RETURNS`` returns or when the price has not moved at all.
    """
    times = np.asarray(times_ms, dtype=np.float64)
    values = np.asarray(prices, dtype=np.float64)
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if len(values) <= MIN_RETURNS:
        return None
    returns = np.diff(np.log(values))
    hours = (times[-1] - times[0]) / HOUR_MS
    variance = float(np.sum(returns * returns)) / hours
    if variance <= 0:
        return None
    return float(np.sqrt(variance)), len(returns)


def from_candles(bars: Sequence[Candle], bar_ms: int) -> VolatilityEstimate | None:
    """Estimate from closes; the range from highs and lows. None if ``realised`` has none."""
    measured = realised([bar.open_ms + bar_ms for bar in bars], [bar.close for bar in bars])
    if measured is None:
        return None
    return VolatilityEstimate(
        per_sqrt_hour=measured[0],
        range_high=max(bar.high for bar in bars),
        range_low=min(bar.low for bar in bars),
        samples=measured[1],
        as_of_ms=bars[-1].open_ms + bar_ms,
    )


def from_samples(times_ms: ArrayLike, prices: ArrayLike) -> VolatilityEstimate | None:
    """Estimate from sampled prices (NaN where not ok)."""
    measured = realised(times_ms, prices)
    if measured is None:
        return None
    values = np.asarray(prices, dtype=np.float64)
    times = np.asarray(times_ms, dtype=np.int64)[np.isfinite(values)]
    return VolatilityEstimate(
        per_sqrt_hour=measured[0],
        range_high=float(np.nanmax(values)),
        range_low=float(np.nanmin(values)),
        samples=measured[1],
        as_of_ms=int(times[-1]),
    )
