"""The price an order is judged against: the feed's, or the book's when an exit cannot wait."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import cast

import redis

from shared.exchange.errors import VenueError
from shared.exchange.payloads import Book
from shared.exchange_manager import ExchangeManager
from shared.observation import Known, Observation, Unknown, aged
from shared.storage import redis_keys


class PriceReader:
    """Reads ``price:{symbol}``; ages are judged here, against ``max_age_ms``."""

    def __init__(self, client: redis.Redis, manager: ExchangeManager, max_age_ms: int) -> None:
        self._client = client
        self._manager = manager
        self._max_age_ms = max_age_ms

    def reference(self, symbol: str, now_ms: int, *, exit_order: bool) -> Observation[Decimal]:
        """Mid price in USD. An exit whose feed is not fresh reads the venue's book instead."""
        feed = self._feed(symbol, now_ms)
        if isinstance(feed, Known) or not exit_order:
            return feed
        return self._book(symbol)

    def _feed(self, symbol: str, now_ms: int) -> Observation[Decimal]:
        try:
            fields = cast(dict[str, str], self._client.hgetall(redis_keys.price(symbol)))
        except redis.RedisError as error:
            return Unknown(f"Redis cannot be read: {error}")
        try:
            mid = Decimal(fields["mid"])
            as_of_ms = min(int(fields["venue_ms"]), int(fields["received_ms"]))
        except (KeyError, ValueError, InvalidOperation):
            return Unknown(f"there is no usable price of {symbol} in the feed")
        if not mid.is_finite() or mid <= 0:
            return Unknown(f"the feed's price of {symbol} is {mid}")
        return aged(mid, as_of_ms, now_ms, self._max_age_ms)

    def _book(self, symbol: str) -> Observation[Decimal]:
        try:
            book = self._manager.book(symbol, priority="exit")
        except VenueError as error:
            return Unknown(f"neither feed nor book of {symbol} can be read: {error}")
        price = _book_price(book)
        if price is None:
            return Unknown(f"the book of {symbol} is empty")
        return Known(price, book.venue_ms)


def _book_price(book: Book) -> Decimal | None:
    """The mid, or the best price of the only side there is."""
    if book.mid is not None:
        return book.mid
    levels = book.bids or book.asks
    return levels[0].price if levels else None
