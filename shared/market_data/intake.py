"""Where quotes from any producer pass the guard on their way into Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

import structlog

from shared import instruments
from shared.exchange.payloads import Asset
from shared.market_data.quotes import PriceGuard, Quote

log = structlog.get_logger(__name__)

_REPEAT_LOG_MS = 60_000


class QuoteSink(Protocol):
    """Where good quotes go."""

    def publish(self, quotes: Sequence[Quote]) -> None: ...

    def latest(self, symbols: Iterable[str]) -> Mapping[str, Quote]: ...


@dataclass
class QuoteIntake:
    """Judges quotes, counts and logs the bad ones, publishes the others in one batch."""

    sink: QuoteSink
    guard: PriceGuard
    _logged: dict[tuple[str, str], int] = field(default_factory=dict)

    def resume(self, symbols: Iterable[str]) -> None:
        """Measure first quotes against those that an earlier process had published."""
        for quote in self.sink.latest(symbols).values():
            self.guard.remember(quote)

    def accept(self, quotes: Iterable[Quote]) -> list[Quote]:
        """Publish the good quotes and return them."""
        good = []
        for quote in quotes:
            fault = self.guard.check(quote)
            if fault is None:
                good.append(quote)
            else:
                self.flag(quote.symbol, fault, quote.received_ms, str(quote.mid))
        self.sink.publish(good)
        return good

    def flag(self, symbol: str, fault: str, now_ms: int, value: str) -> None:
        """Count a price that is not used; log it at most once a minute per symbol and fault."""
        instruments.record_rejected_price(symbol, fault)
        last = self._logged.get((symbol, fault))
        if last is None or now_ms - last >= _REPEAT_LOG_MS:
            self._logged[symbol, fault] = now_ms
            log.warning("price_rejected", symbol=symbol, fault=fault, value=value)


@dataclass
class MarketView:
    """The newest mid and mark of each symbol, put together from separate messages.

    A mark may be at most ``max_mark_age_ms`` older than the mid that it is published with.
    """

    symbols: frozenset[str]
    max_mark_age_ms: int
    _mids: dict[str, Decimal] = field(default_factory=dict)
    _marks: dict[str, tuple[Decimal, int]] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget everything, as after a lost connection."""
        self._mids.clear()
        self._marks.clear()

    def mids_arrived(self, mids: Mapping[str, Decimal]) -> set[str]:
        """Take in mids; returns the symbols of ours among them."""
        ours = {symbol for symbol in self.symbols if symbol in mids}
        for symbol in ours:
            self._mids[symbol] = mids[symbol]
        return ours

    def context_arrived(
        self, symbol: str, mid: Decimal | None, mark: Decimal, received_ms: int
    ) -> set[str]:
        """Take in an asset context; an empty book (mid None) says nothing about the price."""
        if symbol not in self.symbols:
            return set()
        self._marks[symbol] = (mark, received_ms)
        if mid is None:
            return set()
        self._mids[symbol] = mid
        return {symbol}

    def pairs(self, symbols: Iterable[str], received_ms: int) -> dict[str, tuple[Decimal, Decimal]]:
        """(mid, mark) of those symbols whose mark is known and recent."""
        found = {}
        for symbol in sorted(symbols):
            mark = self._marks.get(symbol)
            mid = self._mids.get(symbol)
            if mid is None or mark is None or received_ms - mark[1] > self.max_mark_age_ms:
                continue
            found[symbol] = (mid, mark[0])
        return found


def tradable(wanted: Iterable[str], listed: Mapping[str, Asset]) -> tuple[list[str], list[str]]:
    """Split the wanted symbols into those that the venue trades and those it does not."""
    symbols = list(wanted)
    good = [s for s in symbols if s in listed and not listed[s].delisted]
    return good, [s for s in symbols if s not in good]
