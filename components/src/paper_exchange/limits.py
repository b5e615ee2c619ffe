"""Rate limits: weight per IP and minute, actions per address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paper_exchange.canonical import L1Action, UserSigned
from paper_exchange.ledger import Account

WEIGHT_PER_MINUTE = 1_200
MINUTE_MS = 60_000
FREE_REQUESTS = 10_000
CANCEL_EXTRA = 100_000
OVERFLOW_MS = 10_000
EXPIRED_COST = 5
MAX_CONNECTIONS = 10
MAX_SUBSCRIPTIONS = 1_000
MAX_USERS = 10
MAX_WS_MESSAGES = 2_000
MAX_NEW_CONNECTIONS = 30
MAX_POSTS_IN_FLIGHT = 100

LIGHT_TYPES = (
    "l2Book",
    "allMids",
    "clearinghouseState",
    "spotClearinghouseState",
    "orderStatus",
    "exchangeStatus",
)
PER_20_ITEMS = (
    "recentTrades",
    "historicalOrders",
    "userFills",
    "userFillsByTime",
    "fundingHistory",
    "userFunding",
    "userNonFundingLedgerUpdates",
)


def info_weight(kind: object) -> int:
    """Weight of an ``/info`` request before its reply is known; paper-only types are free."""
    if kind == "paperHistory":
        return 0
    if kind in LIGHT_TYPES:
        return 2
    return 60 if kind == "userRole" else 20


def reply_weight(kind: object, reply: Any) -> int:
    """Extra weight of long replies."""
    items = len(reply) if isinstance(reply, list) else 0
    if kind == "candleSnapshot":
        return items // 60
    return items // 20 if kind in PER_20_ITEMS else 0


def batch_size(body: Any) -> int:
    """Orders, cancels or modifies in an action as received."""
    action = body.get("action") if isinstance(body, dict) else None
    if not isinstance(action, dict):
        return 1
    lists = (action.get(name) for name in ("orders", "cancels", "modifies"))
    return max((len(entry) for entry in lists if isinstance(entry, list)), default=1)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    time_ms: int


@dataclass
class WeightBudget:
    """A token bucket per client: ``capacity`` per minute, refilled evenly."""

    capacity: int = WEIGHT_PER_MINUTE
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def spend(self, client: str, weight: int, now_ms: int) -> bool:
        """Take ``weight``; False (and nothing taken) if less is left."""
        bucket = self._refilled(client, now_ms)
        if weight > 0 and bucket.tokens < weight:
            return False
        bucket.tokens -= weight
        return True

    def charge(self, client: str, weight: int, now_ms: int) -> None:
        """Take weight that is known only afterwards; may leave the bucket below zero."""
        self._refilled(client, now_ms).tokens -= weight

    def _refilled(self, client: str, now_ms: int) -> _Bucket:
        bucket = self._buckets.setdefault(client, _Bucket(float(self.capacity), now_ms))
        gained = max(0, now_ms - bucket.time_ms) * self.capacity / MINUTE_MS
        bucket.tokens = min(float(self.capacity), bucket.tokens + gained)
        bucket.time_ms = now_ms
        return bucket


def address_problem(account: Account, action: L1Action | UserSigned, now_ms: int) -> str | None:
    """Count an action against its address; the venue's refusal, or None if it may run.

    10,000 requests plus one per dollar traded; cancels may go to twice that (at most 100,000
    more). Above, one request passes every ten seconds.
    """
    count = 1
    if isinstance(action, L1Action):
        lists = (action.body.get(name) for name in ("orders", "cancels", "modifies"))
        count = max((len(entry) for entry in lists if entry is not None), default=1)
    cap = FREE_REQUESTS + int(account.volume)
    allowed = cap
    if action.kind in ("cancel", "cancelByCloid"):
        allowed = min(cap + CANCEL_EXTRA, 2 * cap)
    if account.requests_used + count > allowed:
        if now_ms - account.last_overflow_ms < OVERFLOW_MS:
            return (
                f"Too many cumulative requests sent ({account.requests_used} > {cap}) for "
                f"cumulative volume traded ${account.volume:.2f}. Place taker orders to free up "
                "1 request per USDC traded."
            )
        account.last_overflow_ms = now_ms
    account.requests_used += count
    return None
