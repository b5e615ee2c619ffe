"""One tick of many runs: (records, market, rules) -> fills.

The same function serves live iterations, backtests, optimisation and replay. A direction decided at
one tick is executed at the price of the next, so a decision never sees the price it trades at; an
exit closes at the tick's own price. Both pay slippage and the fee of one side. What is not known
(a sample that is not ok, a window that spans a gap, a NaN) means: hold, no new trade.

Order of events within a tick: mark to market, exits, execution of the pending direction, decision
for the next sample.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.providence import kernel
from shared.providence.binding import Binding, Grid, bind
from shared.providence.fills import FILL_DTYPE, Fills
from shared.providence.kernel import FloatArray
from shared.providence.rules import Rules
from shared.providence.run_state import Records, native, require_records

__all__ = ["FILL_DTYPE", "Binding", "Fills", "Grid", "TickMarket", "bind", "rule_numbers", "step"]

Shape = tuple[int, ...]
Scalar = TypeVar("Scalar", bound=np.generic)


class TickMarket(NamedTuple):
    """What is known at one tick: a column per symbol (S), a row per cell (C) or look-back (M)."""

    tick_ms: int
    price: FloatArray
    """[S] mid price, USD."""
    ok: NDArray[np.bool_]
    """[S] the sample is fresh and the symbol tradable."""
    funding_index: FloatArray
    """[S] cumulative funding *received* by one unit held long, USD (see ``ledger``)."""
    volatility: FloatArray
    """[S] standard deviation of the log price per square root of an hour, > 0, or NaN."""
    entropy: FloatArray
    """[C, S] normalised permutation entropy, NaN while a window spans a gap."""
    past: FloatArray
    """[M, S] price ``lookbacks[m]`` samples ago, NaN if unknown."""


def rule_numbers(rules: Rules) -> kernel.RuleNumbers:
    """``rules`` with the exact number types the kernel is compiled for."""
    return kernel.RuleNumbers(
        float(rules.taker_fee_rate),
        float(rules.slippage_rate),
        float(rules.base_fraction),
        float(rules.probation_fraction),
        float(rules.max_fraction),
        float(rules.max_reward_ratio),
        int(rules.min_trades),
        int(rules.judge_after_trades),
        float(rules.live_pnl_threshold),
    )


def _plain(
    values: NDArray[Scalar], dtype: type[Scalar], shape: Shape, name: str
) -> NDArray[Scalar]:
    """The array as the kernel is compiled for: this type, contiguous, writable."""
    array: NDArray[Scalar] = np.require(values, dtype=dtype, requirements=["C", "W"])
    if array.shape != shape:
        raise ValueError(f"TickMarket.{name} has shape {array.shape}; allowed is {shape}")
    return array


def _refuse(records: Records, binding: Binding, own: Records, tick: int, rows: Shape) -> None:
    """ValueError for the first run that is late for the tick or bound outside the market."""
    at = kernel.refused(own, binding.cell, binding.lookback, binding.column, tick, *rows)
    if at >= len(records):
        raise ValueError(
            f"run {records[at - len(records)]['run_id']}: bound outside this market of {rows[0]} "
            f"cells, {rows[1]} look-backs and {rows[2]} symbols"
        )
    if at >= 0:
        record = records[at]
        raise ValueError(
            f"run {record['run_id']}: tick {tick} is not after its last tick {record['tick']}"
        )


def step(records: Records, binding: Binding, market: TickMarket, rules: Rules) -> Fills:
    """Advance ``records`` in place by one tick.

    Parameters
    ----------
    records: array of ``RUN_DTYPE``, n runs; completed runs and runs whose ``spawn_tick`` is not yet
        past are left alone to the byte.
    binding: from :func:`bind`, for these records in this order.
    market: the tick; every array float64 (``ok``: bool).
    rules: costs and sizing in force at this tick.

    Returns
    -------
    New fills (``FILL_DTYPE``) in run order, at most one per run.

    Raises
    ------
    ValueError
        If a living run is already at or past the tick, or shapes do not fit; nothing is changed.
    """
    require_records(records)
    tick = int(market.tick_ms)
    symbols = len(market.price)
    entropy = _plain(market.entropy, np.float64, (len(market.entropy), symbols), "entropy")
    past = _plain(market.past, np.float64, (len(market.past), symbols), "past")
    if not len(records) == len(binding.cell) == len(binding.lookback) == len(binding.column):
        raise ValueError(f"the binding is of {len(binding.cell)} runs; allowed is {len(records)}")
    own = native(records)
    _refuse(records, binding, own, tick, (len(entropy), len(past), symbols))
    fills: Fills = np.empty(len(records), dtype=FILL_DTYPE)
    count = kernel.step_runs(
        own,
        binding.cell,
        binding.lookback,
        binding.column,
        tick,
        _plain(market.price, np.float64, (symbols,), "price"),
        _plain(market.ok, np.bool_, (symbols,), "ok"),
        _plain(market.funding_index, np.float64, (symbols,), "funding_index"),
        _plain(market.volatility, np.float64, (symbols,), "volatility"),
        entropy,
        past,
        rule_numbers(rules),
        fills,
    )
    return fills[:count]
