"""What the population wants the account to hold, in USD per symbol.

target = balance × ``risk_pos_percentage`` × cohort factor × Σ w d / run count

where Σ w d is the weighted direction of the runs that count and the run count is
``desired_run_count``, or the number of active runs while that is larger (the population is being
made smaller). So it sets the resolution and not the leverage. Then directions may be inverted or
forbidden, and notional is capped per symbol and in total. Every change on the way is recorded as a
``Clamp``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from shared.observation import Known, Observation, Stale, Unknown

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class TargetRules:
    """Settings of ``reconciliation_engine``; exposures are multiples of the account value."""

    risk_pos_percentage: Decimal
    desired_run_count: int
    max_symbol_exposure: Decimal
    max_total_exposure: Decimal
    invert_decisions: bool = False
    can_go_long: bool = True
    can_go_short: bool = True


@dataclass(frozen=True, slots=True)
class Demand:
    """What the runs on one symbol ask for.

    ``weighted_direction`` is Σ w d over the qualifying runs (positive: long), ``factor`` the
    cohort Kelly factor (0.02 upwards, or the probationary multiplier).
    """

    weighted_direction: float
    factor: float
    active_runs: int
    qualifying_runs: int


@dataclass(frozen=True, slots=True)
class Clamp:
    """One change of a target: the rule that made it, and the notional in USD on both sides."""

    rule: str
    before_usd: Decimal
    after_usd: Decimal


@dataclass(frozen=True, slots=True)
class Target:
    """Signed notional in USD that a symbol should have, and what shaped it.

    ``run_count`` is what the wish of the runs was divided by, where one is known.
    """

    symbol: str
    notional: Observation[Decimal]
    wanted_usd: Decimal | None = None
    run_count: int | None = None
    clamps: tuple[Clamp, ...] = ()


def targets(
    balance: Observation[Decimal],
    demands: Mapping[str, Observation[Demand]],
    rules: TargetRules,
) -> dict[str, Target]:
    """The target of every symbol in ``demands``; ``balance`` is the account value in USD.

    A symbol whose balance or demand is not ``Known`` has no target. It may still hold a
    position, so it keeps the largest notional it could have reserved under the total cap.
    """
    if not isinstance(balance, Known):
        reason = not_known("the balance", balance)
        return {symbol: Target(symbol, Unknown(reason)) for symbol in demands}
    account_usd = max(balance.value, ZERO)
    active = sum(d.value.active_runs for d in demands.values() if isinstance(d, Known))
    run_count = max(rules.desired_run_count, active)
    found = {
        symbol: _target(symbol, account_usd, balance.as_of_ms, demand, rules, run_count)
        for symbol, demand in demands.items()
    }
    return _cap_total(found, account_usd, rules)


def _target(
    symbol: str,
    account_usd: Decimal,
    as_of_ms: int,
    demand: Observation[Demand],
    rules: TargetRules,
    run_count: int,
) -> Target:
    if not isinstance(demand, Known):
        return Target(symbol, Unknown(not_known("the runs' demand", demand)))
    wanted = demand.value
    if not (math.isfinite(wanted.weighted_direction) and math.isfinite(wanted.factor)):
        return Target(symbol, Unknown("the runs' demand is not a finite number"))
    if rules.desired_run_count <= 0:
        if wanted.active_runs:
            return Target(symbol, Unknown("desired_run_count is 0 while runs are active"))
        return Target(symbol, Known(ZERO, min(as_of_ms, demand.as_of_ms)), ZERO)
    wanted_usd = (
        account_usd
        * rules.risk_pos_percentage
        * Decimal(repr(wanted.factor))
        * Decimal(repr(wanted.weighted_direction))
        / run_count
    )
    notional_usd, clamps = _shape(wanted_usd, account_usd, rules)
    notional = Known(notional_usd, min(as_of_ms, demand.as_of_ms))
    return Target(symbol, notional, wanted_usd, run_count, clamps)


def _shape(
    wanted_usd: Decimal, account_usd: Decimal, rules: TargetRules
) -> tuple[Decimal, tuple[Clamp, ...]]:
    clamps: list[Clamp] = []
    value = wanted_usd

    def change(rule: str, after: Decimal) -> Decimal:
        if after != value:
            clamps.append(Clamp(rule, value, after))
        return after

    if rules.invert_decisions:
        value = change("invert_decisions", -value)
    if value > 0 and not rules.can_go_long:
        value = change("can_go_long", ZERO)
    if value < 0 and not rules.can_go_short:
        value = change("can_go_short", ZERO)
    limit_usd = account_usd * rules.max_symbol_exposure
    value = change("max_symbol_exposure", max(-limit_usd, min(limit_usd, value)))
    return value, tuple(clamps)


def _cap_total(
    found: dict[str, Target], account_usd: Decimal, rules: TargetRules
) -> dict[str, Target]:
    known = {s: t.notional for s, t in found.items() if isinstance(t.notional, Known)}
    total_usd = sum((abs(n.value) for n in known.values()), ZERO)
    reserved_usd = account_usd * rules.max_symbol_exposure * (len(found) - len(known))
    room_usd = max(account_usd * rules.max_total_exposure - reserved_usd, ZERO)
    if total_usd <= room_usd:
        return found
    capped = dict(found)
    for symbol, notional in known.items():
        if notional.value == 0:
            continue
        target = found[symbol]
        after_usd = notional.value * room_usd / total_usd
        clamp = Clamp("max_total_exposure", notional.value, after_usd)
        capped[symbol] = replace(
            target, notional=Known(after_usd, notional.as_of_ms), clamps=(*target.clamps, clamp)
        )
    return capped


def not_known(what: str, observation: Stale[Any] | Unknown) -> str:
    """One sentence on why ``what`` cannot be acted on."""
    if isinstance(observation, Stale):
        return f"{what} is stale (as of {observation.as_of_ms})"
    return f"{what} is unknown: {observation.reason}"
