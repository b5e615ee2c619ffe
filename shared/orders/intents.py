"""What someone wants done once: the order intent and its identifiers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from shared.exchange.precision import Side, Tif, plain

OrderType = Literal["market", "limit"]
Origin = Literal["reconcile", "hand", "flatten", "take_profit"]
CLOID_HEX_DIGITS = 32
HAND_NAMESPACE = "hand"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An intent as it was asked for, before rounding; ``size`` in coins, ``price`` in USD.

    ``plan_epoch`` is None for orders by hand: they take the symbol's current epoch.
    """

    intent_id: str
    symbol: str
    side: Side
    size: Decimal
    order_type: OrderType
    tif: Tif
    price: Decimal | None
    reduce_only: bool
    origin: Origin
    plan_epoch: int | None
    leg: str

    def payload(self) -> dict[str, Any]:
        """The request as plain JSON; two requests are the same iff their payloads are equal."""
        return {
            "intent_id": self.intent_id,
            "symbol": self.symbol,
            "side": self.side,
            "size": plain(self.size),
            "type": self.order_type,
            "tif": self.tif,
            "price": None if self.price is None else plain(self.price),
            "reduce_only": self.reduce_only,
            "origin": self.origin,
            "plan_epoch": self.plan_epoch,
            "leg": self.leg,
        }


def plan_intent_id(symbol: str, plan_epoch: int, leg: str) -> str:
    """Name of a reconciliation intent: one per symbol, plan epoch and leg."""
    return f"{symbol}:{plan_epoch}:{leg}"


def derive_cloid(wallet: str, journal_id: str, intent_id: str) -> str:
    """The client order id of an intent: 0x and 32 lower-case hex digits, always the same.

    ``journal_id`` names the database: plan epochs begin anew in an empty one, and its orders
    must not be mistaken for those of the one before.
    """
    text = f"3t|{wallet.lower()}|{journal_id}|{intent_id}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return "0x" + digest[:CLOID_HEX_DIGITS]
