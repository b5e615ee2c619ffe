"""Looks that are passed over are looks at which the planner would have done nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from shared.observation import Known
from shared.providence.aggregate import SUMS_DTYPE
from shared.reconciliation.demand import demand_of
from shared.reconciliation.target import targets
from shared.research.account import Account
from shared.research.engine import BacktestPlan, run_backtest
from shared.research.observers import Journal
from shared.research.quiet import target_shares
from shared.research.tick_series import TickSeries
from shared.risk.account_epochs import EpochRules
from shared.tests.research.samples import MINUTE_MS, plan, walks
from shared.tests.research.test_epochs_and_latency import Keep


def orders_and_equity(backtest_plan: BacktestPlan) -> tuple[bytes, bytes, int]:
    keep = Keep()
    run_backtest(backtest_plan, TickSeries(walks(700, gaps=True), MINUTE_MS), [keep, Journal()])
    orders = np.concatenate([block.orders for block in keep.curve])
    equity = np.concatenate([block.equity for block in keep.curve])
    return orders.tobytes(), equity.tobytes(), len(orders)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"invert_decisions": True, "can_go_short": False},
        {"can_go_long": False},
        {"max_symbol_exposure": Decimal("0.02")},
        {"max_total_exposure": Decimal("0.03")},
    ],
)
def test_orders_are_those_of_an_account_that_always_asks_its_planner(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = plan(latency_secs=120.0)
    target = replace(base.account.target, **changes)  # type: ignore[arg-type]
    # small epochs, so that the cohorts have a history and the factor moves
    backtest_plan = replace(
        base,
        account=replace(base.account, target=target, minimum_trade_usd=Decimal(20)),
        epochs=EpochRules(0.001, 1.0, 5),
    )
    asked: list[int] = []
    planned = Account._plan

    def counting(*arguments: object) -> None:
        asked.append(1)
        planned(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Account, "_plan", counting)
    quick, quiet_looks = orders_and_equity(backtest_plan), len(asked)
    monkeypatch.setattr("shared.research.quiet.ERROR", math.inf)
    assert quick == orders_and_equity(backtest_plan)
    assert quick[2] > 30
    looks = len(asked) - quiet_looks
    assert looks >= 700 // backtest_plan.rebalance_every
    if "max_total_exposure" not in changes:
        assert 0.02 < quiet_looks / looks < 0.98


@pytest.mark.parametrize("active", [10, 25, 400])
@pytest.mark.parametrize("changes", [{}, {"invert_decisions": True}, {"can_go_long": False}])
def test_shares_are_the_targets_of_the_planner(active: int, changes: dict[str, object]) -> None:
    rules = plan(runs=60).account
    target = replace(rules.target, max_total_exposure=Decimal(1000), **changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(active)
    sums = np.zeros((20, 3), dtype=SUMS_DTYPE)
    sums["active"] = active  # of each symbol: 30 to 1,200 in all, where 60 are desired
    sums["weighted_direction"] = rng.normal(0.0, active, sums.shape)
    for cohort in ("current", "history"):
        sums[f"{cohort}_runs"] = rng.integers(0, 40, sums.shape)
        sums[f"{cohort}_wins"] = sums[f"{cohort}_runs"] * rng.random(sums.shape)
        sums[f"{cohort}_sum_win"] = sums[f"{cohort}_wins"] * 0.02
        sums[f"{cohort}_sum_loss"] = (sums[f"{cohort}_runs"] - sums[f"{cohort}_wins"]) * 0.01
    shares = target_shares(sums, target, rules.demand)
    for row, share in zip(sums, shares, strict=True):
        wanted = {str(s): Known(demand_of(one, rules.demand), 1) for s, one in enumerate(row)}
        planned = targets(Known(Decimal(1), 1), wanted, target).values()
        assert [float(t.notional.value) for t in planned] == pytest.approx(share, rel=1e-12)  # type: ignore[union-attr]
