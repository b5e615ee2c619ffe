"""One weighted request budget for all processes and hosts behind one network address.

The venue allows 1,200 weight per minute and address and answers 429 beyond that. Weight and
requests in flight are counted in one bucket in Redis (``shared.exchange.buckets``) that every
process asks first. Parts of it are kept for callers that must not wait behind others: ``exit``
(cancels and reduce-only orders) may use all of it, ``reconcile`` (account and order state, opening
orders) all but the exits' share, ``read`` what remains.

A 429 seen by one process empties the bucket and blocks all but exits for everyone, twice as
long each time it happens again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import redis
import structlog

from shared import instruments
from shared.exchange.buckets import Ask, Bucket, Limits, LocalBucket, new_place
from shared.exchange.errors import BudgetExhausted

log = structlog.get_logger(__name__)

Priority: TypeAlias = Literal["exit", "reconcile", "read"]


class Shares(NamedTuple):
    """What a priority leaves for those above it: of the full bucket, and of the places."""

    weight: float
    places: float


KEPT_FROM: dict[Priority, Shares] = {
    "exit": Shares(0.0, 0.0),
    "reconcile": Shares(0.2, 0.2),
    "read": Shares(0.5, 0.5),
}
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


def weight_of(info_type: str) -> int:
    """Weight of an ``/info`` request before its reply is known."""
    return _WEIGHTS.get(info_type, _DEFAULT_WEIGHT)


def weight_of_reply(info_type: str, items: int) -> int:
    """Further weight of a reply of ``items`` entries."""
    per_weight = _ITEMS_PER_EXTRA_WEIGHT.get(info_type)
    return items // per_weight if per_weight else 0


class RateBudget:
    """Callers ask here before every request to the venue.

    ``shared`` is the bucket of all processes; while it cannot be reached (Redis is away) the
    process lives on a tenth of the budget of its own, so that exits still get out.
    """

    def __init__(
        self,
        limits: Limits,
        shared: Bucket | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        own = limits._replace(per_minute=limits.per_minute * _LOCAL_SHARE) if shared else limits
        self._local = LocalBucket(own, monotonic)
        self._sleep = sleep
        self._monotonic = monotonic
        self._away_until = -math.inf

    def acquire(self, weight: int, priority: Priority, max_wait_secs: float, what: str) -> str:
        """Wait for ``weight`` and a place among the requests in flight, at most ``max_wait_secs``.

        Returns the place, which ``release`` gives back. Raises ``BudgetExhausted`` as soon as it
        is clear that the turn would come too late: a read that has waited too long is no longer
        worth its weight.
        """
        begun = self._monotonic()
        deadline = begun + max_wait_secs
        place = new_place()
        ask = Ask(weight, *KEPT_FROM[priority], exempt=priority == "exit")
        while True:
            wait_secs = self._bucket_call(lambda bucket: bucket.take(ask, place)) / 1000
            if wait_secs == 0:
                instruments.record_budget_wait(priority, self._monotonic() - begun)
                return place
            left = deadline - self._monotonic()
            if wait_secs > left:
                instruments.record_budget_wait(priority, self._monotonic() - begun)
                raise BudgetExhausted(
                    f"{what}: dropped unsent, the request budget has room for {priority} calls "
                    f"in {wait_secs:.1f} s only and {max(left, 0.0):.1f} s were left to wait"
                )
            self._sleep(wait_secs)

    def release(self, place: str) -> None:
        """Give back what ``acquire`` returned: the reply is there, or none will come."""
        self._local.leave(place)
        self._bucket_call(lambda bucket: bucket.leave(place))

    def settle(self, info_type: str, items: int) -> None:
        """Charge what a reply of ``items`` entries weighed beyond its request."""
        extra = weight_of_reply(info_type, items)
        if extra:
            self._bucket_call(lambda bucket: bucket.settle(extra))

    def penalise(self) -> int:
        """Make every process back off after a 429; returns for how many ms."""
        back_off_ms = self._bucket_call(lambda bucket: bucket.penalise())
        log.warning("venue_back_off", back_off_ms=back_off_ms)
        return back_off_ms

    def _bucket_call(self, call: Callable[[Bucket], int]) -> int:
        if self._shared is not None and self._monotonic() >= self._away_until:
            try:
                return call(self._shared)
            except redis.RedisError as error:
                # Trying takes long while Redis is away, and an exit must not wait for that.
                self._away_until = self._monotonic() + _AWAY_SECS
                log.warning("rate_budget_local", reason=str(error))
        return call(self._local)


def network_address(proxy: str | None) -> str:
    """What the venue sees us as: the proxy's host, or this machine's own address."""
    return (urlsplit(proxy).hostname or proxy) if proxy else "direct"
