"""Each risk rule alone, and that exits come first."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.observation import Known, Stale, Unknown
from shared.risk.checks import Allowed, Blocked, validate
from shared.risk.limits import (
    AccountFacts,
    DayBaseline,
    KillSwitch,
    OrderFacts,
    RiskFacts,
    RiskLimits,
)

NOW = 1_700_000_000_000
LIMITS = RiskLimits(
    max_daily_loss=Decimal("0.1"),
    max_open_positions=2,
    max_symbol_notional=Decimal("1.5"),
    max_total_notional=Decimal(2),
    max_margin_use=Decimal("0.5"),
    max_orders_per_minute=10,
    max_price_age_ms=5_000,
    max_price_deviation_bps=Decimal(300),
    cool_down_ms=60_000,
    max_round_trip_loss=Decimal("0.05"),
)
ACCOUNT = AccountFacts(
    account_value=Decimal(10_000),
    margin_used=Decimal(1_000),
    positions={"ETH": Decimal(2)},
    notionals={"ETH": Decimal(5_000)},
)
ORDER = OrderFacts(
    symbol="ETH",
    side="buy",
    size=Decimal(1),
    limit_price=Decimal(2_500),
    reduce_only=False,
    leverage=5,
)
FACTS = RiskFacts(
    now_ms=NOW,
    kill_switch=KillSwitch(),
    account=Known(ACCOUNT, NOW),
    reference_price=Known(Decimal(2_500), NOW),
    baseline=Known(DayBaseline("2023-11-14", Decimal(10_000)), NOW),
    orders_last_minute=0,
)
SET = KillSwitch(engaged=True, reason="test", actor="tester", since_ms=NOW)


def poorer(usd: int) -> RiskFacts:
    return replace(FACTS, account=Known(replace(ACCOUNT, account_value=Decimal(usd)), NOW))


def test_an_ordinary_order_is_allowed() -> None:
    assert validate(ORDER, FACTS, LIMITS) == Allowed()


@pytest.mark.parametrize(
    ("rule", "order", "facts"),
    [
        ("kill_switch", ORDER, replace(FACTS, kill_switch=SET)),
        ("symbol_paused", ORDER, replace(FACTS, pause_reason="external trade")),
        ("account", ORDER, replace(FACTS, account=Unknown("no reply"))),
        ("account", ORDER, replace(FACTS, account=Stale(ACCOUNT, NOW - 60_000))),
        ("price_age", ORDER, replace(FACTS, reference_price=Stale(Decimal(2_500), NOW - 6_000))),
        ("price_age", ORDER, replace(FACTS, reference_price=Unknown("nothing"))),
        ("price_deviation", replace(ORDER, limit_price=Decimal(2_576)), FACTS),
        ("price_deviation", replace(ORDER, limit_price=Decimal(2_424)), FACTS),
        ("orders_per_minute", ORDER, replace(FACTS, orders_last_minute=10)),
        ("cool_down", ORDER, replace(FACTS, cool_down_until_ms=NOW + 1)),
        ("daily_loss", ORDER, poorer(9_000)),
        ("daily_loss", ORDER, replace(FACTS, baseline=Unknown("the day began just now"))),
        (
            "open_positions",
            replace(ORDER, symbol="SOL"),
            replace(FACTS, in_flight_usd={"BTC": Decimal(100)}),
        ),
        ("symbol_notional", replace(ORDER, size=Decimal("4.001")), FACTS),
        (
            "symbol_notional",
            ORDER,
            replace(FACTS, in_flight_usd={"ETH": Decimal("7500.01")}),
        ),
        ("symbol_notional", replace(ORDER, side="sell", size=Decimal("8.01")), FACTS),
        (
            "total_notional",
            replace(ORDER, symbol="BTC", size=Decimal(6)),
            replace(FACTS, in_flight_usd={"ETH": Decimal(1)}),
        ),
        (
            "margin_use",
            ORDER,
            replace(FACTS, account=Known(replace(ACCOUNT, margin_used=Decimal(4_501)), NOW)),
        ),
    ],
)
def test_each_rule_names_itself(rule: str, order: OrderFacts, facts: RiskFacts) -> None:
    decision = validate(order, facts, LIMITS)
    assert isinstance(decision, Blocked)
    assert decision.rule == rule
    assert decision.value
    assert decision.limit


@pytest.mark.parametrize(
    ("order", "facts"),
    [
        (replace(ORDER, limit_price=Decimal(2_575)), FACTS),
        (ORDER, replace(FACTS, orders_last_minute=9)),
        (ORDER, replace(FACTS, cool_down_until_ms=NOW)),
        (ORDER, poorer(9_001)),
        (replace(ORDER, size=Decimal(4)), FACTS),
        (replace(ORDER, side="sell", size=Decimal(8)), FACTS),
        (replace(ORDER, symbol="BTC"), FACTS),
    ],
)
def test_the_limit_itself_is_allowed(order: OrderFacts, facts: RiskFacts) -> None:
    assert validate(order, facts, LIMITS) == Allowed()


def test_reducing_is_allowed_where_the_position_is_beyond_its_limit() -> None:
    positions = {"ETH": Decimal(10)}
    big = replace(ACCOUNT, positions=positions, notionals={"ETH": Decimal(25_000)})
    facts = replace(FACTS, account=Known(replace(big, margin_used=Decimal(6_000)), NOW))
    assert validate(replace(ORDER, side="sell"), facts, LIMITS) == Allowed()
    assert isinstance(validate(ORDER, facts, LIMITS), Blocked)


worst = st.builds(
    RiskFacts,
    now_ms=st.just(NOW),
    kill_switch=st.sampled_from([KillSwitch(), SET]),
    account=st.sampled_from([Unknown("gone"), Stale(ACCOUNT, 0), Known(ACCOUNT, NOW)]),
    reference_price=st.sampled_from(
        [Unknown("gone"), Stale(Decimal(1), 0), Known(Decimal(2_500), NOW)]
    ),
    baseline=st.sampled_from([Unknown("gone"), FACTS.baseline]),
    orders_last_minute=st.integers(0, 1_000),
    cool_down_until_ms=st.integers(0, 2 * NOW),
    pause_reason=st.sampled_from(["", "paused"]),
    in_flight_usd=st.just({"ETH": Decimal(10**9)}),
)


@given(facts=worst, size=st.decimals("0.001", "1000000", places=3))
def test_an_exit_near_the_market_is_never_held_back(facts: RiskFacts, size: Decimal) -> None:
    order = replace(ORDER, side="sell", size=size, reduce_only=True)
    assert validate(order, facts, LIMITS) == Allowed()


@given(facts=worst)
def test_nothing_is_opened_unless_everything_is_known(facts: RiskFacts) -> None:
    if isinstance(validate(ORDER, facts, LIMITS), Allowed):
        assert isinstance(facts.account, Known)
        assert isinstance(facts.reference_price, Known)
        assert isinstance(facts.baseline, Known)
        assert not facts.kill_switch.engaged
        assert not facts.pause_reason


def test_a_fat_finger_is_caught_on_exits_too() -> None:
    order = replace(ORDER, side="sell", reduce_only=True, limit_price=Decimal(1_000))
    decision = validate(order, FACTS, LIMITS)
    assert isinstance(decision, Blocked)
    assert decision.rule == "price_deviation"
