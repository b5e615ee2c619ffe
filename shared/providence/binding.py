"""Where each run finds its inputs in a market, and whether its parameters are sound.

Bound once per set of records and grid; a parameter out of range is refused here, never at the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.providence._jit import jit
from shared.providence.codes import Interpretation
from shared.providence.kernel import IntArray
from shared.providence.rules import MAX_ORDER, MIN_ORDER, Cell, ParameterSpace
from shared.providence.run_state import Records, native, require_records

KeyArray = NDArray[np.int64]

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
_RANGES: Final = np.array([limits[1:] for limits in _LIMITS])
_NO_CELL: Final = len(_LIMITS)
_NO_LOOKBACK: Final = _NO_CELL + 1


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


class _Index(NamedTuple):
    """Sorted keys and the row of each."""

    keys: KeyArray
    rows: IntArray


def _index(keys: Sequence[int], rows: Sequence[int]) -> _Index:
    array = np.array(keys, dtype=np.int64)
    order = np.argsort(array, kind="stable")
    return _Index(array[order], np.array(rows, dtype=np.int32)[order])


@lru_cache(maxsize=8)
def _grid_index(grid: Grid) -> tuple[_Index, _Index]:
    cells = [(order << 48) | (delay << 32) | window for order, delay, window in grid.cells]
    return _index(cells, range(len(cells))), _index(grid.lookbacks, range(len(grid.lookbacks)))


@lru_cache(maxsize=8)
def _product_index(columns: tuple[tuple[int, int], ...]) -> _Index:
    return _index([product for product, _ in columns], [column for _, column in columns])


@jit
def _find(keys: KeyArray, rows: IntArray, key: int) -> int:
    """Row of ``key`` by bisection, -1 where absent."""
    low, high = 0, keys.size
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < keys.size and keys[low] == key:
        return int(rows[low])
    return -1


@jit
def _bind(
    records: Any,
    ranges: NDArray[np.float64],
    cell_keys: KeyArray,
    cell_rows: IntArray,
    lookback_keys: KeyArray,
    lookback_rows: IntArray,
    product_keys: KeyArray,
    product_rows: IntArray,
    cells: IntArray,
    lookbacks: IntArray,
    columns: IntArray,
) -> tuple[int, int]:
    """Fill the last three; (run, fault) of the first run that is refused, else (-1, -1)."""
    for i in range(records.size):
        rec = records[i]
        values = (
            float(rec.order),
            float(rec.interpretation),
            rec.theta,
            rec.dead_band,
            rec.kelly_multiplier,
            float(rec.max_duration_ms),
            rec.max_drawdown,
            rec.take_profit,
            rec.max_leverage,
            rec.start_balance,
        )
        for fault in range(len(values)):
            if not ranges[fault, 0] <= values[fault] <= ranges[fault, 1]:
                return i, fault
        order, delay, window = np.int64(rec.order), np.int64(rec.delay), np.int64(rec.window)
        key = int((order << 48) | (delay << 32) | window)
        cells[i] = _find(cell_keys, cell_rows, key)
        if cells[i] < 0:
            return i, _NO_CELL
        lookbacks[i] = _find(lookback_keys, lookback_rows, rec.lookback)
        if lookbacks[i] < 0:
            return i, _NO_LOOKBACK
        columns[i] = _find(product_keys, product_rows, rec.product_id)
    return -1, -1


def bind(records: Records, grid: Grid, product_columns: Mapping[int, int]) -> Binding:
    """Find each run's entropy row, look-back row and market column, and check its parameters.

    ``product_columns`` maps product ids to columns of ``TickMarket``; runs of other products get
    column -1 and exit at their last known price when they are next stepped.

    Raises
    ------
    ValueError
        Naming the first run whose parameters are out of range or not on the grid.
    """
    require_records(records)
    count = len(records)
    binding = Binding(*np.empty((3, count), dtype=np.int32))
    cells, lookbacks = _grid_index(grid)
    products = _product_index(tuple(product_columns.items()))
    run, fault = _bind(native(records), _RANGES, *cells, *lookbacks, *products, *binding)
    if run >= 0:
        raise ValueError(f"run {records[run]['run_id']}: {_fault_text(records[run], fault)}")
    return binding


def _fault_text(record: np.void, fault: int) -> str:
    if fault == _NO_CELL:
        return (
            f"cell (order {record['order']}, delay {record['delay']}, window {record['window']}) "
            "is not on the grid"
        )
    if fault == _NO_LOOKBACK:
        return f"lookback {record['lookback']} is not on the grid"
    field, low, high = _LIMITS[fault]
    return f"{field} is {record[field]}; allowed is {low:g} to {high:g}"
