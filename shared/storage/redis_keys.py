"""Every Redis key, stream, channel and time to live of 3T, once.

Redis is broker and cache: each of these can be lost and is rebuilt from MariaDB or from the
venue. Times to live are seconds.
"""

from __future__ import annotations

HIGH_PRIORITY_QUEUE = "high_priority"
LOW_PRIORITY_QUEUE = "low_priority"
RESEARCH_QUEUE = "research"

PRICES_STREAM = "prices:updated"
PRICES_STREAM_MAXLEN = 10_000
BALANCE_STREAM = "balance:updated"
BALANCE_STREAM_MAXLEN = 10_000
ORDERS_STREAM = "orders:updated"
ORDERS_STREAM_MAXLEN = 10_000

PRICE_TTL_SECS = 3_600
VOLATILITY_TTL_SECS = 6 * 3_600
FUNDING_TTL_SECS = 6 * 3_600
RUN_STATE_TTL_SECS = 24 * 3_600
RUN_SIGNAL_TTL_SECS = 24 * 3_600
LAST_FETCH_TTL_SECS = 24 * 3_600
MARKETS_TTL_SECS = 6 * 3_600

MARKETS = "venue:markets"
"""Cached market metadata of the venue, shared by all processes (JSON)."""

LAST_SCHEDULED_TICK = "providence:last_scheduled_tick"
"""Newest tick for which iterations were sent (ms)."""

SENT_ITERATIONS = "providence:sent_iterations"
"""Hash: shard id to ``tick:sent_ms`` of the iteration that was sent last."""

REOPTIMISATION = "research:reoptimisation"
"""Who searches, or when it was searched last: while it is there, decay sets off no search."""
REOPTIMISATION_TTL_SECS = 900
"""Of a search under way, renewed by it; when it has ended, the days of ``config.yml`` count."""


def price(symbol: str) -> str:
    """Hash ``mid, mark, venue_ms, received_ms, source`` of one symbol."""
    return f"price:{symbol}"


def volatility(symbol: str) -> str:
    """Hash ``per_sqrt_hour, range_high, range_low, as_of_ms`` of one symbol."""
    return f"volatility:{symbol}"


def funding(symbol: str) -> str:
    """Hash ``rate, index, as_of_ms`` of one symbol."""
    return f"funding:{symbol}"


def last_fetch(symbol: str, timeframe: str) -> str:
    """Open time (ms) of the newest complete candle stored for a symbol and time frame."""
    return f"last_fetch:{symbol}:{timeframe}"


def run_state(run_id: int) -> str:
    """Binary record of one run (``shared.providence.run_state.RUN_DTYPE``)."""
    return f"providence:state:{run_id}"


def run_exit(run_id: int) -> str:
    """Notification that a run was asked to exit; the truth is ``runs.exit_tick``."""
    return f"providence:exit:{run_id}"


def run_completed(run_id: int) -> str:
    """Notification that a run has completed; the truth is ``runs.status``."""
    return f"providence:completed:{run_id}"


def lease(name: str) -> str:
    """Owner token of a lease that only saves work (never a lock that correctness rests on)."""
    return f"lease:{name}"


def rate_budget(address: str) -> str:
    """Token buckets of the weighted request budget of one network address."""
    return f"rate_budget:{address}"


def in_flight(address: str) -> str:
    """Sorted set of requests under way from one network address, by the end of their lease (ms)."""
    return f"in_flight:{address}"


def action_budget(wallet: str) -> str:
    """Hash ``cap, used, read_ms``: the actions that the venue allows an account, and has seen."""
    return f"action_budget:{wallet}"


def boot_turn(address: str) -> str:
    """When the next starting process of one network address may make its first call (ms)."""
    return f"boot_turn:{address}"


def breaker(name: str) -> str:
    """Shared state of a circuit breaker."""
    return f"breaker:{name}"
