"""Market metadata in Redis: the fleet reads it from the venue once, not once per process.

What is older than ``FRESH_SECS`` is read anew by one process while the others go on with it, so
that a delisting is known everywhere within minutes; while the venue is silent, all go on with it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import orjson
import redis
import structlog

from shared import time_budget
from shared.exchange.errors import TimeExhausted, VenueError
from shared.storage import redis_keys

log = structlog.get_logger(__name__)

_LOADING_LEASE = redis_keys.lease("venue_markets")
_LEASE_MS = 60_000
FRESH_SECS = 120
_POLL_SECS = 0.2
_RELEASE = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)


class MarketCache:
    """What ``fetch_markets`` returned, shared between processes of the same venue."""

    def __init__(
        self,
        rest_url: str,
        dexes: tuple[str, ...],
        client: redis.Redis | None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._scope = {"rest_url": rest_url, "dexes": list(dexes)}
        self._client = client
        self._sleep = sleep

    def get_or_load(self, load: Callable[[], list[Any]]) -> list[Any]:
        """The cached markets; else one process loads them while the others wait for it.

        A cache that cannot be reached costs a load, never a failure.
        """
        if self._client is None:
            return load()
        try:
            return self._shared(self._client, load)
        except redis.RedisError as error:
            log.warning("market_cache_away", reason=str(error))
            return load()

    def _shared(self, client: redis.Redis, load: Callable[[], list[Any]]) -> list[Any]:
        token = uuid.uuid4().hex
        while True:
            cached, is_fresh = self._read(client)
            if cached is not None and is_fresh:
                return cached
            if client.set(_LOADING_LEASE, token, nx=True, px=_LEASE_MS):
                break
            if cached is not None:
                return cached
            if time_budget.is_spent():
                raise TimeExhausted("markets: another process is still reading them")
            self._sleep(_POLL_SECS)
        try:
            return self._renewed(client, load)
        finally:
            client.eval(_RELEASE, 1, _LOADING_LEASE, token)

    def _renewed(self, client: redis.Redis, load: Callable[[], list[Any]]) -> list[Any]:
        cached, is_fresh = self._read(client)
        if cached is not None and is_fresh:
            return cached
        try:
            markets = load()
        except VenueError as error:
            if cached is None:
                raise
            log.warning("markets_not_refreshed", reason=str(error))
            return cached
        entry = orjson.dumps({"scope": self._scope, "markets": markets})
        client.set(redis_keys.MARKETS, entry, ex=redis_keys.MARKETS_TTL_SECS)
        return markets

    def _read(self, client: redis.Redis) -> tuple[list[Any] | None, bool]:
        """What is stored, and whether it is recent; its time to live tells its age."""
        raw = client.get(redis_keys.MARKETS)
        if raw is None:
            return None, False
        entry = orjson.loads(raw)
        if entry["scope"] != self._scope:
            return None, False
        age_secs = redis_keys.MARKETS_TTL_SECS - client.ttl(redis_keys.MARKETS)
        return list(entry["markets"]), age_secs <= FRESH_SECS
