"""Numbers as characters: sparklines, charts, prices, times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_BARS = "▁▂▃▄▅▆▇█"


def thin(values: Sequence[float], points: int) -> list[float]:
    """At most ``points`` of the values, evenly spread, the last among them."""
    if len(values) <= points:
        return list(values)
    step = (len(values) - 1) / (points - 1)
    return [values[round(index * step)] for index in range(points)]


def sparkline(values: Iterable[float]) -> str:
    """One bar per value, from the lowest to the highest of them."""
    numbers = list(values)
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    if high == low:
        return _BARS[3] * len(numbers)
    return "".join(_BARS[round((n - low) / (high - low) * (len(_BARS) - 1))] for n in numbers)


def chart(values: Sequence[float], rows: int) -> list[str]:
    """The values as bars over several lines, top line first; none without values."""
    if not values or rows < 1:
        return []
    low, high = min(values), max(values)
    steps = rows * len(_BARS)
    heights = [
        steps // 2 if high == low else 1 + round((v - low) / (high - low) * (steps - 1))
        for v in values
    ]
    return [
        "".join(_bar(height - row * len(_BARS)) for height in heights)
        for row in reversed(range(rows))
    ]


def _bar(height: int) -> str:
    """One cell of a bar that reaches ``height`` eighths above the cell's floor."""
    return _BARS[min(height, len(_BARS)) - 1] if height > 0 else " "


def format_price(price: float) -> str:
    """Five significant figures at least, whole dollars never cut."""
    if price >= 10_000:
        return f"{price:,.1f}"
    return f"{price:,.5g}" if price < 1 else f"{price:,.{4 - len(str(int(price))) + 1}f}"


def clock(secs: int) -> str:
    """Minutes and seconds, with hours once there are any."""
    minutes, rest = divmod(secs, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
