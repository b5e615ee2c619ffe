"""Which looks at the account cannot lead to an order, told in floats before the planner is asked.

The planner of live reckons in ``Decimal`` and takes tens of microseconds per look; most looks find
the account at its target. Here the same target is estimated from whole arrays, and a look is passed
over only where the estimate is clear of every bound by more than its error: what is planned stays
the planner's own decision. A backtest that asks it every time writes the same orders.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.exchange.precision import OrderFilters
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
        self._per_run = float(target.risk_pos_percentage) / max(target.desired_run_count, 1)
        self._smallest = minimum_trade_usd
        self._lots = [float(one.lot) for one in filters]
        self._min_notional = [float(one.min_notional_usd) for one in filters]
        self._symbol_cap = float(target.max_symbol_exposure)
        self._total_cap = float(target.max_total_exposure)

    def shares(self, sums: Sums) -> list[list[float]]:
        """Target notional as a multiple of the account's value, [D][S], before caps."""
        rules = self._target
        share = self._per_run * self._factors(sums) * sums["weighted_direction"]
        if rules.invert_decisions:
            share = -share
        low = -self._symbol_cap if rules.can_go_short else 0.0
        high = self._symbol_cap if rules.can_go_long else 0.0
        found: list[list[float]] = np.clip(share, low, high).tolist()
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

    def _factors(self, sums: Sums) -> FloatArray:
        """[D, S] as ``sizing.cohort_factor``."""
        now, before = (self._kelly(sums, cohort) for cohort in ("current", "history"))
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.where(before != 0.0, (now - before) / np.abs(before), 0.0)
        factor = 1.0 + np.clip(change, MIN_COHORT_CHANGE, self._demand.kelly_threshold)
        known = (sums["current_runs"] >= MIN_COHORT_RUNS) & (
            sums["history_runs"] >= MIN_COHORT_RUNS
        )
        found: FloatArray = np.where(known, factor, self._demand.probationary_multiplier)
        return found

    def _kelly(self, sums: Sums, cohort: str) -> FloatArray:
        """[D, S] as ``kernel.kelly_of``."""
        runs, wins = sums[f"{cohort}_runs"], sums[f"{cohort}_wins"]
        gain, loss = sums[f"{cohort}_sum_win"], sums[f"{cohort}_sum_loss"]
        cap = self._demand.max_reward_ratio
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(loss > 0.0, (gain / wins) / (loss / (runs - wins)), cap)
            ratio = np.minimum(ratio, cap)
            rate = (wins + 1.0) / (runs + 2.0)
            kelly = rate - (1.0 - rate) / ratio
        lost: NDArray[np.bool_] = (wins == 0) | ~(ratio > 0.0)
        found: FloatArray = np.where(runs == 0, 0.0, np.where(lost, -1.0, kelly))
        return found
