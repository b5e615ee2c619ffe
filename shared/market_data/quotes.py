"""Prices as they come in, and the guard that keeps impossible ones out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

QuoteSource: TypeAlias = Literal["ws", "poll"]
Fault: TypeAlias = Literal["not_positive", "jump", "out_of_order"]

REFERENCE_LIFE_MS = 3_600_000
"""For how long the last good price is what a new one is measured against."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Mid and mark of one symbol, USD per coin.

    ``received_ms`` is our clock when the message arrived, ``venue_ms`` the venue's clock at that
    moment as far as known. How old a quote is, is told by ``received_ms`` alone.
    """

    symbol: str
    mid: Decimal
    mark: Decimal
    venue_ms: int
    received_ms: int
    source: QuoteSource


class PriceGuard:
    """Judges quotes one after the other; what it flags must not be written or traded on.

    ``max_jump`` is the largest allowed |new / last good − 1| of mid and mark, exclusive.
    """

    def __init__(self, max_jump: float) -> None:
        if not 0 < max_jump <= 1:
            raise ValueError(f"max_jump must lie in (0, 1], got {max_jump}")
        self._max_jump = Decimal(str(max_jump))
        self._good: dict[str, Quote] = {}

    def remember(self, quote: Quote) -> None:
        """Take a quote as good without judging it: what an earlier process had accepted."""
        self._good[quote.symbol] = quote

    def check(self, quote: Quote) -> Fault | None:
        """What is wrong with the quote; None if it is good and becomes the new reference."""
        for price in (quote.mid, quote.mark):
            if not price.is_finite() or price <= 0 or not math.isfinite(float(price)):
                return "not_positive"
        last = self._good.get(quote.symbol)
        if last is not None:
            if quote.received_ms < last.received_ms:
                return "out_of_order"
            recent = quote.received_ms - last.received_ms <= REFERENCE_LIFE_MS
            if recent and any(
                abs(new / old - 1) >= self._max_jump
                for new, old in ((quote.mid, last.mid), (quote.mark, last.mark))
            ):
                return "jump"
        self._good[quote.symbol] = quote
        return None
