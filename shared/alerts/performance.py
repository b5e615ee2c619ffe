"""How the account does: returns free of deposits, their rolling Sharpe ratio, a day in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared.alerts.alert import Alert, AlertKind

YEAR_SECS = 365 * 86_400
DAY_MS = 86_400_000
SMALLEST_DEVIATION = 1e-12
"""Returns that vary less than this (an account at rest) have no Sharpe ratio."""

Point = tuple[int, float]
Transfer = tuple[int, Decimal]


def log_returns(
    points: Sequence[Point], transfers: Sequence[Transfer], sample_ms: int
) -> NDArray[np.float64]:
    """Log returns of an account between its samples, deposits and withdrawals taken out.

    ``points`` are (venue time, account value), one per sample, oldest first. A pair that is further
    apart than a sample and a half, as around an outage, gives no return, nor does a value that is
    not above 0.
    """
    found = []
    for (before_ms, before), (after_ms, after) in pairwise(points):
        flows = sum((float(usd) for ms, usd in transfers if before_ms < ms <= after_ms), 0.0)
        earned = after - flows
        if before > 0 and earned > 0 and after_ms - before_ms <= 1.5 * sample_ms:
            found.append(math.log(earned / before))
    return np.array(found, dtype=np.float64)


def sharpe_ratio(
    returns: NDArray[np.float64], sample_secs: float, min_samples: int
) -> float | None:
    """Annualised mean over standard deviation (sample, risk-free rate 0).

    None with fewer than ``min_samples`` returns, or if they do not vary. Sharpe (1994).
    """
    if len(returns) < max(min_samples, 2):
        return None
    deviation = float(np.std(returns, ddof=1))
    if deviation < SMALLEST_DEVIATION:
        return None
    return float(np.mean(returns)) / deviation * math.sqrt(YEAR_SECS / sample_secs)


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of the account, USD. ``sharpe`` is the rolling one at its end."""

    day: str
    start_usd: float
    end_usd: float
    transfers_usd: float
    fills: int
    volume_usd: float
    fees_usd: float
    sharpe: float | None

    @property
    def earned_usd(self) -> float:
        """Change of the account without deposits and withdrawals."""
        return self.end_usd - self.start_usd - self.transfers_usd


def day_of(now_ms: int) -> tuple[str, int]:
    """The UTC date before that of ``now_ms`` and when it began (ms)."""
    begin_ms = (now_ms // DAY_MS - 1) * DAY_MS
    return datetime.fromtimestamp(begin_ms / 1000, UTC).date().isoformat(), begin_ms


def daily_summary(day: Day) -> Alert:
    """The day in a few lines; its subject is the date, so it is told once."""
    share = day.earned_usd / day.start_usd if day.start_usd > 0 else 0.0
    lines = [
        f"Account {day.start_usd:,.2f} → {day.end_usd:,.2f} USD",
        f"Earned {day.earned_usd:+,.2f} USD ({share:+.2%}), fees {day.fees_usd:,.2f} USD",
        f"{day.fills} fills, {day.volume_usd:,.0f} USD traded",
    ]
    if day.transfers_usd:
        lines.insert(1, f"Deposits less withdrawals {day.transfers_usd:+,.2f} USD")
    if day.sharpe is not None:
        lines.append(f"Rolling Sharpe ratio {day.sharpe:.2f}")
    title = f"{day.day}: {day.earned_usd:+,.2f} USD ({share:+.2%})"
    return Alert(AlertKind.DAILY_SUMMARY, day.day, "info", title, "\n".join(lines))
