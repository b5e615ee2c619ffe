"""One tick of many runs: (records, market, rules) -> fills.

The same function serves live iterations, backtests, optimisation and replay. A direction decided at
one tick is executed at the price of the next, so a decision never sees the price it trades at; an
exit closes at the tick's own price. Both pay slippage and the fee of one side. What is not known
(a sample that is not ok, a window that spans a gap, a NaN) means: hold, no new trade.

Order of events within a tick: mark to market, exits, execution of the pending direction, decision
for the next sample.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.providence import kernel
from shared.providence.codes import Interpretation
from shared.providence.entropy import MAX_ORDER, MIN_ORDER
from shared.providence.kernel import FloatArray, IntArray
from shared.providence.rules import Cell, ParameterSpace, Rules
from shared.providence.run_state import KERNEL_DTYPE, Records, require_records

FILL_DTYPE: Final = np.dtype(
    [
        ("run_id", "<i8"),
        ("fill_seq", "<i4"),  # 1, 2, ... per run
        ("tick", "<i8"),  # ms
        ("product_id", "<i4"),
        ("size", "<f8"),  # signed, base coin
        ("price", "<f8"),  # slippage included
        ("fee", "<f8"),  # USD, > 0 paid
        ("funding_index", "<f8"),  # of the symbol at this tick
        ("reason", "u1"),  # codes.Reason
    ]
)
Fills = NDArray[np.void]
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


class Grid(NamedTuple):
    """The fixed row order of ``TickMarket.entropy`` and ``TickMarket.past``."""

    cells: tuple[Cell, ...]
    lookbacks: tuple[int, ...]

    @classmethod
    def of(cls, space: ParameterSpace) -> Grid:
        """The grid that a parameter space spans."""
        return cls(space.cells, tuple(space.lookbacks))


class Binding(NamedTuple):
    """Where each run finds its inputs: one int32 per run."""

    cell: IntArray
    lookback: IntArray
    column: IntArray
    """-1: the symbol has left; the run exits cleanly."""


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


def _rows(keys: NDArray[np.int64], known: NDArray[np.int64]) -> IntArray:
    """Position of each key in ``known``, -1 where absent."""
    if known.size == 0:
        return np.full(keys.size, -1, dtype=np.int32)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], keys), known.size - 1)
    rows = order[place]
    return np.where(known[rows] == keys, rows, -1).astype(np.int32)


def _cell_keys(
    order: NDArray[np.int64], delay: NDArray[np.int64], window: NDArray[np.int64]
) -> NDArray[np.int64]:
    return (order << np.int64(48)) | (delay << np.int64(32)) | window


_LIMITS: Final[tuple[tuple[str, float, float], ...]] = (
    ("order", MIN_ORDER, MAX_ORDER),
    ("interpretation", 0, max(Interpretation)),
    ("theta", 0.0, 1.0),
    ("dead_band", 0.0, 1.0),
    ("kelly_multiplier", 1e-6, 100.0),
    ("max_duration_ms", 1, float(1 << 62)),
    ("max_drawdown", 1e-6, 1.0),
    ("take_profit", 0.0, 1e6),
    ("max_leverage", 1e-6, 1e4),
    ("start_balance", 1e-6, 1e12),
)


def _refuse_first(records: Records, wrong: NDArray[np.bool_], text: str) -> None:
    if wrong.any():
        record = records[int(np.argmax(wrong))]
        raise ValueError(f"run {record['run_id']}: {text.format(r=record)}")


def bind(records: Records, grid: Grid, product_columns: dict[int, int]) -> Binding:
    """Find each run's entropy row, look-back row and market column, and check its parameters.

    ``product_columns`` maps product ids to columns of :class:`TickMarket`; runs of other products
    get column -1 and exit at their last known price when they are next stepped.

    Raises
    ------
    ValueError
        Naming the first run whose parameters are out of range or not on the grid.
    """
    require_records(records)
    for field, low, high in _LIMITS:
        values = records[field]
        _refuse_first(
            records,
            ~((values >= low) & (values <= high)),
            f"{field} is {{r[{field}]}}; allowed is {low:g} to {high:g}",
        )
    cells = np.array(grid.cells, dtype=np.int64).reshape(-1, 3)
    cell = _rows(
        _cell_keys(
            records["order"].astype(np.int64),
            records["delay"].astype(np.int64),
            records["window"].astype(np.int64),
        ),
        _cell_keys(cells[:, 0], cells[:, 1], cells[:, 2]),
    )
    column = _rows(
        records["product_id"].astype(np.int64), np.array(list(product_columns), dtype=np.int64)
    )
    places = np.array([*product_columns.values(), -1], dtype=np.int32)
    lookback = _rows(records["lookback"].astype(np.int64), np.array(grid.lookbacks, dtype=np.int64))
    _refuse_first(
        records,
        cell < 0,
        "cell (order {r[order]}, delay {r[delay]}, window {r[window]}) is not on the grid",
    )
    _refuse_first(records, lookback < 0, "lookback {r[lookback]} is not on the grid")
    return Binding(cell, lookback, places[column])


def _plain(
    values: NDArray[Scalar], dtype: type[Scalar], shape: Shape, name: str
) -> NDArray[Scalar]:
    """The array as the kernel is compiled for: this type, contiguous, writable."""
    array: NDArray[Scalar] = np.require(values, dtype=dtype, requirements=["C", "W"])
    if array.shape != shape:
        raise ValueError(f"TickMarket.{name} has shape {array.shape}; allowed is {shape}")
    return array


def _refuse(records: Records, binding: Binding, native: Records, tick: int, rows: Shape) -> None:
    """ValueError for the first run that is late for the tick or bound outside the market."""
    at = kernel.refused(native, binding.cell, binding.lookback, binding.column, tick, *rows)
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
    native = records.view(KERNEL_DTYPE)
    _refuse(records, binding, native, tick, (len(entropy), len(past), symbols))
    fills: Fills = np.empty(len(records), dtype=FILL_DTYPE)
    count = kernel.step_runs(
        native,
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
