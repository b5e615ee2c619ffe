"""Token buckets with places for requests in flight: of one process, and of all in Redis.

A bucket's burst is a fifth of the budget per minute and its refill the rest, so no window of 60 s
can hold more than the budget. Beside its tokens it counts requests in flight: each holds a place
until its reply is there, or, when its process died, until the place's lease is over.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple, Protocol, cast

import redis

from shared.storage import redis_keys

BURST_SHARE = 0.2
FIRST_BACK_OFF_MS = 5_000
LONGEST_BACK_OFF_MS = 60_000
PLACE_WAIT_MS = 25
"""When all places are taken, the next look is after this long."""

_QUIET_AFTER_MS = 60_000
_KEY_TTL_MS = 300_000

# KEYS[1] bucket, KEYS[2] places; ARGV: capacity, refill per ms, cost, kept, exempt from the block
# (1 or 0), ttl ms, places that may be taken, place, its lease ms, ms to wait for a place.
# Returns 0 when granted, else the ms to wait. Time is the Redis server's.
_ACQUIRE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'blocked_until')
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local cost, kept = tonumber(ARGV[3]), tonumber(ARGV[4])
local at = tonumber(state[2]) or ms
local tokens = math.min(capacity, (tonumber(state[1]) or capacity) + math.max(0, ms - at) * rate)
local blocked = (tonumber(state[3]) or 0) - ms
local wait = 0
local needed = math.min(cost + kept, capacity)
if tokens < needed then wait = math.ceil((needed - tokens) / rate) end
if ARGV[5] == '0' and blocked > wait then wait = blocked end
if wait == 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms)
  if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[7]) then wait = tonumber(ARGV[10]) end
end
if wait == 0 then
  tokens = tokens - cost
  redis.call('ZADD', KEYS[2], ms + ARGV[9], ARGV[8])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(math.max(at, ms)))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return wait
"""

# KEYS[1] bucket; ARGV: extra cost. Takes what a reply turned out to weigh; may go below zero.
_SETTLE = """
local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens'))
if tokens then redis.call('HSET', KEYS[1], 'tokens', tostring(tokens - tonumber(ARGV[1]))) end
return 0
"""

# KEYS[1] bucket; ARGV: first back-off ms, longest ms, quiet ms, ttl ms. Returns the block in ms.
# Processes that were hit by the same storm find the block already set and leave it as it is.
_PENALISE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'blocked_until', 'back_off', 'hit_at')
local until_ms, hit_at = tonumber(state[1]) or 0, tonumber(state[3]) or 0
if until_ms > ms then return until_ms - ms end
local back_off = tonumber(ARGV[1])
if state[2] and ms - hit_at < tonumber(ARGV[3]) + tonumber(state[2]) then
  back_off = math.min(tonumber(state[2]) * 2, tonumber(ARGV[2]))
end
redis.call('HSET', KEYS[1], 'blocked_until', tostring(ms + back_off),
  'back_off', tostring(back_off), 'hit_at', tostring(ms), 'tokens', '0', 'at', tostring(ms))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return back_off
