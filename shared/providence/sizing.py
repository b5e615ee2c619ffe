"""How much: a Kelly surrogate per run, a Kelly factor per cohort (Kelly 1956).

From ``n`` results, of which ``wins`` are positive: win rate ``W = (wins + 1)/(n + 2)`` (Laplace's
rule of succession), reward ratio ``R = mean win / |mean loss|``, at most ``max_reward_ratio``, and
``K = W - (1 - W)/R``. Without a loss R is the cap; without a win K is -1; without any result K
is 0.

A run's results are the returns of its closed trades (trade PnL / equity at entry). Its position
notional is ``f x equity`` with

* ``f = base_fraction`` before ``min_trades`` closed trades,
* ``f = probation_fraction`` for K <= 0,
* ``f = min(kelly_multiplier x K, max_fraction)`` else, and never above ``max_leverage``.

A cohort's results are the growths of its runs (live PnL / start balance).

J. L. Kelly, "A new interpretation of information rate", Bell Syst. Tech. J. 35, 917 (1956).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.providence import kernel
from shared.providence.kernel import kelly_fraction
from shared.providence.rules import Rules
from shared.providence.step import rule_numbers

__all__ = [
    "MIN_COHORT_RUNS",
    "CohortKelly",
    "CohortSums",
    "KellyEstimate",
    "cohort_factor",
    "cohort_kelly",
    "kelly_estimate",
    "kelly_fraction",
]

MIN_COHORT_RUNS: Final = 10
MIN_COHORT_CHANGE: Final = -0.98


@dataclass(frozen=True, slots=True)
class KellyEstimate:
    """Kelly number and position fraction of a run, with the evidence behind them."""

    kelly: float
    """K; at most 1, below 0 for a losing record."""
    fraction: float
    """Position notional / equity, before the leverage limit."""
    trades: int
    """Closed trades it rests on."""


@dataclass(frozen=True, slots=True)
class CohortSums:
    """Results of the runs of one symbol and one cohort."""

    runs: int
    wins: int
    sum_win: float
    """Sum of positive growths (live PnL / start balance)."""
    sum_loss: float
    """Sum of the sizes of the others, >= 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.wins <= self.runs:
            raise ValueError(f"CohortSums.wins is {self.wins}; allowed is 0 to {self.runs}")
        if not (self.sum_win >= 0.0 and self.sum_loss >= 0.0):
            raise ValueError(
                f"CohortSums sums are {self.sum_win} and {self.sum_loss}; allowed is 0 or more"
            )

    def __add__(self, other: CohortSums) -> CohortSums:
        return CohortSums(
            self.runs + other.runs,
            self.wins + other.wins,
            self.sum_win + other.sum_win,
            self.sum_loss + other.sum_loss,
        )


@dataclass(frozen=True, slots=True)
class CohortKelly:
    """Kelly number of a cohort and the runs it rests on."""

    kelly: float
    runs: int

    @property
    def is_known(self) -> bool:
        """At least ten runs."""
        return self.runs >= MIN_COHORT_RUNS


def kelly_estimate(
    trades: int,
    wins: int,
    sum_win: float,
    sum_loss: float,
    *,
    kelly_multiplier: float,
    rules: Rules,
) -> KellyEstimate:
    """Size of a run's next position from its closed trades.

    Raises
    ------
    ValueError
        If the counts or sums are impossible.
    """
    if not 0 <= wins <= trades or not (sum_win >= 0.0 and sum_loss >= 0.0):
        raise ValueError(
            f"{wins} wins of {trades} trades, sums {sum_win} and {sum_loss}; allowed are "
            "0 <= wins <= trades and sums of 0 or more"
        )
    kelly, fraction = kelly_fraction(
        int(trades),
        int(wins),
        float(sum_win),
        float(sum_loss),
        float(kelly_multiplier),
        rule_numbers(rules),
    )
    return KellyEstimate(float(kelly), float(fraction), int(trades))


def cohort_kelly(sums: CohortSums, max_reward_ratio: float) -> CohortKelly:
    """Kelly number of a cohort; ``max_reward_ratio`` caps R as for runs."""
    kelly = kernel.kelly_of(
        int(sums.runs),
        int(sums.wins),
        float(sums.sum_win),
        float(sums.sum_loss),
        float(max_reward_ratio),
    )
    return CohortKelly(float(kelly), int(sums.runs))


def cohort_factor(
    current: CohortSums,
    history: CohortSums,
    kelly_threshold: float,
    probationary_multiplier: float,
    max_reward_ratio: float,
) -> float:
    """Multiplier of a symbol's target: how the current cohort compares with finished heights.

    ``1 + P`` with ``P = (K_cur - K_hist)/|K_hist|`` clipped to [-0.98, kelly_threshold], 0 when
    K_hist is 0; ``probationary_multiplier`` while either cohort has fewer than ten runs.

    Raises
    ------
    ValueError
        If ``kelly_threshold`` or ``probationary_multiplier`` is negative or not a number.
    """
    for name, value in (
        ("kelly_threshold", kelly_threshold),
        ("probationary_multiplier", probationary_multiplier),
    ):
        if not value >= 0.0:
            raise ValueError(f"{name} is {value}; allowed is 0 or more")
    if current.runs < MIN_COHORT_RUNS or history.runs < MIN_COHORT_RUNS:
        return float(probationary_multiplier)
    now = cohort_kelly(current, max_reward_ratio)
    before = cohort_kelly(history, max_reward_ratio)
    change = 0.0
    if before.kelly != 0.0:
        change = (now.kelly - before.kelly) / abs(before.kelly)
    return 1.0 + min(max(change, MIN_COHORT_CHANGE), float(kelly_threshold))
