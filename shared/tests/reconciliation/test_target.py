"""Targets: the formula, the clamps with their records, and what is not known."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.observation import Known, Observation, Stale, Unknown
from shared.reconciliation.target import Demand, Target, TargetRules, targets

RULES = TargetRules(
    risk_pos_percentage=Decimal(1),
    desired_run_count=100,
    max_symbol_exposure=Decimal(1),
    max_total_exposure=Decimal(3),
)
BALANCE = Known(Decimal(10_000), 500)


def demand(direction: float, factor: float = 1.0, active: int = 25) -> Known[Demand]:
    return Known(Demand(direction, factor, active, active // 2), 700)


def one(
    wanted: Observation[Demand],
    rules: TargetRules = RULES,
    balance: Observation[Decimal] = BALANCE,
) -> Target:
    return targets(balance, {"BTC": wanted}, rules)["BTC"]


def test_formula() -> None:
    target = one(demand(25.0, 0.5), replace(RULES, risk_pos_percentage=Decimal("0.8")))
    assert target.notional == Known(Decimal(1000), 500)
    assert target.clamps == ()


def test_the_run_count_sets_the_resolution_not_the_leverage() -> None:
    few = one(demand(10.0), replace(RULES, desired_run_count=100))
    many = one(demand(1_000.0), replace(RULES, desired_run_count=10_000))
    assert few.notional == many.notional


def test_a_population_that_is_made_smaller_does_not_raise_the_leverage() -> None:
    """Of 1,000 runs all but ten are asked to exit; until they have, each keeps its part."""
    before = {"BTC": demand(300.0, active=600), "ETH": demand(-80.0, active=400)}
    full = targets(BALANCE, before, replace(RULES, desired_run_count=1_000))
    lowered = targets(BALANCE, before, replace(RULES, desired_run_count=10))
    assert lowered == full
    assert lowered["BTC"].notional == Known(Decimal(3_000), 500)
    assert lowered["BTC"].run_count == 1_000
    left = {"BTC": demand(4.0, active=6), "ETH": demand(0.0, active=2)}
    assert targets(BALANCE, left, replace(RULES, desired_run_count=10))["BTC"].run_count == 10


@pytest.mark.parametrize("balance", [Stale(Decimal(10_000), 1), Unknown("venue timed out")])
def test_no_target_without_a_known_balance(balance: Observation[Decimal]) -> None:
    target = one(demand(10.0), balance=balance)
    assert isinstance(target.notional, Unknown)
    assert "the balance is" in target.notional.reason


@pytest.mark.parametrize(
    "wanted", [Unknown("shard 3 has never committed"), Stale(Demand(1.0, 1.0, 5, 5), 3)]
)
def test_no_target_without_known_sums(wanted: Observation[Demand]) -> None:
    assert isinstance(one(wanted).notional, Unknown)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_sum_that_is_not_a_number_is_not_a_target(bad: float) -> None:
    assert isinstance(one(demand(bad)).notional, Unknown)
    assert isinstance(one(demand(1.0, bad)).notional, Unknown)


def test_inverted_decisions_are_recorded() -> None:
    target = one(demand(10.0), replace(RULES, invert_decisions=True))
    assert target.notional == Known(Decimal(-1000), 500)
    assert [c.rule for c in target.clamps] == ["invert_decisions"]


@pytest.mark.parametrize(("direction", "switch"), [(10.0, "can_go_long"), (-10.0, "can_go_short")])
def test_a_forbidden_direction_is_flat(direction: float, switch: str) -> None:
    rules = replace(RULES, **{switch: False})
    target = one(demand(direction), rules)
    assert target.notional == Known(Decimal(0), 500)
    assert [c.rule for c in target.clamps] == [switch]
    assert one(demand(-direction), rules).clamps == ()


def test_symbol_cap() -> None:
    target = one(demand(-500.0))
    assert target.notional == Known(Decimal(-10_000), 500)
    assert target.clamps[0].before_usd == Decimal(-50_000)
    assert target.wanted_usd == Decimal(-50_000)


def test_total_cap_scales_every_symbol_alike() -> None:
    wanted = {name: demand(sign * 100.0) for name, sign in zip("ABCD", (1, -1, 1, -1), strict=True)}
    found = targets(BALANCE, wanted, RULES)
    values = [found[name].notional for name in "ABCD"]
    assert values == [Known(Decimal(v), 500) for v in (7500, -7500, 7500, -7500)]
    assert all(t.clamps[-1].rule == "max_total_exposure" for t in found.values())


def test_an_unknown_symbol_keeps_its_room_under_the_total_cap() -> None:
    wanted: dict[str, Observation[Demand]] = {n: demand(100.0) for n in "ABC"}
    wanted["D"] = Unknown("no sums")
    found = targets(BALANCE, wanted, RULES)
    assert isinstance(found["D"].notional, Unknown)
    shared = sum(t.notional.value for t in found.values() if isinstance(t.notional, Known))
    assert shared == pytest.approx(Decimal(20_000))


def test_an_empty_account_wants_nothing() -> None:
    target = one(demand(10.0), balance=Known(Decimal(-5), 1))
    assert target.notional == Known(Decimal(0), 1)


def test_no_population_wanted() -> None:
    rules = replace(RULES, desired_run_count=0)
    assert isinstance(one(demand(1.0), rules).notional, Unknown)
    assert one(demand(0.0, active=0), rules).notional == Known(Decimal(0), 500)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12),
    st.floats(0.02, 11.0),
    st.decimals(0, 10_000_000, places=4),
)
def test_caps_hold_and_no_target_changes_sign(
    directions: list[float], factor: float, account: Decimal
) -> None:
    wanted = {f"S{n}": demand(d, factor) for n, d in enumerate(directions)}
    found = targets(Known(account, 1), wanted, RULES)
    total = Decimal(0)
    for n, direction in enumerate(directions):
        notional = found[f"S{n}"].notional
        assert isinstance(notional, Known)
        assert abs(notional.value) <= account
        assert notional.value == 0 or (notional.value > 0) == (direction > 0)
        total += abs(notional.value)
    assert total <= account * 3 * (1 + Decimal("1e-20"))
