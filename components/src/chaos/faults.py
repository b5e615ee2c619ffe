"""What can go wrong, and at which step of an order: the columns and rows of the fault matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class Step(StrEnum):
    """Where an order is when a fault strikes."""

    INTENT = "intent"
    """Journaled as PENDING; the transaction that makes it SENT has not committed."""
    SEND = "send"
    """SENT; the request is with the venue, which has not processed it."""
    ACK = "ack"
    """The venue has executed it; its reply is not out."""
    FILL = "fill"
    """The journal says filled; its fills are not recorded."""
    RECONCILE = "reconcile"
    """Filled and recorded; reconciliation has not seen the position that it left."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; ``target`` is a process to kill, ``body`` what the venue's admin route takes.

    ``passes``: it is over at once, so it is never lifted. ``halts``: no machine may decide how to
    go on after it, so the seed must end halted; it lasts until that is so.
    """

    name: str
    kind: Literal[
        "kill", "venue", "disk full", "duplicated tasks", "foreign trade", "kill switch and kills"
    ]
    target: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    passes: bool = False
    halts: bool = False


KILLED = (
    "order_gateway",
    "celery_worker",
    "celery_worker_high",
    "celery_beat",
    "exchange_observer_1",
    "exchange_observer_2",
    "price_producer",
    "price_sampler",
    "redis",
    "mariadb",
    "paper_exchange",
)
ORDERS: Mapping[str, str] = {"path": "/exchange", "type": "order"}
ACCOUNT: Mapping[str, str] = {"path": "/info", "type": "clearinghouseState"}


def _venue(name: str, kind: str, passes: bool = False, **more: Any) -> Fault:
    return Fault(name, "venue", body={"kind": kind, **more}, passes=passes)


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        *(Fault(f"kill -9 {name}", "kill", name, passes=True) for name in KILLED),
        _venue("dropped reply", "drop_reply", match=ORDERS, params={"hold_ms": 4_000}),
        # Longer than the client waits; the order is accepted late, or read after its expiry.
        _venue("timeout", "delay", match=ORDERS, params={"ms": 3_500}),
        _venue("timeout past expiry", "delay", match=ORDERS, params={"ms": 7_000}),
        _venue("reset before", "reset", match=ORDERS, params={"when": "before"}),
        _venue("reset after", "reset", match=ORDERS, params={"when": "after"}),
        _venue("429 storm", "http", probability=0.6, params={"status": 429}),
        _venue("500 storm", "http", probability=0.4, params={"status": 500}),
        _venue("slow reads", "delay", match={"path": "/info"}, params={"ms": 1_500}),
        _venue("WebSocket cut", "ws_cut", passes=True),
        _venue("WebSocket silence", "ws_silence"),
        _venue("duplicated messages", "ws_duplicate"),
        _venue("reordered messages", "ws_reorder"),
        Fault("duplicated tasks", "duplicated tasks", passes=True),
        _venue("frozen price", "freeze"),
        _venue("partial fill", "partial_fill", match=ORDERS, params={"fraction": "0.4"}),
        _venue("late order status", "late_order_status", params={"ms": 3_000}),
        _venue("clock skew", "clock_skew", params={"ms": 4_000}),
        _venue("stale account", "stale", match=ACCOUNT),
        Fault("disk full", "disk full"),
        Fault("trade past the gateway", "foreign trade", passes=True, halts=True),
        Fault(
            "orders refused",
            "venue",
            body={"kind": "http", "match": ORDERS, "params": {"status": 422}},
            halts=True,
        ),
        Fault("kill switch, all killed", "kill switch and kills", passes=True, halts=True),
    )
}
HALTING = tuple(name for name, fault in FAULTS.items() if fault.halts)
CELLS: tuple[tuple[Step, str], ...] = tuple(
    (step, name) for name in FAULTS if name not in HALTING for step in Step
)
"""What decks of seeds are dealt from; a halting fault comes on top of every few seeds."""
