"""When a symbol is planned: never on what is not known, never while an order is under way."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from shared.exchange.precision import OrderFilters
from shared.observation import Known, Observation, Stale, Unknown
from shared.reconciliation.consensus import Consensus
from shared.reconciliation.intents import Decision, Execution, Verdict, decide
from shared.reconciliation.plan import PlanFilters
from shared.reconciliation.target import Target

TARGET = Target("BTC", Known(Decimal(1_000), 1))
FLAT = Consensus("BTC", Known(Decimal(0), 1), (), ("local", "a"), (), ())
PRICE = Known(Decimal(100), 1)
IDLE = Known(Execution(plan_epoch=4, open_intent=None, settled_ms=1), 1)
FILTERS = Known(PlanFilters(OrderFilters(2), Decimal(50)), 1)


def verdict(
    target: Target = TARGET,
    consensus: Consensus = FLAT,
    price: Observation[Decimal] = PRICE,
    execution: Observation[Execution] = IDLE,
    filters: Observation[PlanFilters] = FILTERS,
) -> Verdict:
    return decide(target, consensus, price, execution, filters)


def test_everything_known_is_a_trade_named_by_its_epoch_and_leg() -> None:
    found = verdict()
    assert found.decision is Decision.TRADE
    assert found.intent_id == "BTC:4:open"
    assert found.plan is not None
    assert found.plan.orders[0].size == Decimal(10)


def test_the_close_of_a_reversal_is_named_as_a_close() -> None:
    short = replace(FLAT, position=Known(Decimal(-3), 1))
    assert verdict(consensus=short).intent_id == "BTC:4:close"


@pytest.mark.parametrize("missing", [Unknown("reason"), Stale(None, 1)])
@pytest.mark.parametrize("what", ["price", "execution", "filters"])
def test_any_input_that_is_not_known_means_no_order(what: str, missing: object) -> None:
    found = verdict(**{what: missing})  # type: ignore[arg-type]
    assert found.decision is Decision.UNKNOWN
    assert found.plan is None
    assert found.intent_id is None


def test_what_was_held_before_the_journal_began_is_left_to_a_person() -> None:
    new = Known(Execution(plan_epoch=0, open_intent=None, settled_ms=0), 1)
    held = replace(FLAT, position=Known(Decimal("-0.50"), 1))
    for wanted in (Decimal(1_000), Decimal(0), Decimal(-50)):
        found = verdict(replace(TARGET, notional=Known(wanted, 1)), held, execution=new)
        assert (found.decision, found.held_before, found.plan) == (Decision.WAIT, True, None)
        assert found.reason.startswith("-0.5 BTC were held before this journal began")
    assert verdict(execution=new).decision is Decision.TRADE


def test_an_unknown_position_means_no_order_even_toward_flat() -> None:
    lost = replace(FLAT, position=Unknown("no value has 2 of 3 voters"))
    to_flat = replace(TARGET, notional=Known(Decimal(0), 1))
    assert verdict(to_flat, lost).decision is Decision.UNKNOWN


def test_an_unknown_target_means_no_order_even_toward_flat() -> None:
    held = replace(FLAT, position=Known(Decimal(3), 1))
    assert verdict(replace(TARGET, notional=Unknown("old")), held).decision is Decision.UNKNOWN


def test_an_open_intent_is_waited_for() -> None:
    found = verdict(execution=Known(Execution(4, "BTC:4:open", 0), 1))
    assert found.decision is Decision.WAIT
    assert "BTC:4:open" in found.reason


def test_fills_that_are_not_recorded_yet_are_waited_for() -> None:
    found = verdict(execution=Known(Execution(5, None, 0, unrecorded="BTC:4:open"), 1))
    assert found.decision is Decision.WAIT
    assert "BTC:4:open" in found.reason


def test_a_voter_that_has_not_seen_the_last_fill_is_waited_for() -> None:
    found = verdict(consensus=replace(FLAT, lagging=("observer_2",)))
    assert found.decision is Decision.WAIT
    assert "observer_2" in found.reason


def test_at_the_target_nothing_is_done_and_the_reason_is_kept() -> None:
    there = replace(FLAT, position=Known(Decimal(10), 1))
    found = verdict(consensus=there)
    assert found.decision is Decision.HOLD
    assert "at its target" in found.reason
