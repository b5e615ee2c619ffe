"""What Redis knows: queues, prices, the venue's budget and breaker."""

from __future__ import annotations

import redis

from shared.config import Settings
from shared.exchange.breaker import breaker_name, shared_breaker
from shared.exchange.buckets import Limits, RedisBucket
from shared.exchange.rate_budget import network_address
from shared.state_metrics import Labels, Reading
from shared.storage import redis_keys
from shared.storage.streams import PriceStore

QUEUES = (
    redis_keys.HIGH_PRIORITY_QUEUE,
    redis_keys.LOW_PRIORITY_QUEUE,
    redis_keys.RESEARCH_QUEUE,
)
UNACKNOWLEDGED = "unacked"
"""Kombu's hash of messages that were delivered and not yet acknowledged."""
_BREAKER = ("closed", "half_open", "open")


def read(client: redis.Redis, settings: Settings, now_ms: int) -> Reading:
    """One reading; raises ``redis.RedisError``, ``StoredPriceError`` for a damaged price."""
    address = network_address(settings.exchanges.hyperliquid.proxy)
    name = breaker_name(settings.venue.rest_url, address)
    limits = Limits(settings.exchanges.hyperliquid.rate_budget_per_minute)
    bucket = RedisBucket(client, address, limits)
    return {
        "t3_queue_messages": {(q,): float(client.llen(q)) for q in QUEUES},
        "t3_unacknowledged_messages": {(): float(client.hlen(UNACKNOWLEDGED))},
        "t3_price_age_seconds": _price_ages(client, settings, now_ms),
        "t3_venue_budget_left_ratio": {(address,): bucket.left()},
        "t3_venue_breaker_state": {
            (name,): float(_BREAKER.index(shared_breaker(client, name).state))
        },
    }


def _price_ages(client: redis.Redis, settings: Settings, now_ms: int) -> dict[Labels, float]:
    """Age by symbol; a price that is gone from Redis is as old as it can be there."""
    symbols = settings.reconciliation_engine.symbols
    quotes = PriceStore(client).latest(symbols)
    return {
        (symbol,): (now_ms - quotes[symbol].received_ms) / 1000
        if symbol in quotes
        else float(redis_keys.PRICE_TTL_SECS)
        for symbol in symbols
    }
