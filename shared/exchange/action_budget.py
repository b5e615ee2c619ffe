"""How many actions the venue still takes from the account, and who may use the last of them.

The venue counts every order and cancel of an address: 10,000 and one more per USDC traded. Beyond
that it takes one action in ten seconds, so an account that has nothing left can hardly get out.
Therefore opening orders leave a tenth of the cap to exits and cancels, which are always sent.

The venue's own count is read now and then (``userRateLimit``); what is sent in between is counted
in Redis. What is not known limits nobody: the venue itself decides, by a reply that is evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple, cast

import redis
import structlog

from shared import instruments
from shared.exchange.decoding import as_mapping, int_field
from shared.exchange.errors import BudgetExhausted, VenueError
from shared.exchange.rate_budget import Priority, weight_of
from shared.exchange.transport import VenueTransport
from shared.storage import redis_keys

log = structlog.get_logger(__name__)

KEPT_SHARE = 0.1
"""Share of the cap that only exits and cancels may use."""

READ_EVERY_SECS = 600.0
READ_WHEN_SHORT_SECS = 30.0
"""Trading raises the cap, so one who is short of actions looks more often."""

_READ_WAIT_SECS = 1.0
_KEY_TTL_SECS = 24 * 3_600
_UNKNOWN = -1

# KEYS[1] counts; ARGV: share kept (0 for exits). Counts one action if it may be sent.
# Returns {1 if it may be sent, actions left afterwards, cap}; {1, -1, -1} when nothing is known.
_TAKE = """
local counts = redis.call('HMGET', KEYS[1], 'cap', 'used')
local cap, used = tonumber(counts[1]), tonumber(counts[2])
if not cap or not used then return {1, -1, -1} end
local left = cap - used
if tonumber(ARGV[1]) > 0 and left - 1 < cap * tonumber(ARGV[1]) then return {0, left, cap} end
redis.call('HINCRBY', KEYS[1], 'used', 1)
return {1, left - 1, cap}
"""


class ActionCounts(NamedTuple):
    """What ``userRateLimit`` tells: actions counted since the account began, and allowed."""

    used: int
    cap: int


def parse_user_rate_limit(raw: object) -> ActionCounts:
    """The reply to ``userRateLimit``."""
    reply = as_mapping(raw, "userRateLimit")
    return ActionCounts(
        used=int_field(reply, "nRequestsUsed", "userRateLimit"),
        cap=int_field(reply, "nRequestsCap", "userRateLimit"),
    )


class ActionBudget:
    """Asked before every action; one per process, shared through Redis."""

    def __init__(
        self,
        transport: VenueTransport,
        client: redis.Redis,
        wallet: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._client = client
        self._wallet = wallet
        self._monotonic = monotonic
        self._key = redis_keys.action_budget(wallet)
        self._take = client.register_script(_TAKE)
        self._asked_at: float | None = None
        self._lock = Lock()

    def take(self, priority: Priority, what: str) -> None:
        """Count one action; raises ``BudgetExhausted`` for one that would use what exits keep."""
        if priority == "exit":
            self._counted(0.0)
            return
        self._read_if_older(READ_EVERY_SECS)
        granted, left, cap = self._counted(KEPT_SHARE)
        if not granted and self._read_if_older(READ_WHEN_SHORT_SECS):
            granted, left, cap = self._counted(KEPT_SHARE)
        if not granted:
            raise BudgetExhausted(
                f"{what}: dropped unsent, the venue takes {left} more actions of {cap} from this "
                f"account; {KEPT_SHARE:.0%} are kept for exits and cancels, trading raises the cap"
            )

    def _counted(self, kept: float) -> tuple[bool, int, int]:
        try:
            granted, left, cap = cast("list[int]", self._take(keys=[self._key], args=[kept]))
        except redis.RedisError as error:
            log.warning("action_budget_unknown", reason=str(error))
            return True, _UNKNOWN, _UNKNOWN
        if left != _UNKNOWN:
            instruments.set_actions(left, cap)
        return bool(granted), left, cap

    def _read_if_older(self, secs: float) -> bool:
        """Take over the venue's own count unless it was asked for lately; True if it was read."""
        with self._lock:
            now = self._monotonic()
            if self._asked_at is not None and now - self._asked_at < secs:
                return False
            self._asked_at = now
        try:
            self._read()
        except (VenueError, redis.RedisError) as error:
            log.warning("action_counts_not_read", reason=str(error))
            return False
        return True

    def _read(self) -> None:
        # Sent once: an order waits for it.
        reply = self._transport.post(
            "/info",
            {"type": "userRateLimit", "user": self._wallet},
            endpoint="info:userRateLimit",
            weight=weight_of("userRateLimit"),
            priority="reconcile",
            max_wait_secs=_READ_WAIT_SECS,
        )
        counts = parse_user_rate_limit(reply)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hset(self._key, mapping={"cap": counts.cap, "used": counts.used})
        pipeline.expire(self._key, _KEY_TTL_SECS)
        pipeline.execute()