"""


class Limits(NamedTuple):
    """Weight per minute, requests in flight, and how long one may be under way at most."""

    per_minute: float
    in_flight: int = 50
    lease_ms: int = 60_000


class Ask(NamedTuple):
    """What a caller wants: weight, and what it must leave for those above it.

    ``kept_weight`` is a share of the full bucket, ``kept_places`` one of all places (0 to 1);
    ``exempt`` callers are not held by a back-off.
    """

    weight: int
    kept_weight: float
    kept_places: float
    exempt: bool


class Bucket(Protocol):
    """Where the tokens and places are kept."""

    def take(self, ask: Ask, place: str) -> int:
        """Take weight and a place and return 0, or take nothing and return the ms to wait."""
        ...

    def leave(self, place: str) -> int:
        """Give a place back; returns 0."""
        ...

    def settle(self, weight: int) -> int:
        """Take what a reply weighed beyond its request, below zero if need be; returns 0."""
        ...

    def penalise(self) -> int:
        """Empty the bucket and block it after a 429; returns the length of the block in ms."""
        ...


@dataclass
class LocalBucket:
    """A bucket of this process alone: the small share it may use while Redis is away."""

    limits: Limits
    monotonic: Callable[[], float] = time.monotonic
    _tokens: float | None = None
    _at: float = 0.0
    _blocked_until: float = 0.0
    _back_off_ms: int = FIRST_BACK_OFF_MS
    _places: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def take(self, ask: Ask, place: str) -> int:
        """See ``Bucket.take``."""
        with self._lock:
            capacity, per_ms = split_budget(self.limits.per_minute)
            now = self.monotonic() * 1000
            before = capacity if self._tokens is None else self._tokens
            self._tokens = min(capacity, before + (now - self._at) * per_ms)
            self._at = now
            needed = min(ask.weight + ask.kept_weight * capacity, capacity)
            wait = max(0.0, (needed - self._tokens) / per_ms)
            if not ask.exempt:
                wait = max(wait, self._blocked_until - now)
            if wait > 0:
                return int(wait) + 1
            self._places = {one: until for one, until in self._places.items() if until > now}
            if len(self._places) >= places_for(self.limits.in_flight, ask.kept_places):
                return PLACE_WAIT_MS
            self._places[place] = now + self.limits.lease_ms
            self._tokens -= ask.weight
            return 0

    def leave(self, place: str) -> int:
        """See ``Bucket.leave``."""
        with self._lock:
            self._places.pop(place, None)
        return 0

    def settle(self, weight: int) -> int:
        """See ``Bucket.settle``."""
        with self._lock:
            if self._tokens is not None:
                self._tokens -= weight
        return 0

    def penalise(self) -> int:
        """See ``Bucket.penalise``."""
        with self._lock:
            now = self.monotonic() * 1000
            if self._blocked_until > now:
                return int(self._blocked_until - now)
            again = now < self._blocked_until + _QUIET_AFTER_MS and self._blocked_until > 0
            doubled = min(self._back_off_ms * 2, LONGEST_BACK_OFF_MS)
            self._back_off_ms = doubled if again else FIRST_BACK_OFF_MS
            self._blocked_until = now + self._back_off_ms
            self._tokens, self._at = 0.0, now
            return self._back_off_ms


class RedisBucket:
    """The bucket that all processes behind one address share."""

    def __init__(self, client: redis.Redis, address: str, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._key = redis_keys.rate_budget(address)
        self._places_key = redis_keys.in_flight(address)
        self._capacity, self._per_ms = split_budget(limits.per_minute)
        self._acquire = client.register_script(_ACQUIRE)
        self._settle = client.register_script(_SETTLE)
        self._penalise = client.register_script(_PENALISE)

    def take(self, ask: Ask, place: str) -> int:
        """See ``Bucket.take``."""
        arguments: list[str | float] = [
            self._capacity,
            self._per_ms,
            ask.weight,
            ask.kept_weight * self._capacity,
            int(ask.exempt),
            _KEY_TTL_MS,
            places_for(self._limits.in_flight, ask.kept_places),
            place,
            self._limits.lease_ms,
            PLACE_WAIT_MS,
        ]
        return int(cast(int, self._acquire(keys=[self._key, self._places_key], args=arguments)))

    def left(self) -> float:
        """Share of the full bucket that is there now, 0 to 1; takes nothing."""
        stored = cast("list[str | None]", self._client.hmget(self._key, ["tokens", "at"]))
        if stored[0] is None or stored[1] is None:
            return 1.0
        seconds, micros = self._client.time()
        refilled = max(0.0, seconds * 1000 + micros / 1000 - float(stored[1])) * self._per_ms
        return max(0.0, min(1.0, (float(stored[0]) + refilled) / self._capacity))

    def leave(self, place: str) -> int:
        """See ``Bucket.leave``."""
        self._client.zrem(self._places_key, place)
        return 0

    def settle(self, weight: int) -> int:
        """See ``Bucket.settle``."""
        self._settle(keys=[self._key], args=[weight])
        return 0

    def penalise(self) -> int:
        """See ``Bucket.penalise``."""
        arguments = [FIRST_BACK_OFF_MS, LONGEST_BACK_OFF_MS, _QUIET_AFTER_MS, _KEY_TTL_MS]
        return int(cast(int, self._penalise(keys=[self._key], args=arguments)))


def split_budget(per_minute: float) -> tuple[float, float]:
    """(tokens of a full bucket, tokens refilled per ms) whose sum over 60 s is the budget."""
    burst = per_minute * BURST_SHARE
    return burst, (per_minute - burst) / 60_000


def places_for(in_flight: int, kept: float) -> int:
    """Of ``in_flight`` places, how many may be taken by those who leave ``kept`` of them; one at
    least.
    """
    return max(1, int(in_flight * (1 - kept)))


def new_place() -> str:
    """A name for one request in flight."""
    return uuid.uuid4().hex
