"""Volatility and trading range of each symbol, in Redis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import redis

from shared.market_data.volatility import VolatilityEstimate
from shared.storage import redis_keys


class VolatilityStore:
    """``volatility:{symbol}``; ``client`` decodes its replies."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def save(self, symbol: str, estimate: VolatilityEstimate) -> None:
        """Replace a symbol's estimate; it disappears after its time to live."""
        key = redis_keys.volatility(symbol)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hset(
            key,
            mapping={
                "per_sqrt_hour": repr(estimate.per_sqrt_hour),
                "range_high": repr(estimate.range_high),
                "range_low": repr(estimate.range_low),
                "samples": estimate.samples,
                "as_of_ms": estimate.as_of_ms,
            },
        )
        pipeline.expire(key, redis_keys.VOLATILITY_TTL_SECS)
        pipeline.execute()

    def per_sqrt_hour(self, symbols: Iterable[str]) -> Mapping[str, float]:
        """Volatility of those symbols for which a positive, finite one is known."""
        wanted = list(symbols)
        pipeline = self._client.pipeline(transaction=False)
        for symbol in wanted:
            pipeline.hget(redis_keys.volatility(symbol), "per_sqrt_hour")
        found = {}
        for symbol, text in zip(wanted, pipeline.execute(), strict=True):
            value = float(text) if text is not None else math.nan
            if math.isfinite(value) and value > 0:
                found[symbol] = value
        return found
