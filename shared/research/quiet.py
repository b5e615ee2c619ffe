"""Which looks at the account cannot lead to an order, told in floats before the planner is asked.

The planner of live reckons in ``Decimal`` and takes tens of microseconds per look; most looks find
the account at its target. Here the same target is estimated from whole arrays, and a look is passed
over only where the estimate is clear of every bound by more than its error: what is planned stays
the planner's own decision. A backtest that asks it every time writes the same orders.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from shared.exchange.precision import OrderFilters
from shared.providence._jit import jit
from shared.providence.aggregate import Sums
from shared.providence.sizing import MIN_COHORT_CHANGE, MIN_COHORT_RUNS
from shared.reconciliation.demand import DemandRules
from shared.reconciliation.target import TargetRules
from shared.research.tables import FloatArray

ERROR: Final = 1e-9
"""Relative error that the estimate is granted; it is below 1e-14."""


class QuietLooks:
    """For one account: ``shares`` of a block's looks first, then ``may_trade`` look by look."""

    def __init__(
        self,
        target: TargetRules,
        demand: DemandRules,
        minimum_trade_usd: float,
        filters: list[OrderFilters],
    ) -> None:
        self._target, self._demand = target, demand
        self._risk = float(target.risk_pos_percentage) * (-1.0 if target.invert_decisions else 1.0)
        self._smallest = minimum_trade_usd
        self._lots = [float(one.lot) for one in filters]
        self._min_notional = [float(one.min_notional_usd) for one in filters]
        self._symbol_cap = float(target.max_symbol_exposure)
        self._total_cap = float(target.max_total_exposure)

    def shares(self, sums: Sums) -> list[list[float]]:
        """Target notional as a multiple of the account's value, [D][S], before caps."""
        rules, demand = self._target, self._demand
        shares: FloatArray = np.empty(sums.shape)
        _shares(
            sums,
            self._risk,
            max(rules.desired_run_count, 1),
            -self._symbol_cap if rules.can_go_short else 0.0,
            self._symbol_cap if rules.can_go_long else 0.0,
            float(demand.kelly_threshold),
            float(demand.probationary_multiplier),
            float(demand.max_reward_ratio),
            shares,
        )
        found: list[list[float]] = shares.tolist()
        return found

    def may_trade(
        self, equity: float, share: list[float], coins: list[float], price: list[float]
    ) -> bool:
        """Whether the planner could order something at these prices."""
        worth = max(equity, 0.0)
        if sum(map(abs, share)) > self._total_cap * (1.0 - ERROR) or worth != worth:
            return True
        for s, part in enumerate(share):
            wanted, held = part * worth, coins[s] * price[s]
            # sizes are rounded to the lot twice: the target, then the change
            doubt = 2.0 * self._lots[s] * price[s] + ERROR * (abs(wanted) + abs(held))
            if held != 0.0 and (
                wanted * held <= 0.0 or abs(wanted) < self._min_notional[s] + doubt
            ):
                return True
            # NaN, an unknown price, is no reason to ask
            if abs(wanted - held) >= self._smallest - doubt:
                return True
        return False


@jit
def _shares(
    sums: Any,
    risk: float,
    run_count: int,
    low: float,
    high: float,
    kelly_threshold: float,
    probationary: float,
    max_reward_ratio: float,
    shares: FloatArray,
) -> None:
    """[D, S]: the runs' direction by ``sizing.cohort_factor``, within ``low`` and ``high``."""
    for d in range(sums.shape[0]):
        active = 0
        for s in range(sums.shape[1]):
            active += sums[d, s].active
        per_run = risk / max(run_count, active)
        for s in range(sums.shape[1]):
            row = sums[d, s]
            factor = probationary
            if row.current_runs >= MIN_COHORT_RUNS and row.history_runs >= MIN_COHORT_RUNS:
                now = _kelly(
                    row.current_runs,
                    row.current_wins,
                    row.current_sum_win,
                    row.current_sum_loss,
                    max_reward_ratio,
                )
                before = _kelly(
                    row.history_runs,
                    row.history_wins,
                    row.history_sum_win,
                    row.history_sum_loss,
                    max_reward_ratio,
                )
                change = (now - before) / abs(before) if before != 0.0 else 0.0
                factor = 1.0 + min(max(change, MIN_COHORT_CHANGE), kelly_threshold)
            share = per_run * factor * row.weighted_direction
            shares[d, s] = min(max(share, low), high)


@jit
def _kelly(runs: int, wins: int, gain: float, loss: float, cap: float) -> float:
    """As ``kernel.kelly_of`` of one run or more."""
    ratio = cap
    if loss > 0.0:
        ratio = min(gain / wins / (loss / (runs - wins)), cap)
    if wins == 0 or not ratio > 0.0:
        return -1.0
    rate = (wins + 1.0) / (runs + 2.0)
    return rate - (1.0 - rate) / ratio
