"""Candles: 1-minute bars built from prices, longer ones summed from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from paper_exchange.decimals import PERP_PRICE_DECIMALS

MINUTE_MS = 60_000
KEPT_CANDLES = 5000
MAX_REPLY = 5000
_HOUR_MS = 60 * MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_EPOCH_MONDAY_MS = 4 * _DAY_MS

INTERVALS_MS: dict[str, int] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": _HOUR_MS,
    "2h": 2 * _HOUR_MS,
    "4h": 4 * _HOUR_MS,
    "8h": 8 * _HOUR_MS,
    "12h": 12 * _HOUR_MS,
    "1d": _DAY_MS,
    "3d": 3 * _DAY_MS,
    "1w": 7 * _DAY_MS,
    "1M": 0,
}


@dataclass(slots=True)
class Candle:
    """One bar: open time in ms, prices in dollars, volume in coins, number of trades."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0
    trades: int = 0

    def add_price(self, price: float) -> None:
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price

    def payload(self, coin: str, interval: str, sz_decimals: int) -> dict[str, object]:
        """The shape of ``candleSnapshot``; prices are trimmed to five significant figures."""
        decimals = PERP_PRICE_DECIMALS - sz_decimals
        return {
            "t": self.open_ms,
            "T": close_time_ms(self.open_ms, interval),
            "s": coin,
            "i": interval,
            "o": price_text(self.open, decimals),
            "c": price_text(self.close, decimals),
            "h": price_text(self.high, decimals),
            "l": price_text(self.low, decimals),
            "v": _with_point(f"{self.volume:.{sz_decimals}f}"),
            "n": self.trades,
        }


def _with_point(text: str) -> str:
    if "." not in text:
        return text + ".0"
    trimmed = text.rstrip("0")
    return trimmed + "0" if trimmed.endswith(".") else trimmed


def price_text(price: float, decimals: int) -> str:
    """A traded price as text: five significant figures, or whole dollars above 99,999."""
    whole_digits = len(str(int(price))) if price >= 1 else 0
    if whole_digits >= 5:
        return f"{price:.0f}.0"
    return _with_point(f"{float(f'{price:.5g}'):.{decimals}f}")


def bar_start_ms(time_ms: int, interval: str) -> int:
    """Open time of the bar that contains a time (UTC; weeks begin on Monday)."""
    if interval == "1M":
        when = datetime.fromtimestamp(time_ms / 1000, UTC)
        first = when.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int(first.timestamp() * 1000)
    length = INTERVALS_MS[interval]
    shift = _EPOCH_MONDAY_MS if interval == "1w" else 0
    return (time_ms - shift) // length * length + shift


def close_time_ms(open_ms: int, interval: str) -> int:
    """Last millisecond of a bar."""
    if interval == "1M":
        return bar_start_ms(open_ms + 32 * _DAY_MS, interval) - 1
    return open_ms + INTERVALS_MS[interval] - 1


class CandleSeries:
    """The latest 1-minute candles of a coin, the last one forming."""

    def __init__(self, candles: Iterable[Candle] = ()) -> None:
        self._minutes: deque[Candle] = deque(candles, maxlen=KEPT_CANDLES)

    def __len__(self) -> int:
        return len(self._minutes)

    def __iter__(self) -> Iterator[Candle]:
        return iter(self._minutes)

    @property
    def last(self) -> Candle | None:
        return self._minutes[-1] if self._minutes else None

    def append(self, candle: Candle) -> None:
        """Add a later candle of history."""
        self._minutes.append(candle)

    def add_price(self, time_ms: int, price: float) -> Candle | None:
        """Put a price into its minute; return the candle that this price closed, if any.

        Minutes without prices are filled flat, so the series has no holes.
        """
        start = time_ms // MINUTE_MS * MINUTE_MS
        last = self.last
        if last is not None and start <= last.open_ms:
            last.add_price(price)
            return None
        if last is not None:
            for open_ms in range(last.open_ms + MINUTE_MS, start, MINUTE_MS):
                self._minutes.append(Candle(open_ms, *(4 * (last.close,))))
        self._minutes.append(Candle(start, price, price, price, price))
        return last

    def add_trade(self, size: float) -> None:
        """Count a trade into the forming candle."""
        if self._minutes:
            self._minutes[-1].volume += size
            self._minutes[-1].trades += 1

    def window(self, interval: str, start_ms: int, end_ms: int) -> list[Candle]:
        """Bars from the one that contains ``start_ms`` to the one that contains ``end_ms``."""
        first = bar_start_ms(max(start_ms, 0), interval)
        bars: list[Candle] = []
        for minute in self._minutes:
            if minute.open_ms < first or minute.open_ms > end_ms:
                continue
            open_ms = bar_start_ms(minute.open_ms, interval)
            if bars and bars[-1].open_ms == open_ms:
                _merge(bars[-1], minute)
            else:
                bars.append(
                    Candle(
                        open_ms,
                        minute.open,
                        minute.high,
                        minute.low,
                        minute.close,
                        minute.volume,
                        minute.trades,
                    )
                )
        return bars[-MAX_REPLY:]

    def volume_since(self, start_ms: int) -> tuple[float, float]:
        """Coins and dollars traded since a time."""
        base = usd = 0.0
        for minute in reversed(self._minutes):
            if minute.open_ms < start_ms:
                break
            base += minute.volume
            usd += minute.volume * (minute.high + minute.low) / 2
        return base, usd

    def price_before(self, time_ms: int) -> float | None:
        """Close of the last minute at or before a time, else the oldest open."""
        for minute in reversed(self._minutes):
            if minute.open_ms <= time_ms:
                return minute.close
        return self._minutes[0].open if self._minutes else None


def _merge(bar: Candle, minute: Candle) -> None:
    bar.high = max(bar.high, minute.high)
    bar.low = min(bar.low, minute.low)
    bar.close = minute.close
    bar.volume += minute.volume
    bar.trades += minute.trades
