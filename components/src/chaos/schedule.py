"""What goes wrong when: drawn from a seed, so that a number repeats a whole run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

KILLED = (
    "order_gateway",
    "celery_worker",
    "celery_worker_high",
    "celery_beat",
    "exchange_observer_1",
    "exchange_observer_2",
    "price_producer",
    "price_sampler",
    "recorder",
    "redis",
    "mariadb",
    "paper_exchange",
)
ORDERS: Mapping[str, str] = {"path": "/exchange", "type": "order"}
VENUE_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "dropped reply": {"kind": "drop_reply", "match": ORDERS, "params": {"hold_ms": 3_000}},
    "timeout": {"kind": "delay", "match": ORDERS, "params": {"ms": 12_000}},
    "reset before": {"kind": "reset", "match": ORDERS, "params": {"when": "before"}},
    "reset after": {"kind": "reset", "match": ORDERS, "params": {"when": "after"}},
    "429 storm": {"kind": "http", "probability": 0.6, "params": {"status": 429}},
    "500 storm": {"kind": "http", "probability": 0.4, "params": {"status": 500}},
    "slow reads": {"kind": "delay", "match": {"path": "/info"}, "params": {"ms": 1_500}},
    "WebSocket cut": {"kind": "ws_cut"},
    "WebSocket silence": {"kind": "ws_silence"},
    "duplicated messages": {"kind": "ws_duplicate"},
    "reordered messages": {"kind": "ws_reorder"},
    "frozen price": {"kind": "freeze"},
    "partial fill": {"kind": "partial_fill", "match": ORDERS, "params": {"fraction": "0.4"}},
    "late order status": {"kind": "late_order_status", "params": {"ms": 3_000}},
    "clock skew": {"kind": "clock_skew", "params": {"ms": 4_000}},
    "stale account": {
        "kind": "stale",
        "match": {"path": "/info", "type": "clearinghouseState"},
    },
}
ONE_OFF = frozenset({"WebSocket cut"})


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: ``name`` as in the matrix, seconds after the start, how long it stays."""

    at_secs: float
    what: Literal["kill", "venue"]
    name: str
    lasts_secs: float = 0.0
    body: Mapping[str, Any] = field(default_factory=dict)


def draw(seed: int, secs: float, strikes: int) -> list[Strike]:
    """The faults of one seed within ``secs``, in the order of their times."""
    rng = random.Random(seed)  # noqa: S311 (to be repeated, not to be secret)
    found = [_one(rng, secs) for _ in range(strikes)]
    return sorted(found, key=lambda strike: strike.at_secs)


def names(strikes: Sequence[Strike]) -> list[str]:
    """The names of the matrix, in the order of the strikes."""
    return [f"kill -9 {s.name}" if s.what == "kill" else s.name for s in strikes]


def _one(rng: random.Random, secs: float) -> Strike:
    at_secs = round(rng.uniform(0, secs), 1)
    if rng.random() < 0.4:
        return Strike(at_secs, "kill", rng.choice(KILLED))
    name = rng.choice(sorted(VENUE_FAULTS))
    lasts_secs = 0.0 if name in ONE_OFF else round(rng.uniform(2, 12), 1)
    return Strike(at_secs, "venue", name, lasts_secs, VENUE_FAULTS[name])
