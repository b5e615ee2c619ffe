"""Who is born: fresh draws, and clones with mutation.

A vacancy is filled with probability ``clonal_fraction`` by a clone of a living parent, drawn in
proportion to its positive log-growth per hour, shrunk towards the mean of all possible parents;
else by fresh parameters drawn from the space. A threshold is a quantile of its cell's recent
entropy, fixed as a number at spawn, because finite windows bias H. Symbols are drawn under a cap.

All randomness comes from the ``numpy.random.Generator`` given. New records carry ``run_id`` 0: the
caller that stores them knows the ids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence.codes import Interpretation, Status
from shared.providence.kernel import MS_PER_HOUR, FloatArray
from shared.providence.mutation import CONTINUOUS, duration_ms, mutate, set_cell
from shared.providence.recent import SortedEntropy
from shared.providence.rules import RUIN, CloneRules, ParameterSpace, Span
from shared.providence.run_state import Records, new_records


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
) -> dict[int, int]:
    """How many more runs each symbol may have; ``counts`` has its active ones, absent = 0."""
    cap = symbol_cap(desired, space, len(product_ids))
    return {product_id: max(cap - counts.get(product_id, 0), 0) for product_id in product_ids}


def parent_weights(records: Records, now_ms: int, clone_rules: CloneRules) -> FloatArray:
    """Probability of each record to be the parent of the next clone; all 0 if none is fit.

    A parent is active, old enough and has enough closed trades. Its log-growth per hour counts
    ``trades / (trades + shrinkage)``, the mean of all such parents the rest; what is not positive
    has no clones.
    """
    weights = np.zeros(len(records))
    age_ms = now_ms - records["spawn_tick"]
    fit = (
        (records["status"] == Status.ACTIVE)
        & (age_ms > 0)
        & (age_ms >= clone_rules.min_parent_age_secs * 1000.0)
        & (records["trades"] >= clone_rules.min_trades)
        & (records["exit_at_tick"] == 0)
    )
    if not fit.any():
        return weights
    rate = log_growth(records)[fit] * MS_PER_HOUR / age_ms[fit]
    trades = records["trades"][fit]
    own = trades / (trades + clone_rules.shrinkage)
    weights[fit] = np.maximum(own * rate + (1.0 - own) * rate.mean(), 0.0)
    total = weights.sum()
    return weights / total if total > 0.0 else np.zeros(len(records))


def draw(
    rng: Generator,
    n: int,
    space: ParameterSpace,
    symbol_counts: Mapping[int, int],
    recent: SortedEntropy,
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
    room = symbol_room(space, recent.product_ids, symbol_counts, desired)
    products = _draw_products(rng, n, recent.ready, [room[p] for p in recent.product_ids])
    records = new_records(len(products))
    cells = _draw_cells(rng, recent.ready, products)
    set_cell(records, space, cells)
    records["product_id"] = np.asarray(recent.product_ids, dtype=np.int32)[products]
    quantile = _uniform(rng, space.theta_quantile, len(records))
    records["theta"] = recent.theta(cells, products, quantile)
    lookbacks = np.asarray(space.lookbacks, dtype=np.int32)
    records["lookback"] = lookbacks[rng.integers(len(lookbacks), size=len(records))]
    records["interpretation"] = rng.choice(
        len(Interpretation), size=len(records), p=space.interpretation_weights
    )
    for field in CONTINUOUS:
        records[field] = _uniform(rng, getattr(space, field), len(records))
    records["max_duration_ms"] = duration_ms(_uniform(rng, space.max_duration_secs, len(records)))
    return _born(records, space, max_leverage, spawn_tick)


def clone(
    rng: Generator,
    parents: Records,
    space: ParameterSpace,
    clone_rules: CloneRules,
    recent: SortedEntropy,
    max_leverage: Mapping[int, float],
    *,
    spawn_tick: int,
) -> Records:
    """One mutated child per given parent, with an empty ledger.

    Continuous parameters take a Gaussian step and stay within the space; grid parameters move to a
    neighbour; the interpretation is flipped with small probability. A threshold moves as a
    quantile: the child's is that quantile of the recent entropy of its own cell. Where a cell has
    no recent entropy the parent's cell or threshold is kept.
    """
    children = new_records(len(parents))
    if len(parents):
        mutate(rng, children, parents, space, clone_rules, recent)
    children["product_id"] = parents["product_id"]
    children["parent_id"] = parents["run_id"]
    children["generation"] = parents["generation"] + 1
    return _born(children, space, max_leverage, spawn_tick)


def choose_parents(
    rng: Generator, records: Records, weights: FloatArray, n: int, room: Mapping[int, int]
) -> NDArray[np.int64]:
    """Indices of ``n`` parents drawn by weight, symbols only while they have room; maybe fewer."""
    ids, products = np.unique(records["product_id"], return_inverse=True)
    left = np.array([room.get(int(p), 0) for p in ids], dtype=np.int64)
    current = np.where(left[products] > 0, weights, 0.0) if len(ids) else weights
    chosen = np.empty(0, dtype=np.int64)
    while len(chosen) < n and current.sum() > 0.0:
        cumulative = np.cumsum(current)
        picks = np.searchsorted(
            cumulative, rng.random(n - len(chosen)) * cumulative[-1], side="right"
        )
        taken = picks[_within(products[picks], left)]
        left -= np.bincount(products[taken], minlength=len(ids))
        current[left[products] <= 0] = 0.0
        chosen = np.concatenate([chosen, taken])
    return chosen


def count_symbols(records: Records) -> dict[int, int]:
    """Records per product id."""
    counts = np.bincount(records["product_id"]) if len(records) else np.zeros(0, dtype=np.int64)
    return {int(product_id): int(counts[product_id]) for product_id in np.flatnonzero(counts)}


def _within(groups: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which items find room in their group, first come, first served."""
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    rank = np.arange(len(groups)) - np.searchsorted(ranked, ranked)
    fits = np.empty(len(groups), dtype=np.bool_)
    fits[order] = rank < room[ranked]
    return fits


