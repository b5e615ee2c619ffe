"""Fresh runs, and how many of them a symbol may have.

A vacancy is filled with probability ``clonal_fraction`` by a clone of a living parent, else by
fresh parameters drawn from the space (see :mod:`shared.providence.births`). A threshold is a
quantile of its cell's recent entropy, fixed as a number at spawn, because finite windows bias H.
Symbols are drawn under a cap.

All randomness comes from the ``numpy.random.Generator`` given. New records carry ``run_id`` 0: the
caller that stores them knows the ids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence import births
from shared.providence.births import Recent
from shared.providence.kernel import FloatArray
from shared.providence.rules import RUIN, ParameterSpace
from shared.providence.run_state import Records, native, new_records


def log_growth(records: Records) -> FloatArray:
    """``ln(equity / start_balance)`` per run, floored at ``ln RUIN``."""
    ratio = records["equity"] / records["start_balance"]
    growth: FloatArray = np.log(np.maximum(ratio, RUIN))
    return growth


def symbol_cap(desired: int, space: ParameterSpace, symbols: int) -> int:
    """Most runs one symbol may have; never so few that the population cannot be filled."""
    if symbols < 1:
        return 0
    return math.ceil(desired * max(space.max_symbol_share, 1.0 / symbols) - 1e-9)


def symbol_room(
    space: ParameterSpace, product_ids: Sequence[int], counts: Mapping[int, int], desired: int
) -> NDArray[np.int64]:
    """How many more runs each symbol may have; ``counts`` has its active ones, absent = 0."""
    cap = symbol_cap(desired, space, len(product_ids))
    return np.array([max(cap - counts.get(p, 0), 0) for p in product_ids], dtype=np.int64)


def draw(
    rng: Generator,
    n: int,
    space: ParameterSpace,
    symbol_counts: Mapping[int, int],
    recent: Recent,
    max_leverage: Mapping[int, float],
    *,
    desired: int,
    spawn_tick: int,
) -> Records:
    """Fresh runs with parameters drawn uniformly from the space.

    Parameters
    ----------
    n: runs wanted.
    symbol_counts: active runs per product id, absent = 0.
    recent: values from which thresholds are drawn; its products are open for new runs, and one
        without enough values is passed over.
    max_leverage: per product id, > 0.
    desired: size of the whole population, which the cap refers to.
    spawn_tick: ms; the runs are first stepped at the next tick.

    Returns
    -------
    At most ``n`` records, fewer where caps or missing entropy leave no room; ``run_id`` is 0.
    """
    records = new_records(n)
    found = births.draw(
        rng,
        native(records),
        births.space_numbers(space),
        recent,
        symbol_room(space, recent.product_ids.tolist(), symbol_counts, desired),
    )
    return _born(records[:found], space, recent, max_leverage, spawn_tick)


def count_symbols(records: Records) -> dict[int, int]:
    """Records per product id."""
    counts = np.bincount(records["product_id"]) if len(records) else np.zeros(0, dtype=np.int64)
    return {int(product_id): int(counts[product_id]) for product_id in np.flatnonzero(counts)}


def leverages(recent: Recent, max_leverage: Mapping[int, float]) -> FloatArray:
    """Largest leverage of each product of ``recent``."""
    return np.array([max_leverage[p] for p in recent.product_ids.tolist()], dtype=np.float64)


def _born(
    records: Records,
    space: ParameterSpace,
    recent: Recent,
    max_leverage: Mapping[int, float],
    spawn_tick: int,
) -> Records:
    leverage = leverages(recent, max_leverage)
    births.settle(native(records), recent, leverage, float(space.start_balance), int(spawn_tick))
    records["tick"] = spawn_tick
    return records
