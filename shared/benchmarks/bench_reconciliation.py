"""The planner alone, over every transition of long, short and flat."""

from __future__ import annotations

from decimal import Decimal

from shared.benchmarks.figure import Figure, median_secs
from shared.exchange.precision import OrderFilters
from shared.reconciliation.plan import PlanFilters, plan

ROUNDS = 400
ACTUAL = tuple(Decimal(size) for size in ("0", "0.02", "-0.02", "0.1", "-0.1"))
TARGETS_USD = tuple(Decimal(usd) for usd in ("0", "1000", "-1000", "5012.35", "-5012.35"))
PRICE = Decimal("50123.5")


def plans_per_s() -> Figure:
    """Plans of one symbol per second on one core."""
    filters = PlanFilters(OrderFilters(sz_decimals=5), Decimal(50))

    def work() -> None:
        for _ in range(ROUNDS):
            for actual in ACTUAL:
                for target_usd in TARGETS_USD:
                    plan(actual, target_usd, PRICE, filters)

    plans = ROUNDS * len(ACTUAL) * len(TARGETS_USD)
    return Figure("plans_per_s", plans / median_secs(work), "plans/s", goal=100_000.0)