def _draw_products(
    rng: Generator, n: int, ready: NDArray[np.bool_], room: Sequence[int]
) -> NDArray[np.int64]:
    """Places of at most ``n`` products, each uniform among those open when it is drawn."""
    left = np.where(ready.any(axis=0), np.array(room, dtype=np.int64), 0)
    drawn = np.empty(0, dtype=np.int64)
    while len(drawn) < n and left.any():
        open_places = np.flatnonzero(left > 0)
        picks = open_places[rng.integers(len(open_places), size=n - len(drawn))]
        taken = picks[_within(picks, left)]
        left = left - np.bincount(taken, minlength=len(left))
        drawn = np.concatenate([drawn, taken])
    return drawn


def _draw_cells(
    rng: Generator, ready: NDArray[np.bool_], products: NDArray[np.int64]
) -> NDArray[np.int64]:
    """A cell for each run, uniform among those that are ready for its product."""
    cells = np.empty(len(products), dtype=np.int64)
    for place in np.unique(products):
        own = products == place
        choice = np.flatnonzero(ready[:, place])
        cells[own] = choice[rng.integers(len(choice), size=int(own.sum()))]
    return cells


def _uniform(rng: Generator, span: Span, n: int) -> FloatArray:
    return rng.uniform(span[0], span[1], n) if span[1] > span[0] else np.full(n, span[0])


def _born(
    records: Records, space: ParameterSpace, max_leverage: Mapping[int, float], spawn_tick: int
) -> Records:
    records["tick"] = spawn_tick
    records["spawn_tick"] = spawn_tick
    records["start_balance"] = space.start_balance
    records["equity"] = space.start_balance
    records["peak_equity"] = space.start_balance
    records["max_leverage"] = [max_leverage[int(p)] for p in records["product_id"]]
    return records
