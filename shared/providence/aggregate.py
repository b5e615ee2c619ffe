"""Per-symbol sums of a shard: what reconciliation needs of its runs.

A qualifying run is active with ``live_pnl > live_pnl_threshold``; it adds ``w x d`` with its held
direction ``d`` and ``w = f x equity / (base_fraction x start_balance)``, so that Kelly and
compounding reach the account. Cohort results are of every run given that has traded, ended ones
included (a cohort of survivors would flatter itself), split by whether the run has a height in
effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.providence import kernel
from shared.providence.kernel import IntArray
from shared.providence.rules import Rules
from shared.providence.run_state import Records, native, require_records
from shared.providence.sizing import CohortSums
from shared.providence.step import Binding, rule_numbers

SUMS_DTYPE: Final = np.dtype(
    [
        ("active", "<i8"),
        ("qualifying", "<i8"),
        ("weighted_direction", "<f8"),
        ("current_runs", "<i8"),
        ("current_wins", "<i8"),
        ("current_sum_win", "<f8"),
        ("current_sum_loss", "<f8"),
        ("history_runs", "<i8"),
        ("history_wins", "<i8"),
        ("history_sum_win", "<f8"),
        ("history_sum_loss", "<f8"),
    ]
)
Sums = NDArray[np.void]


def shard_sums(
    records: Records, binding: Binding, columns: int, rules: Rules, tick_ms: int | None = None
) -> Sums:
    """Sums of one shard, one row per symbol column.

    Parameters
    ----------
    records, binding: as stepped.
    columns: number S of symbol columns; runs whose symbol has left are not counted.
    rules: sizing in force.
    tick_ms: heights count from their ``height_at_tick``; default: the latest tick of the records.

    Returns
    -------
    ``SUMS_DTYPE[S]``; added up in run order, so the same records give the same bits.

    Raises
    ------
    ValueError
        If the binding is of another number of runs or reaches beyond ``columns``.
    """
    require_records(records)
    if len(binding.column) != len(records):
        raise ValueError(f"the binding is of {len(binding.column)} runs; allowed is {len(records)}")
    sums: Sums = np.zeros(columns, dtype=SUMS_DTYPE)
    if len(records) == 0:
        return sums
    if int(binding.column.max()) >= columns:
        raise ValueError(f"the binding reaches column {binding.column.max()}; there are {columns}")
    tick = int(records["tick"].max()) if tick_ms is None else int(tick_ms)
    kernel.add_shard(native(records), binding.column, tick, rule_numbers(rules), sums)
    return sums


def add_ended(total: Sums, records: Records, columns: IntArray, rules: Rules) -> None:
    """Add the sums of runs that have ended (columns of ``total``, 0 or more) to it, in place."""
    part: Sums = np.zeros(len(total), dtype=SUMS_DTYPE)
    kernel.add_ended(native(records), columns, rule_numbers(rules), part, total)


def merge(shards: Sequence[Sums]) -> Sums:
    """Sum of several shards, row by row, added in the order given.

    Raises
    ------
    ValueError
        If there is no shard, or their numbers of columns differ.
    """
    if not shards:
        raise ValueError("merge was given 0 shards; allowed is 1 or more")
    total = shards[0].copy()
    for sums in shards[1:]:
        if sums.shape != total.shape:
            raise ValueError(f"a shard has {len(sums)} columns; allowed is {len(total)}")
        kernel.add_sums(total, sums)
    return total


def cohorts(row: np.void) -> tuple[CohortSums, CohortSums]:
    """(current, history) of one symbol's sums, as ``sizing.cohort_factor`` takes them."""
    current = CohortSums(
        int(row["current_runs"]),
        int(row["current_wins"]),
        float(row["current_sum_win"]),
        float(row["current_sum_loss"]),
    )
    history = CohortSums(
        int(row["history_runs"]),
        int(row["history_wins"]),
        float(row["history_sum_win"]),
        float(row["history_sum_loss"]),
    )
    return current, history


def to_json(sums: Sums, product_ids: Sequence[int]) -> dict[str, dict[str, int | float]]:
    """Sums by product id (as text), exact; symbols without any run are left out."""
    names = SUMS_DTYPE.names or ()
    return {
        str(product_id): dict(zip(names, row, strict=True))
        for product_id, row in zip(product_ids, sums.tolist(), strict=True)
        if any(row)
    }


def from_json(values: Mapping[str, Mapping[str, Any]], product_ids: Sequence[int]) -> Sums:
    """The sums that :func:`to_json` wrote, in the given column order; absent symbols are 0 runs.

    Raises
    ------
    ValueError
        If a product is not among ``product_ids`` (its runs would be lost), or fields differ.
    """
    sums: Sums = np.zeros(len(product_ids), dtype=SUMS_DTYPE)
    columns = {str(product_id): column for column, product_id in enumerate(product_ids)}
    for key, row in values.items():
        if key not in columns:
            raise ValueError(f"sums hold product {key}; allowed are {', '.join(columns)}")
        if set(row) != set(SUMS_DTYPE.names or ()):
            raise ValueError(f"sums of product {key} have fields {', '.join(sorted(row))}")
        for name, value in row.items():
            sums[name][columns[key]] = value
    return sums
