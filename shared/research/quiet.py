"""The account between two plans, compiled: marks, funding, fills, and looks that are passed over.

The planner of live reckons in ``Decimal`` and takes tens of microseconds per look; many looks find
the account at its target. Here the same target is estimated in floats, and a look is passed over
only where the estimate is clear of every bound by more than its error: what is planned stays the
planner's own decision. A backtest that asks it every time writes the same orders.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.providence._jit import jit
from shared.providence.aggregate import Sums
from shared.providence.sizing import MIN_COHORT_CHANGE, MIN_COHORT_RUNS
from shared.reconciliation.demand import DemandRules
from shared.reconciliation.target import TargetRules
from shared.research.tables import FloatArray

ERROR: Final = 1e-9
"""Relative error that the estimate is granted; it is below 1e-14."""

ORDER_DTYPE: Final = np.dtype(
    [
        ("tick", "<i8"),  # ms, of the fill
        ("column", "<i4"),
        ("size", "<f8"),  # signed, coins
        ("price", "<f8"),  # USD, slippage included
        ("fee", "<f8"),  # USD
        ("mid", "<f8"),  # USD at the tick of the fill
        ("decided_mid", "<f8"),  # USD at the tick of the decision
        ("reduce_only", "u1"),
    ]
)
TOTALS_DTYPE: Final = np.dtype(
    [
        ("cash", "<f8"),  # USD, as all but the counts
        ("fees", "<f8"),
        ("funding", "<f8"),
        ("slippage", "<f8"),
        ("expired", "<i8"),  # orders whose sample was unknown
        ("waiting", "<i8"),  # orders that are not filled yet
    ]
)
HOLDING_DTYPE: Final = np.dtype(
    [
        ("coins", "<f8"),
        ("mark", "<f8"),  # USD, last known price
        ("index", "<f8"),  # last known funding index
        ("lot", "<f8"),
        ("min_notional", "<f8"),  # USD
        ("wait", "<i8"),  # ticks until the order is filled, 0 = none
        ("order", "<f8"),  # its signed size
        ("after", "<f8"),  # coins once it is filled
        ("decided_mid", "<f8"),  # USD
        ("reduce_only", "u1"),
        ("filled", "u1"),  # whether the last order was, or expired
    ]
)


class Terms(NamedTuple):
    """What the account pays, and from when an order is worth a look at it."""

    fee_rate: float
    slippage_rate: float
    smallest_usd: float
    total_cap: float
    """Multiple of the account's value."""
    error: float


def target_shares(sums: Sums, target: TargetRules, demand: DemandRules) -> FloatArray:
    """Target notional as a multiple of the account's value, [D, S], before the total cap."""
    shares: FloatArray = np.empty(sums.shape)
    cap = float(target.max_symbol_exposure)
    _shares(
        sums,
        float(target.risk_pos_percentage) * (-1.0 if target.invert_decisions else 1.0),
        max(target.desired_run_count, 1),
        -cap if target.can_go_short else 0.0,
        cap if target.can_go_long else 0.0,
        float(demand.kelly_threshold),
        float(demand.probationary_multiplier),
        float(demand.max_reward_ratio),
        shares,
    )
    return shares


