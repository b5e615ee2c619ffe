"""One bar of prices, and the grid that bars lie on."""

from __future__ import annotations

from dataclasses import dataclass

TIMEFRAME_MS = {
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}
"""Length of each time frame that 3T keeps; the venue's bars open at its multiples."""


@dataclass(frozen=True, slots=True)
class Candle:
    """Prices are USD per coin, ``volume`` is in coins, ``open_ms`` the bar's first millisecond.

    Raises ``ValueError`` for a bar that no market could have made.
    """

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    def __post_init__(self) -> None:
        lowest, highest = min(self.open, self.close), max(self.open, self.close)
        if not 0 < self.low <= lowest <= highest <= self.high or self.volume < 0:
            raise ValueError(f"impossible bar {self}")
