"""What the gateway answers: sizes in coins, money in USD, all of it as decimal strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from order_gateway.exits import ExitResult
from order_gateway.guard import RiskStatus
from shared.exchange.precision import Tif, plain
from shared.orders.intents import Origin
from shared.orders.states import OrderState
from shared.risk.limits import KillSwitch
from shared.storage.orders import OrderRecord


class Refusal(BaseModel):
    """Why a request was refused; ``rule``, ``value`` and ``limit`` where a rule objects."""

    error: str
    message: str | None = None
    rule: str | None = None
    value: str | None = None
    limit: str | None = None


class OrderReply(BaseModel):
    """An order as the journal has it: sizes in coins, prices and fees in USD, times UTC ms."""

    intent_id: str
    cloid: str
    symbol: str
    origin: Origin
    plan_epoch: int
    leg: str
    side: Literal["buy", "sell"]
    type: Literal["market", "limit"]
    tif: Tif
    reduce_only: bool
    size: str
    limit_price: str
    state: OrderState
    open: bool
    oid: int | None
    filled_size: str
    avg_price: str | None
    fee_usd: str
    reason: str | None
    created_ms: int
    sent_ms: int | None
    resolved_ms: int | None

    @classmethod
    def of(cls, record: OrderRecord) -> OrderReply:
        """The reply for one row of the journal."""
        return cls(
            intent_id=record.intent_id,
            cloid=record.cloid,
            symbol=record.symbol,
            origin=record.origin,
            plan_epoch=record.plan_epoch,
            leg=record.leg,
            side=record.side,
            type=record.order_type,
            tif=record.tif,
            reduce_only=record.reduce_only,
            size=plain(record.size),
            limit_price=plain(record.limit_price),
            state=record.state,
            open=record.is_open,
            oid=record.oid,
            filled_size=plain(record.filled_size),
            avg_price=None if record.avg_price is None else plain(record.avg_price),
            fee_usd=plain(record.fee_usd),
            reason=record.reason,
            created_ms=record.created_ms,
            sent_ms=record.sent_ms,
            resolved_ms=record.resolved_ms,
        )


class ClosedSymbol(BaseModel):
    """What came of closing one symbol."""

    symbol: str
    remaining_size: str | None
    problem: str | None
    orders: list[OrderReply]


class FlattenReply(BaseModel):
    """``flat``: nothing remains of any symbol that was to be closed."""

    flat: bool
    symbols: list[ClosedSymbol]

    @classmethod
    def of(cls, results: Sequence[ExitResult]) -> FlattenReply:
        """The reply for the outcome of each symbol."""
        return cls(
            flat=all(result.remaining_size == "0" for result in results),
            symbols=[
                ClosedSymbol(
                    symbol=result.symbol,
                    remaining_size=result.remaining_size,
                    problem=result.problem,
                    orders=[OrderReply.of(order) for order in result.orders],
                )
                for result in results
            ],
        )


class ResumeReply(BaseModel):
    """A symbol that may be traded again."""

    symbol: str
    paused: Literal[False] = False


class KillSwitchReply(BaseModel):
    """The switch after the request; what was cancelled (client order ids), and closed if asked.

    ``problem``: the switch is set, but what rests or is held could not be looked after.
    """

    engaged: bool
    reason: str
    cancelled: list[str] | None = None
    flat: bool | None = None
    symbols: list[ClosedSymbol] | None = None
    problem: str | None = None


class SwitchState(BaseModel):
    """The kill switch: whether, why, by whom, since when (UTC ms)."""

    engaged: bool
    reason: str
    actor: str
    since_ms: int

    @classmethod
    def of(cls, switch: KillSwitch) -> SwitchState:
        """The reply for a switch."""
        return cls(
            engaged=switch.engaged,
            reason=switch.reason,
            actor=switch.actor,
            since_ms=switch.since_ms,
        )


class DayState(BaseModel):
    """The UTC day: its first account value, with transfers, and the share of it that is lost."""

    date: str
    start_value_usd: str
    loss: str | None


class AccountState(BaseModel):
    """The account as last read, at ``as_of_ms`` (UTC)."""

    account_value_usd: str
    margin_used_usd: str
    total_notional_usd: str
    positions: dict[str, str]
    as_of_ms: int | None


class RiskReply(BaseModel):
    """State of the risk manager; ``limits`` are those of ``config.yml`` in the rules' units."""

    kill_switch: SwitchState
    day: DayState | None
    account: AccountState | None
    cool_down_until_ms: dict[str, int]
    paused_symbols: dict[str, str]
    limits: dict[str, str]

    @classmethod
    def of(cls, status: RiskStatus) -> RiskReply:
        """The reply for one reading of state and account."""
        state, limits = status.state, status.limits
        return cls(
            kill_switch=SwitchState.of(state.kill_switch),
            day=_day(status),
            account=_account(status),
            cool_down_until_ms=dict(state.cool_down_until_ms),
            paused_symbols={s: p.reason for s, p in state.pauses.items()},
            limits={name: str(getattr(limits, name)) for name in limits.__dataclass_fields__},
        )


class AliveReply(BaseModel):
    """The process is there."""

    status: Literal["alive"] = "alive"


class ReadyReply(BaseModel):
    """Whether orders can be taken; ``unmet`` names what is missing, and why."""

    ready: bool
    unmet: dict[str, str]


def _day(status: RiskStatus) -> DayState | None:
    baseline = status.state.baseline
    if baseline is None:
        return None
    return DayState(
        date=baseline.day,
        start_value_usd=plain(baseline.account_value),
        loss=None if status.daily_loss is None else f"{status.daily_loss:.6f}",
    )


def _account(status: RiskStatus) -> AccountState | None:
    account = status.account
    if account is None:
        return None
    return AccountState(
        account_value_usd=plain(account.account_value),
        margin_used_usd=plain(account.margin_used),
        total_notional_usd=plain(account.total_notional),
        positions={s: plain(p.size) for s, p in account.positions.items()},
        as_of_ms=status.account_as_of_ms,
    )


def refusals(words: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of refusals by status."""
    return {status: {"model": Refusal, "description": words[status]} for status in words}
