"""Many ticks of many shards in one call: the same step, without a call per shard and tick.

A run is taken through all ticks of a block before the next one is touched. Records, fills and sums
have the bits of one ``step`` per shard and tick.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.providence import kernel
from shared.providence.aggregate import SUMS_DTYPE, Sums
from shared.providence.binding import Binding
from shared.providence.market import TickBlock
from shared.providence.rules import Rules
from shared.providence.run_state import Records, native, require_records
from shared.providence.step import FILL_DTYPE, Fills, Scalar, rule_numbers


class Bounds(NamedTuple):
    """Rows of each shard in one array of records: shard k has [starts[k], stops[k])."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @property
    def runs(self) -> int:
        """Records within the bounds."""
        return int((self.stops - self.starts).sum())


def step_block(
    records: Records,
    bounds: Bounds,
    binding: Binding,
    block: TickBlock,
    rules: Rules,
    due: NDArray[np.bool_],
    fills: Fills | None = None,
    ended: Sums | None = None,
) -> tuple[Fills, Sums]:
    """Advance the records within ``bounds`` in place through the T ticks of ``block``.

    Parameters
    ----------
    records: all shards, with unused rows between them; runs must not be at or past the first tick.
    binding: from ``bind`` for every used row.
    due: [T] after which ticks the sums are wanted.
    fills: rows to write into, at least one per run and tick; by default new ones are made.
    ended: [S] sums of runs that have left the shards, for every row of the sums.

    Returns
    -------
    Fills by shard, then run, then tick (a view into ``fills`` if given), and sums [D, S] at the D
    ticks that were due, added up within each shard and then over the shards.

    Raises
    ------
    ValueError
        If shapes do not fit; nothing is changed.
    """
    _require_fit(records, bounds, binding, block, due)
    space = bounds.runs * len(due)
    if fills is None:
        fills = np.empty(space, dtype=FILL_DTYPE)
    elif len(fills) < space:
        raise ValueError(f"there is room for {len(fills)} fills; allowed is {space} or more")
    wanted, symbols = _plain(due, np.bool_), block.price.shape[1]
    shape = (np.count_nonzero(wanted), symbols)
    sums: Sums = np.zeros(shape, dtype=SUMS_DTYPE)
    blank: Sums = np.zeros(symbols, dtype=SUMS_DTYPE)
    count = kernel.step_shards(
        native(records),
        np.asarray(bounds.starts, dtype=np.int64),
        np.asarray(bounds.stops, dtype=np.int64),
        binding.cell,
        binding.lookback,
        binding.column,
        _plain(block.tick_ms, np.int64),
        _plain(block.price, np.float64),
        _plain(block.ok, np.bool_),
        _plain(block.funding_index, np.float64),
        _plain(block.volatility, np.float64),
        _plain(block.entropy, np.float64),
        _plain(block.past, np.float64),
        rule_numbers(rules),
        fills,
        wanted,
        blank,
        np.zeros(shape, dtype=SUMS_DTYPE),
        blank if ended is None else ended,
        sums,
    )
    return fills[:count], sums


def _require_fit(
    records: Records,
    bounds: Bounds,
    binding: Binding,
    block: TickBlock,
    due: NDArray[np.bool_],
) -> None:
    require_records(records)
    ticks = len(block.price)
    if len(due) != ticks or len(block.tick_ms) != ticks:
        raise ValueError(
            f"{len(due)} due flags and {len(block.tick_ms)} ticks; both must be {ticks}"
        )
    if any(len(rows) != len(records) for rows in binding):
        raise ValueError(f"the binding is of {len(binding.cell)} rows; allowed is {len(records)}")
    if len(bounds.stops) and not 0 <= bounds.stops.max() <= len(records):
        raise ValueError(f"the bounds reach row {bounds.stops.max()}; there are {len(records)}")


def _plain(values: NDArray[Scalar], dtype: type[Scalar]) -> NDArray[Scalar]:
    """The array as the kernel is compiled for: this type, contiguous, writable."""
    if values.dtype == dtype and values.flags.carray:
        return values
    return np.require(values, dtype=dtype, requirements=["C", "W"])