@jit
def walk(
    t: int,
    look: int,
    written: int,
    tick_ms: NDArray[np.int64],
    price: FloatArray,
    ok: NDArray[np.bool_],
    index: FloatArray,
    due: NDArray[np.bool_],
    shares: FloatArray,
    terms: Terms,
    totals: Any,
    holdings: Any,
    queue: NDArray[np.int64],
    equity: FloatArray,
    gross_usd: FloatArray,
    net_usd: FloatArray,
    position: FloatArray,
    orders: Any,
) -> tuple[int, int, int, bool]:
    """Go on at tick ``t`` until the planner has to be asked, or to the end of the block.

    ``look`` is the next row of ``shares``, ``written`` the next of the orders; ``queue`` holds the
    columns of the orders that wait, in the order in which they were made. Returns the tick, look
    and order to go on with, and whether the planner has to be asked at the tick before.
    """
    total = totals[0]
    while t < tick_ms.size:
        _accrue(index[t], total, holdings)
        if total.waiting:
            rows = orders[written:]
            written += _fill(tick_ms[t], price[t], ok[t], terms, total, holdings, queue, rows)
        worth, gross = 0.0, 0.0
        for s in range(holdings.size):
            one = holdings[s]
            if ok[t, s]:
                one.mark = price[t, s]
            value = one.coins * one.mark
            worth += value
            gross += abs(value)
            position[t, s] = one.coins
        equity[t], gross_usd[t], net_usd[t] = total.cash + worth, gross, worth
        t += 1
        if due[t - 1]:
            look += 1
            if _may_trade(equity[t - 1], shares[look - 1], price[t - 1], terms, holdings):
                return t, look, written, True
    return t, look, written, False


@jit
def wait(
    s: int,
    ticks: int,
    size: float,
    after: float,
    mid: float,
    reduce_only: bool,
    totals: Any,
    holdings: Any,
    queue: NDArray[np.int64],
) -> None:
    """Let an order of signed ``size`` wait for its fill, which leaves ``after`` coins."""
    one = holdings[s]
    one.wait, one.order, one.after = ticks, size, after
    one.decided_mid, one.reduce_only = mid, reduce_only
    queue[totals[0].waiting] = s
    totals[0].waiting += 1


@jit
def _accrue(index: FloatArray, total: Any, holdings: Any) -> None:
    """Funding since the last tick; an index that is not known is that of the last tick."""
    for s in range(holdings.size):
        one, now = holdings[s], index[s]
        if now != now:
            continue
        if one.coins != 0.0 and one.index == one.index:
            received = one.coins * (now - one.index)
            total.cash += received
            total.funding += received
        one.index = now


@jit
def _fill(
    tick_ms: int,
    price: FloatArray,
    ok: NDArray[np.bool_],
    terms: Terms,
    total: Any,
    holdings: Any,
    queue: NDArray[np.int64],
    orders: Any,
) -> int:
    """Fill what has waited long enough, or let it expire; returns how many were filled."""
    count, left = 0, 0
    for place in range(total.waiting):
        s = queue[place]
        one = holdings[s]
        one.wait -= 1
        if one.wait > 0:
            queue[left] = s
            left += 1
            continue
        one.filled = ok[s]
        if not ok[s]:
            total.expired += 1
            continue
        size, mid = one.order, price[s]
        paid = mid * (1.0 + (terms.slippage_rate if size > 0.0 else -terms.slippage_rate))
        fee = abs(size) * paid * terms.fee_rate
        total.cash -= size * paid + fee
        total.fees += fee
        total.slippage += abs(size) * abs(paid - mid)
        one.coins = one.after
        row = orders[count]
        row.tick, row.column, row.size, row.price, row.fee = tick_ms, s, size, paid, fee
        row.mid, row.decided_mid, row.reduce_only = mid, one.decided_mid, one.reduce_only
        count += 1
    total.waiting = left
    return count


@jit
def _may_trade(
    equity: float, share: FloatArray, price: FloatArray, terms: Terms, holdings: Any
) -> bool:
    """Whether the planner could order something at these prices."""
    worth = max(equity, 0.0)
    asked = 0.0
    for s in range(share.size):
        asked += abs(share[s])
    if asked > terms.total_cap * (1.0 - terms.error) or worth != worth:
        return True
    for s in range(share.size):
        one = holdings[s]
        wanted, held = share[s] * worth, one.coins * price[s]
        # sizes are rounded to the lot twice: the target, then the change
        doubt = 2.0 * one.lot * price[s] + terms.error * (abs(wanted) + abs(held))
        if held != 0.0 and (wanted * held <= 0.0 or abs(wanted) < one.min_notional + doubt):
            return True
        # NaN, an unknown price, is no reason to ask
        if abs(wanted - held) >= terms.smallest_usd - doubt:
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
