"""May this order go out? Pure decisions: ``Allowed`` or ``Blocked(rule, value, limit)``.

Exits come first: a reduce-only order, which the venue itself keeps from opening anything, is
held against the price band alone. Everything else needs a full set of Known facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.exchange.precision import plain
from shared.observation import Known, Observation, Stale, Unknown
from shared.risk.limits import (
    AccountFacts,
    DayBaseline,
    KillSwitch,
    OrderFacts,
    RiskFacts,
    RiskLimits,
)

BPS = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class Allowed:
    """No rule objects."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The first rule that objects, what it saw and what it allows."""

    rule: str
    value: str
    limit: str


Decision = Allowed | Blocked
Rule = Callable[[OrderFacts, RiskFacts, RiskLimits], Blocked | None]


def validate(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Decision:
    """Hold ``order`` against every rule that applies to it; the first objection decides."""
    rules = EXIT_RULES if order.reduce_only else OPENING_RULES
    for rule in rules:
        objection = rule(order, facts, limits)
        if objection is not None:
            return objection
    return Allowed()


def daily_loss(account: AccountFacts, baseline: DayBaseline) -> Decimal:
    """Share of the day's baseline lost so far; negative on a winning day."""
    if baseline.account_value <= 0:
        return Decimal(0)
    return (baseline.account_value - account.account_value) / baseline.account_value


def forbids_opening(switch: KillSwitch, pause_reason: str) -> Blocked | None:
    """What a person or the risk manager has forbidden: everything, or this symbol."""
    if switch.engaged:
        return Blocked("kill_switch", f"set by {switch.actor}: {switch.reason}", "not set")
    if pause_reason:
        return Blocked("symbol_paused", pause_reason, "not paused")
    return None


def _not_forbidden(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    return forbids_opening(facts.kill_switch, facts.pause_reason)


def _account_known(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    if isinstance(facts.account, Known):
        return None
    return Blocked("account", _describe(facts.account), "a complete, fresh reading")


def _price_known(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    if isinstance(facts.reference_price, Known):
        return None
    limit = f"at most {limits.max_price_age_ms / 1000:g} s old"
    return Blocked("price_age", _describe(facts.reference_price, facts.now_ms), limit)


def _price_deviation(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    if not isinstance(facts.reference_price, Known):
        return None
    reference = facts.reference_price.value
    deviation = abs(order.limit_price - reference) / reference * BPS
    if deviation <= limits.max_price_deviation_bps:
        return None
    value = f"{deviation:.1f} bps from {plain(reference)}"
    return Blocked("price_deviation", value, f"{plain(limits.max_price_deviation_bps)} bps")


def _orders_per_minute(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    if facts.orders_last_minute < limits.max_orders_per_minute:
        return None
    return Blocked(
        "orders_per_minute", str(facts.orders_last_minute), str(limits.max_orders_per_minute)
    )


def _cool_down(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    if limits.cool_down_ms == 0 or facts.now_ms >= facts.cool_down_until_ms:
        return None
    remaining_secs = (facts.cool_down_until_ms - facts.now_ms) / 1000
    return Blocked("cool_down", f"{remaining_secs:.0f} s left after a losing round trip", "0 s")


def _daily_loss(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    if not isinstance(facts.baseline, Known):
        return Blocked("daily_loss", _describe(facts.baseline), "a known start of the day")
    loss = daily_loss(_account(facts), facts.baseline.value)
    if loss < limits.max_daily_loss:
        return None
    return Blocked("daily_loss", f"{loss:.2%} of the day's start", f"{limits.max_daily_loss:.2%}")


def _open_positions(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    held = set(_account(facts).positions) | set(facts.in_flight_usd)
    count = len(held | {order.symbol})
    if order.symbol in held or count <= limits.max_open_positions:
        return None
    return Blocked("open_positions", str(count), str(limits.max_open_positions))


def _symbol_notional(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    account = _account(facts)
    price = _price(facts)
    before = account.positions.get(order.symbol, Decimal(0))
    after = abs(before + order.signed_size) * price
    after += facts.in_flight_usd.get(order.symbol, Decimal(0))
    limit = limits.max_symbol_notional * account.account_value
    if after <= limit or after <= abs(before) * price:
        return None
    return Blocked("symbol_notional", f"{after:.2f} USD", f"{limit:.2f} USD")


def _total_notional(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    account = _account(facts)
    added = _added_notional(order, facts)
    total = sum(account.notionals.values(), Decimal(0)) + added
    total += sum(facts.in_flight_usd.values(), Decimal(0))
    limit = limits.max_total_notional * account.account_value
    if added <= 0 or total <= limit:
        return None
    return Blocked("total_notional", f"{total:.2f} USD", f"{limit:.2f} USD")


def _margin_use(order: OrderFacts, facts: RiskFacts, limits: RiskLimits) -> Blocked | None:
    account = _account(facts)
    added = _added_notional(order, facts)
    pending = sum(facts.in_flight_usd.values(), Decimal(0))
    margin = account.margin_used + (max(added, Decimal(0)) + pending) / order.leverage
    limit = limits.max_margin_use * account.account_value
    if added <= 0 or margin <= limit:
        return None
    return Blocked("margin_use", f"{margin:.2f} USD", f"{limit:.2f} USD")


EXIT_RULES: tuple[Rule, ...] = (_price_deviation,)
OPENING_RULES: tuple[Rule, ...] = (
    _not_forbidden,
    _account_known,
    _price_known,
    _price_deviation,
    _orders_per_minute,
    _cool_down,
    _daily_loss,
    _open_positions,
    _symbol_notional,
    _total_notional,
    _margin_use,
)


def _added_notional(order: OrderFacts, facts: RiskFacts) -> Decimal:
    """Change of the symbol's absolute notional in USD if the order fills."""
    before = _account(facts).positions.get(order.symbol, Decimal(0))
    return (abs(before + order.signed_size) - abs(before)) * _price(facts)


def _account(facts: RiskFacts) -> AccountFacts:
    """The account, which an earlier rule has found to be Known."""
    if not isinstance(facts.account, Known):
        raise TypeError("the account must be Known where this rule is reached")
    return facts.account.value


def _price(facts: RiskFacts) -> Decimal:
    """The reference price, which an earlier rule has found to be Known."""
    if not isinstance(facts.reference_price, Known):
        raise TypeError("the reference price must be Known where this rule is reached")
    return facts.reference_price.value


def _describe(observation: Observation[Any], now_ms: int | None = None) -> str:
    match observation:
        case Unknown(reason):
            return f"unknown: {reason}"
        case Stale(_, as_of_ms) if now_ms is not None:
            return f"{(now_ms - as_of_ms) / 1000:.1f} s old"
        case Stale():
            return "stale"
        case Known():
            return "known"
