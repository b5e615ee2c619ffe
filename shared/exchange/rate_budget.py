"""One weighted request budget for all processes and hosts behind one network address.

The venue allows 1,200 weight per minute and address and answers 429 beyond that. A token
bucket in Redis, moved by a server-side script on the server's own clock, is shared by every
process. Its burst is a fifth of the budget and its refill the rest, so that no window of
60 s can hold more than the budget. Parts of the bucket are kept for callers that must not
wait behind others: ``exit`` (cancels and reduce-only orders) may use all of it, ``reconcile``
(account and order state) all but the exits' share, ``read`` what remains.

A 429 seen by one process empties the bucket and blocks all but exits for everyone, twice as
long each time it happens again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, Protocol, TypeAlias, cast

import redis
import structlog

from shared.exchange.errors import BudgetExhausted
from shared.storage import redis_keys

log = structlog.get_logger(__name__)

Priority: TypeAlias = Literal["exit", "reconcile", "read"]

BURST_SHARE = 0.2
_KEPT_FROM: dict[Priority, float] = {"exit": 0.0, "reconcile": 0.2, "read": 0.5}
"""Share of the full bucket that each priority leaves untouched for those above it."""

FIRST_BACK_OFF_MS = 5_000
LONGEST_BACK_OFF_MS = 60_000
_QUIET_AFTER_MS = 60_000
_KEY_TTL_MS = 300_000
_LOCAL_SHARE = 0.1
"""Share of the budget that one process may use on its own while Redis is away."""

_AWAY_SECS = 2.0
"""For how long a Redis that did not answer is not asked again."""

_WEIGHTS = {
    "l2Book": 2,
    "allMids": 2,
    "clearinghouseState": 2,
    "spotClearinghouseState": 2,
    "orderStatus": 2,
    "exchangeStatus": 2,
    "userRole": 60,
}
_DEFAULT_WEIGHT = 20
_ITEMS_PER_EXTRA_WEIGHT = {
    "recentTrades": 20,
    "historicalOrders": 20,
    "userFills": 20,
    "userFillsByTime": 20,
    "fundingHistory": 20,
    "userFunding": 20,
    "userNonFundingLedgerUpdates": 20,
    "candleSnapshot": 60,
}

# KEYS[1] bucket; ARGV: capacity, refill per ms, cost, kept, exempt from the block (1 or 0), ttl ms.
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
if wait == 0 then tokens = tokens - cost end
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


def weight_of(info_type: str) -> int:
    """Weight of an ``/info`` request before its reply is known."""
    return _WEIGHTS.get(info_type, _DEFAULT_WEIGHT)


def weight_of_reply(info_type: str, items: int) -> int:
    """Further weight of a reply of ``items`` entries."""
    per_weight = _ITEMS_PER_EXTRA_WEIGHT.get(info_type)
    return items // per_weight if per_weight else 0


class Bucket(Protocol):
    """Where the tokens are kept."""

    def take(self, weight: int, kept: float, *, exempt: bool) -> int:
        """Take ``weight`` and return 0, or take nothing and return the ms to wait.

        ``kept`` is the share of the full bucket that must remain; ``exempt`` callers are not
        held by a back-off.
        """
        ...

    def settle(self, weight: int) -> None:
        """Take what a reply weighed beyond its request, below zero if need be."""
        ...

    def penalise(self) -> int:
        """Empty the bucket and block it after a 429; returns the length of the block in ms."""
        ...


@dataclass
class LocalBucket:
    """A bucket of this process alone: the small share it may use while Redis is away."""

    per_minute: float
    monotonic: Callable[[], float] = time.monotonic
    _tokens: float | None = None
    _at: float = 0.0
    _blocked_until: float = 0.0
    _back_off_ms: int = FIRST_BACK_OFF_MS
    _lock: Lock = field(default_factory=Lock)

    def take(self, weight: int, kept: float, *, exempt: bool) -> int:
        """See ``Bucket.take``."""
        with self._lock:
            capacity, per_ms = split_budget(self.per_minute)
            now = self.monotonic() * 1000
            before = capacity if self._tokens is None else self._tokens
            self._tokens = min(capacity, before + (now - self._at) * per_ms)
            self._at = now
            needed = min(weight + kept * capacity, capacity)
            wait = max(0.0, (needed - self._tokens) / per_ms)
            if not exempt:
                wait = max(wait, self._blocked_until - now)
            if wait > 0:
                return int(wait) + 1
            self._tokens -= weight
            return 0

    def settle(self, weight: int) -> None:
        """See ``Bucket.settle``."""
        with self._lock:
            if self._tokens is not None:
                self._tokens -= weight

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

    def __init__(self, client: redis.Redis, address: str, per_minute: float) -> None:
        self._key = redis_keys.rate_budget(address)
        self._capacity, self._per_ms = split_budget(per_minute)
        self._acquire = client.register_script(_ACQUIRE)
        self._settle = client.register_script(_SETTLE)
        self._penalise = client.register_script(_PENALISE)

    def take(self, weight: int, kept: float, *, exempt: bool) -> int:
        """See ``Bucket.take``."""
        arguments = [
            self._capacity,
            self._per_ms,
            weight,
            kept * self._capacity,
            int(exempt),
            _KEY_TTL_MS,
        ]
        return int(cast(int, self._acquire(keys=[self._key], args=arguments)))

    def settle(self, weight: int) -> None:
        """See ``Bucket.settle``."""
        self._settle(keys=[self._key], args=[weight])

    def penalise(self) -> int:
        """See ``Bucket.penalise``."""
        arguments = [
            FIRST_BACK_OFF_MS,
            LONGEST_BACK_OFF_MS,
            _QUIET_AFTER_MS,
            _KEY_TTL_MS,
        ]
        return int(cast(int, self._penalise(keys=[self._key], args=arguments)))


class RateBudget:
    """Callers ask here before every request to the venue.

    ``shared`` is the bucket of all processes; while it cannot be reached (Redis is away) the
    process lives on a tenth of the budget of its own, so that exits still get out.
    """

    def __init__(
        self,
        per_minute: int,
        shared: Bucket | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._local = LocalBucket(per_minute * (_LOCAL_SHARE if shared else 1.0), monotonic)
        self._sleep = sleep
        self._monotonic = monotonic
        self._away_until = -math.inf

    def acquire(self, weight: int, priority: Priority, max_wait_secs: float, what: str) -> None:
        """Wait for ``weight`` of the budget, at most ``max_wait_secs``.

        Raises ``BudgetExhausted`` as soon as it is clear that the turn would come too late:
        a read that has waited too long is no longer worth its weight.
        """
        deadline = self._monotonic() + max_wait_secs
        while True:
            wait_secs = self._take(weight, priority) / 1000
            if wait_secs == 0:
                return
            left = deadline - self._monotonic()
            if wait_secs > left:
                raise BudgetExhausted(
                    f"{what}: dropped unsent, the request budget has room for {priority} calls "
                    f"in {wait_secs:.1f} s only and {max(left, 0.0):.1f} s were left to wait"
                )
            self._sleep(wait_secs)

    def settle(self, info_type: str, items: int) -> None:
        """Charge what a reply of ``items`` entries weighed beyond its request."""
        extra = weight_of_reply(info_type, items)
        if extra:
            self._bucket_call(lambda bucket: self._settled(bucket, extra))

    def penalise(self) -> int:
        """Make every process back off after a 429; returns for how many ms."""
        back_off_ms = self._bucket_call(lambda bucket: bucket.penalise())
        log.warning("venue_back_off", back_off_ms=back_off_ms)
        return back_off_ms

    def _take(self, weight: int, priority: Priority) -> int:
        kept = _KEPT_FROM[priority]
        return self._bucket_call(
            lambda bucket: bucket.take(weight, kept, exempt=priority == "exit")
        )

    @staticmethod
    def _settled(bucket: Bucket, weight: int) -> int:
        bucket.settle(weight)
        return 0

    def _bucket_call(self, call: Callable[[Bucket], int]) -> int:
        if self._shared is not None and self._monotonic() >= self._away_until:
            try:
                return call(self._shared)
            except redis.RedisError as error:
                # Trying takes long while Redis is away, and an exit must not wait for that.
                self._away_until = self._monotonic() + _AWAY_SECS
                log.warning("rate_budget_local", reason=str(error))
        return call(self._local)


def split_budget(per_minute: float) -> tuple[float, float]:
    """(tokens of a full bucket, tokens refilled per ms) whose sum over 60 s is the budget."""
    burst = per_minute * BURST_SHARE
    return burst, (per_minute - burst) / 60_000
