"""Prices in Redis: the newest of each symbol, and the bounded stream of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import orjson
import redis

from shared.market_data.quotes import Quote, QuoteSource
from shared.storage import redis_keys

_PAGE = 500


class StoredPriceError(ValueError):
    """A price in Redis that no producer of ours has written."""


class PriceStore:
    """``price:{symbol}`` and ``prices:updated``; ``client`` decodes its replies."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def publish(self, quotes: Sequence[Quote]) -> None:
        """Write quotes that arrived together: every key and one stream entry in one pipeline."""
        if not quotes:
            return
        newest = quotes[-1]
        pipeline = self._client.pipeline(transaction=False)
        for quote in quotes:
            key = redis_keys.price(quote.symbol)
            pipeline.hset(key, mapping=_fields(quote))
            pipeline.expire(key, redis_keys.PRICE_TTL_SECS)
        pipeline.xadd(
            redis_keys.PRICES_STREAM,
            {
                "payload": orjson.dumps(
                    {quote.symbol: [str(quote.mid), str(quote.mark)] for quote in quotes}
                ),
                "venue_ms": newest.venue_ms,
                "received_ms": newest.received_ms,
                "source": newest.source,
            },
            maxlen=redis_keys.PRICES_STREAM_MAXLEN,
            approximate=True,
        )
        pipeline.execute()

    def latest(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """The newest quote of each symbol that has one; how old it is, is the caller's question."""
        wanted = list(symbols)
        pipeline = self._client.pipeline(transaction=False)
        for symbol in wanted:
            pipeline.hgetall(redis_keys.price(symbol))
        found = {}
        for symbol, fields in zip(wanted, pipeline.execute(), strict=True):
            if fields:
                found[symbol] = _quote(symbol, fields, redis_keys.price(symbol))
        return found

    def between(self, from_ms: int, to_ms: int) -> Iterator[Quote]:
        """Quotes of the stream received in [``from_ms``, ``to_ms``], oldest first.

        Entries are found by Redis' own clock, so a minute on either side is searched as well.
        """
        start, end = f"{max(0, from_ms - 60_000)}", f"{to_ms + 60_000}"
        while True:
            page = cast(
                "list[tuple[str, dict[str, str]]]",
                self._client.xrange(redis_keys.PRICES_STREAM, min=start, max=end, count=_PAGE),
            )
            for entry_id, fields in page:
                for quote in decode_entry(fields, entry_id):
                    if from_ms <= quote.received_ms <= to_ms:
                        yield quote
            if len(page) < _PAGE:
                return
            start = f"({page[-1][0]}"


def decode_entry(fields: Mapping[str, str], entry_id: str) -> list[Quote]:
    """The quotes of one entry of ``prices:updated``; raises ``StoredPriceError``."""
    try:
        payload: dict[str, list[str]] = orjson.loads(fields["payload"])
        return [
            Quote(
                symbol=symbol,
                mid=Decimal(mid),
                mark=Decimal(mark),
                venue_ms=int(fields["venue_ms"]),
                received_ms=int(fields["received_ms"]),
                source=cast(QuoteSource, fields["source"]),
            )
            for symbol, (mid, mark) in payload.items()
        ]
    except (KeyError, ValueError, TypeError, InvalidOperation) as error:
        raise StoredPriceError(
            f"entry {entry_id} of {redis_keys.PRICES_STREAM}: {error}"
        ) from error


def _fields(quote: Quote) -> dict[Any, Any]:
    return {
        "mid": str(quote.mid),
        "mark": str(quote.mark),
        "venue_ms": quote.venue_ms,
        "received_ms": quote.received_ms,
        "source": quote.source,
    }


def _quote(symbol: str, fields: Mapping[str, str], key: str) -> Quote:
    try:
        return Quote(
            symbol=symbol,
            mid=Decimal(fields["mid"]),
            mark=Decimal(fields["mark"]),
            venue_ms=int(fields["venue_ms"]),
            received_ms=int(fields["received_ms"]),
            source=cast(QuoteSource, fields["source"]),
        )
    except (KeyError, ValueError, InvalidOperation) as error:
        raise StoredPriceError(f"{key}: {error}") from error
