"""Orders and fills as the venue keeps them, and their wire shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from paper_exchange.decimals import ZERO, wire

OPEN, FILLED, CANCELED, TRIGGERED = "open", "filled", "canceled", "triggered"
WAITING = "waitingForFill"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A stop (``sl``) or take-profit (``tp``) that watches the mark price."""

    px: Decimal
    is_market: bool
    kind: str

    def fires_above(self, is_buy: bool) -> bool:
        """True if the order waits for a rising price."""
        return is_buy == (self.kind == "sl")

    def is_hit(self, is_buy: bool, mark: Decimal) -> bool:
        return mark >= self.px if self.fires_above(is_buy) else mark <= self.px


@dataclass(slots=True)
class Order:
    """One order for its whole life. ``size`` is what remains, ``orig_size`` what was asked."""

    oid: int
    user: str
    coin: str
    asset_id: int
    is_buy: bool
    limit_px: Decimal
    size: Decimal
    orig_size: Decimal
    reduce_only: bool
    tif: str | None
    cloid: str | None
    timestamp_ms: int
    status: str = OPEN
    status_ms: int = 0
    trigger: Trigger | None = None
    is_position_tpsl: bool = False
    parent_oid: int | None = None
    children: list[int] = field(default_factory=list)
    active: bool = True
    builder_fee_tenths_bp: int = 0

    @property
    def is_open(self) -> bool:
        return self.status in (OPEN, WAITING, TRIGGERED)

    @property
    def rests(self) -> bool:
        """True if the order stands in the book (not waiting for a trigger or a parent)."""
        return self.is_open and self.active

    @property
    def side(self) -> str:
        return "B" if self.is_buy else "A"

    @property
    def order_type(self) -> str:
        if self.trigger is None:
            return "Market" if self.tif == "FrontendMarket" else "Limit"
        name = "Stop" if self.trigger.kind == "sl" else "Take Profit"
        return f"{name} {'Market' if self.trigger.is_market else 'Limit'}"

    def basic(self) -> dict[str, Any]:
        """The shape of ``openOrders`` and of the ``orderUpdates`` channel."""
        payload: dict[str, Any] = {
            "coin": self.coin,
            "side": self.side,
            "limitPx": wire(self.limit_px),
            "sz": wire(self.size),
            "oid": self.oid,
            "timestamp": self.timestamp_ms,
            "origSz": wire(self.orig_size),
        }
        if self.reduce_only:
            payload["reduceOnly"] = True
        if self.cloid is not None:
            payload["cloid"] = self.cloid
        return payload

    def frontend(self, children: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The shape of ``frontendOpenOrders``, ``orderStatus`` and ``historicalOrders``."""
        condition = "N/A"
        if self.trigger is not None:
            direction = "above" if self.trigger.fires_above(self.is_buy) else "below"
            condition = f"Price {direction} {_trim(self.trigger.px)}"
        return {
            "coin": self.coin,
            "side": self.side,
            "limitPx": wire(self.limit_px),
            "sz": wire(self.size),
            "oid": self.oid,
            "timestamp": self.timestamp_ms,
            "triggerCondition": condition,
            "isTrigger": self.trigger is not None,
            "triggerPx": wire(self.trigger.px if self.trigger else ZERO),
            "children": children or [],
            "isPositionTpsl": self.is_position_tpsl,
            "reduceOnly": self.reduce_only,
            "orderType": self.order_type,
            "origSz": wire(self.orig_size),
            "tif": self.tif,
            "cloid": self.cloid,
        }


def _trim(value: Decimal) -> str:
    return wire(value).removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of one side; ``fee`` includes ``builder_fee``; sizes in coins, money in USD."""

    user: str
    coin: str
    px: Decimal
    size: Decimal
    is_buy: bool
    time_ms: int
    start_position: Decimal
    direction: str
    closed_pnl: Decimal
    hash: str
    oid: int
    crossed: bool
    fee: Decimal
    builder_fee: Decimal
    tid: int
    cloid: str | None
    liquidation: dict[str, Any] | None = None

    def payload(self) -> dict[str, Any]:
        """The shape of ``userFills``."""
        payload: dict[str, Any] = {
            "coin": self.coin,
            "px": wire(self.px),
            "sz": wire(self.size),
            "side": "B" if self.is_buy else "A",
            "time": self.time_ms,
            "startPosition": wire(self.start_position),
            "dir": self.direction,
            "closedPnl": wire(self.closed_pnl),
            "hash": self.hash,
            "oid": self.oid,
            "crossed": self.crossed,
            "fee": wire(self.fee),
            "tid": self.tid,
        }
        if self.cloid is not None:
            payload["cloid"] = self.cloid
        if self.builder_fee:
            payload["builderFee"] = wire(self.builder_fee)
        if self.liquidation is not None:
            payload["liquidation"] = self.liquidation
        return payload | {"feeToken": "USDC", "twapId": None}
