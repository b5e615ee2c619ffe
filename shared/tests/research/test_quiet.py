"""Looks that are passed over are looks at which the planner would have done nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from shared.research.engine import BacktestPlan, run_backtest
from shared.research.observers import Journal
from shared.research.quiet import QuietLooks
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
    asked: list[bool] = []
    may_trade = QuietLooks.may_trade

    def counting(*arguments: object) -> bool:
        asked.append(may_trade(*arguments))  # type: ignore[arg-type]
        return asked[-1]

    monkeypatch.setattr(QuietLooks, "may_trade", counting)
    quick = orders_and_equity(backtest_plan)
    monkeypatch.setattr(QuietLooks, "may_trade", lambda *_: True)
    assert quick == orders_and_equity(backtest_plan)
    assert quick[2] > 30
    if "max_total_exposure" not in changes:
        assert 0.02 < np.mean(asked) < 0.98
