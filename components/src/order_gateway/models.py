"""What may be asked of the gateway; bodies are checked before anything else happens."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from shared.exchange.precision import Tif
from shared.orders.intents import HAND_NAMESPACE, OrderRequest, Origin, plan_intent_id
from shared.orders.states import OrderState

DECIMAL_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,10})?$"
SYMBOL_PATTERN = r"^([a-z0-9]{1,10}:)?[A-Za-z0-9]{1,20}$"
INTENT_PATTERN = r"^[A-Za-z0-9:_.-]{1,96}$"
CLOID_PATTERN = r"^0x[0-9a-f]{32}$"
_DECIMAL = re.compile(DECIMAL_PATTERN)


def _positive_decimal(value: Any) -> Decimal:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError(
            "must be a decimal string such as '0.001' (at most 12 digits, then at most 10 decimals)"
        )
    number = Decimal(value)
    if number <= 0:
        raise ValueError("must be greater than 0")
    return number


PositiveDecimal = Annotated[
    Decimal,
    BeforeValidator(_positive_decimal),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN, "examples": ["0.001"]}),
]
Symbol = Annotated[str, Field(pattern=SYMBOL_PATTERN, examples=["BTC"])]
Symbols = Annotated[list[Symbol], Field(min_length=1, max_length=500)]
Reason = Annotated[str, Field(min_length=3, max_length=200)]
Actor = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]


class _Body(BaseModel):
    """An unknown name is refused, in bodies and queries: it may be a known one, mistyped."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExecuteOrder(_Body):
    """One order intent. The same intent twice is one order; another content under a known name is
    refused (409)."""

    intent_id: Annotated[
        str,
        Field(
            pattern=INTENT_PATTERN,
            description="Its name, once and for all: `hand:<anything new>` by hand, "
            "`<symbol>:<plan_epoch>:<leg>` for a planned order.",
            examples=["hand:leave-btc-1"],
        ),
    ]
    symbol: Annotated[Symbol, Field(description="The venue's coin name.")]
    side: Literal["buy", "sell"]
    size: Annotated[
        PositiveDecimal, Field(description="Coins; rounded down to the venue's lot, never up.")
    ]
    type: Annotated[
        Literal["market", "limit"],
        Field(
            description="`market`: immediate-or-cancel, no worse than a fresh price and "
            "`order_gateway.max_slippage_bps`."
        ),
    ]
    price: Annotated[
        PositiveDecimal | None,
        Field(description="USD, for `limit` alone; rounded to the venue's tick, never worse."),
    ] = None
    reduce_only: Annotated[
        bool,
        Field(
            description="An exit: it can only make a position smaller, passes the kill switch and "
            "most limits, and is taken without MariaDB, too."
        ),
    ] = False
    tif: Annotated[
        Tif | None,
        Field(
            description="How long a limit rests: `Ioc` not at all, `Gtc` until it is cancelled (at "
            "most `order_gateway.resting_ttl_secs`), `Alo` the same and never as a taker. "
            "By default `Gtc` by hand, else `Ioc`."
        ),
    ] = None
    origin: Annotated[
        Origin, Field(description="Who wants it; people use `hand`, which needs no plan.")
    ] = "reconcile"
    plan_epoch: Annotated[
        int | None,
        Field(
            ge=0,
            le=2**53,
            description="For planned orders: the count of the symbol's finished orders, which the "
            "plan was made at. A plan of before the last one is refused (409).",
        ),
    ] = None
    leg: Annotated[
        str | None,
        Field(pattern=r"^[a-z_]{1,16}$", description="For planned orders: `close` or `open`."),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> ExecuteOrder:
        if (self.type == "limit") != (self.price is not None):
            raise ValueError("price: a limit order needs one, a market order must not have one")
        if self.type == "market" and self.tif not in (None, "Ioc"):
            raise ValueError("tif: a market order is always Ioc")
        if self.origin == "hand":
            self._check_by_hand()
        else:
            self._check_planned()
        return self

    def _check_by_hand(self) -> None:
        if not self.intent_id.startswith(f"{HAND_NAMESPACE}:"):
            raise ValueError(f"intent_id: an order by hand is named {HAND_NAMESPACE}:<anything>")
        if self.plan_epoch is not None or self.leg is not None:
            raise ValueError("plan_epoch, leg: an order by hand has neither")

    def _check_planned(self) -> None:
        if self.plan_epoch is None or self.leg is None:
            raise ValueError("plan_epoch, leg: a planned order needs both")
        name = plan_intent_id(self.symbol, self.plan_epoch, self.leg)
        if self.intent_id != name:
            raise ValueError(f"intent_id: must be {name} for this symbol, plan epoch and leg")
        if self.tif not in (None, "Ioc"):
            raise ValueError("tif: the platform itself sends Ioc only; what rests is sent by hand")

    def request(self) -> OrderRequest:
        """The intent in the words of the journal."""
        default_tif: Tif = "Gtc" if self.type == "limit" and self.origin == "hand" else "Ioc"
        return OrderRequest(
            intent_id=self.intent_id,
            symbol=self.symbol,
            side=self.side,
            size=self.size,
            order_type=self.type,
            tif=self.tif or default_tif,
            price=self.price,
            reduce_only=self.reduce_only,
            origin=self.origin,
            plan_epoch=self.plan_epoch,
            leg=self.leg or HAND_NAMESPACE,
        )


class OrdersQuery(_Body):
    """Which orders are asked for."""

    symbol: Symbol | None = None
    state: OrderState | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class AuditQuery(_Body):
    """Whose lines of the audit trail are asked for."""

    intent_id: Annotated[str, Field(pattern=INTENT_PATTERN)]


class FlattenRequest(_Body):
    """Close positions by reduce-only market orders; all of them unless symbols are named.

    ``kill_switch``: also forbid new exposure, or the platform opens positions again.
    """

    reason: Reason
    actor: Actor = "api"
    symbols: Symbols | None = None
    kill_switch: bool = True


class CancelAllRequest(_Body):
    """Cancel resting orders; all of them unless symbols are named."""

    reason: Reason
    actor: Actor = "api"
    symbols: Symbols | None = None


class ResumeRequest(_Body):
    """Let a symbol that was paused because of someone else's trade be traded again."""

    symbol: Symbol
    reason: Reason
    actor: Actor = "api"


class KillSwitchRequest(_Body):
    """Set or lift the kill switch. ``flatten``: with ``set``, close all positions as well."""

    action: Literal["set", "lift"]
    reason: Reason
    actor: Actor = "api"
    flatten: bool = False

    @model_validator(mode="after")
    def _flatten_only_when_set(self) -> KillSwitchRequest:
        if self.flatten and self.action != "set":
            raise ValueError("flatten: goes with action set only")
        return self
