"""Who lives: fresh draws, clones with mutation, retirement.

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
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence.codes import Interpretation, Status
from shared.providence.kernel import MS_PER_HOUR, FloatArray
from shared.providence.rules import Cell, CloneRules, ParameterSpace, Span
from shared.providence.run_state import Records, join, new_records

RecentEntropy = Mapping[tuple[Cell, int], FloatArray]
"""(cell, product id) -> recent normalised entropy values, NaN allowed and ignored."""

RUIN: Final = 1e-6
"""Share of the start balance below which a log-growth is no longer distinguished (ln = -13.8)."""


@dataclass(frozen=True, slots=True)
class Vacancies:
    """What a supervisor does next: spawn clones and fresh runs, or retire."""

    clones: int
    fresh: int
    retire: int


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


def plan_vacancies(rng: Generator, desired: int, active: int, clone_rules: CloneRules) -> Vacancies:
    """Split the difference between desired and active runs.

    Raises
    ------
    ValueError
        If a count is negative.
    """
    if desired < 0 or active < 0:
        raise ValueError(f"desired is {desired}, active {active}; allowed is 0 or more")
    if active >= desired:
        return Vacancies(0, 0, active - desired)
    clones = int(rng.binomial(desired - active, clone_rules.clonal_fraction))
    return Vacancies(clones, desired - active - clones, 0)


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
    rate = log_growth(records[fit]) * MS_PER_HOUR / age_ms[fit]
    trades = records["trades"][fit]
    own = trades / (trades + clone_rules.shrinkage)
    weights[fit] = np.maximum(own * rate + (1.0 - own) * rate.mean(), 0.0)
    total = weights.sum()
    return weights / total if total > 0.0 else np.zeros(len(records))


def select_retirees(records: Records, count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` active runs to end first: least growth, then the newest."""
    active = np.flatnonzero(records["status"] == Status.ACTIVE)
    chosen = records[active]
    order = np.lexsort((-chosen["run_id"], -chosen["spawn_tick"], log_growth(chosen)))
    return active[order[: max(count, 0)]]


class _History:
    """Recent entropy, cleaned and sorted once per (cell, product)."""

    def __init__(self, recent: RecentEntropy, space: ParameterSpace) -> None:
        self._recent = recent
        self._least = space.theta_min_samples
        self._sorted: dict[tuple[Cell, int], FloatArray | None] = {}

    def values(self, cell: Cell, product_id: int) -> FloatArray | None:
        """Sorted values, or None where there are too few to draw a threshold."""
        key = (cell, product_id)
        if key not in self._sorted:
            raw = np.asarray(self._recent.get(key, ()), dtype=np.float64)
            clean = np.sort(raw[np.isfinite(raw)])
            self._sorted[key] = clean if len(clean) >= self._least else None
        return self._sorted[key]

    def theta(self, cell: Cell, product_id: int, quantile: float) -> float:
        values = self.values(cell, product_id)
        if values is None:
            raise ValueError(f"product {product_id} has no recent entropy for cell {cell}")
        return min(max(float(np.quantile(values, quantile)), 0.0), 1.0)

    def quantile(self, cell: Cell, product_id: int, theta: float) -> float | None:
        values = self.values(cell, product_id)
        if values is None:
            return None
        return float(np.interp(theta, values, np.linspace(0.0, 1.0, len(values))))


def draw(
    rng: Generator,
    n: int,
    space: ParameterSpace,
    product_ids: Sequence[int],
    symbol_counts: Mapping[int, int],
    recent_entropy: RecentEntropy,
    max_leverage: Mapping[int, float],
    *,
    desired: int,
    spawn_tick: int,
) -> Records:
    """Fresh runs with parameters drawn uniformly from the space.

    Parameters
    ----------
    n: runs wanted.
    product_ids: symbols open for new runs.
    symbol_counts: active runs per product id, absent = 0.
    recent_entropy: values from which thresholds are drawn; a symbol without any is passed over.
    max_leverage: per product id, > 0.
    desired: size of the whole population, which the cap refers to.
    spawn_tick: ms; the runs are first stepped at the next tick.

    Returns
    -------
    At most ``n`` records, fewer where caps or missing entropy leave no room; ``run_id`` is 0.
    """
    history = _History(recent_entropy, space)
    room = _room(space, product_ids, symbol_counts, desired)
    ready = {
        product_id: [cell for cell in space.cells if history.values(cell, product_id) is not None]
        for product_id in product_ids
    }
    records = new_records(n)
    weights = space.interpretation_weights
    filled = 0
    while filled < n:
        open_ids = [p for p in product_ids if room[p] > 0 and ready[p]]
        if not open_ids:
            break
        product_id = open_ids[int(rng.integers(len(open_ids)))]
        cells = ready[product_id]
        cell = cells[int(rng.integers(len(cells)))]
        record = records[filled : filled + 1]
        record["order"], record["delay"], record["window"] = cell
        record["product_id"] = product_id
        record["theta"] = history.theta(cell, product_id, _uniform(rng, space.theta_quantile))
        record["lookback"] = space.lookbacks[int(rng.integers(len(space.lookbacks)))]
        record["interpretation"] = int(rng.choice(len(Interpretation), p=weights))
        for field in ("dead_band", "kelly_multiplier", "max_drawdown", "take_profit"):
            record[field] = _uniform(rng, getattr(space, field))
        record["max_duration_ms"] = _duration_ms(_uniform(rng, space.max_duration_secs))
        room[product_id] -= 1
        filled += 1
    return _born(records[:filled].copy(), space, max_leverage, spawn_tick)


def clone(
    rng: Generator,
    parents: Records,
    space: ParameterSpace,
    clone_rules: CloneRules,
    recent_entropy: RecentEntropy,
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
    history = _History(recent_entropy, space)
    children = new_records(len(parents))
    for child, parent in zip(children, parents, strict=True):
        _mutate(rng, child, parent, space, clone_rules, history)
        child["product_id"] = parent["product_id"]
        child["parent_id"] = parent["run_id"]
        child["generation"] = parent["generation"] + 1
    return _born(children, space, max_leverage, spawn_tick)


def choose_parents(
    rng: Generator, records: Records, weights: FloatArray, n: int, room: Mapping[int, int]
) -> NDArray[np.int64]:
    """Indices of ``n`` parents drawn by weight, symbols only while they have room; maybe fewer."""
    left = dict(room)
    products = records["product_id"]
    chosen: list[int] = []
    current = np.where([left.get(int(p), 0) > 0 for p in products], weights, 0.0)
    cumulative = np.cumsum(current)
    while len(chosen) < n and len(cumulative) and cumulative[-1] > 0.0:
        pick = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        chosen.append(pick)
        product_id = int(products[pick])
        left[product_id] -= 1
        if left[product_id] == 0:
            current[products == product_id] = 0.0
            cumulative = np.cumsum(current)
    return np.array(chosen, dtype=np.int64)


def fill_vacancies(
    rng: Generator,
    active: Records,
    space: ParameterSpace,
    clone_rules: CloneRules,
    product_ids: Sequence[int],
    recent_entropy: RecentEntropy,
    max_leverage: Mapping[int, float],
    *,
    desired: int,
    now_ms: int,
) -> Records:
    """New runs that bring ``active`` (active records only) up to ``desired``: clones, then fresh.

    Clones that find no parent, or no room on its symbol, become fresh draws. The result may be
    shorter than the vacancies (see :func:`draw`), never longer.
    """
    plan = plan_vacancies(rng, desired, len(active), clone_rules)
    counts = count_symbols(active)
    room = _room(space, product_ids, counts, desired)
    weights = parent_weights(active, now_ms, clone_rules)
    parents = active[choose_parents(rng, active, weights, plan.clones, room)]
    clones = clone(
        rng, parents, space, clone_rules, recent_entropy, max_leverage, spawn_tick=now_ms
    )
    for product_id, count in count_symbols(clones).items():
        counts[product_id] = counts.get(product_id, 0) + count
    fresh = draw(
        rng,
        plan.clones + plan.fresh - len(clones),
        space,
        product_ids,
        counts,
        recent_entropy,
        max_leverage,
        desired=desired,
        spawn_tick=now_ms,
    )
    return join([clones, fresh])


def count_symbols(records: Records) -> dict[int, int]:
    """Records per product id."""
    ids, counts = np.unique(records["product_id"], return_counts=True)
    return {int(product_id): int(count) for product_id, count in zip(ids, counts, strict=True)}


def _room(
    space: ParameterSpace, product_ids: Sequence[int], counts: Mapping[int, int], desired: int
) -> dict[int, int]:
    cap = symbol_cap(desired, space, len(product_ids))
    return {product_id: max(cap - counts.get(product_id, 0), 0) for product_id in product_ids}


def _uniform(rng: Generator, span: Span) -> float:
    return float(rng.uniform(span[0], span[1])) if span[1] > span[0] else float(span[0])


def _duration_ms(seconds: float) -> int:
    return max(1, round(seconds * 1000.0))


def _step(rng: Generator, value: float, span: Span, scale: float) -> float:
    """Gaussian step of ``scale`` x the span's width, clipped to the span."""
    moved = value + float(rng.normal()) * scale * (span[1] - span[0])
    return min(max(moved, span[0]), span[1])


def _neighbour(rng: Generator, value: int, allowed: Sequence[int], probability: float) -> int:
    """``value``, or with ``probability`` the next allowed value up or down (inwards at an end)."""
    moves, up = rng.random() < probability, rng.random() < 0.5
    nearest = min(range(len(allowed)), key=lambda i: abs(allowed[i] - value))
    if not moves or len(allowed) == 1:
        return allowed[nearest]
    if nearest == 0 or nearest == len(allowed) - 1:
        up = nearest == 0
    return allowed[nearest + (1 if up else -1)]


def _mutate(
    rng: Generator,
    child: np.void,
    parent: np.void,
    space: ParameterSpace,
    clone_rules: CloneRules,
    history: _History,
) -> None:
    scale, leap = clone_rules.mutation_scale, clone_rules.integer_step_probability
    product_id = int(parent["product_id"])
    old: Cell = (int(parent["order"]), int(parent["delay"]), int(parent["window"]))
    kept: Cell = (
        _neighbour(rng, old[0], space.orders, 0.0),
        _neighbour(rng, old[1], space.delays, 0.0),
        _neighbour(rng, old[2], space.windows, 0.0),
    )
    cell: Cell = (
        _neighbour(rng, old[0], space.orders, leap),
        _neighbour(rng, old[1], space.delays, leap),
        _neighbour(rng, old[2], space.windows, leap),
    )
    if history.values(cell, product_id) is None:
        cell = kept
    child["order"], child["delay"], child["window"] = cell
    child["lookback"] = _neighbour(rng, int(parent["lookback"]), space.lookbacks, leap)
    quantile = history.quantile(old, product_id, float(parent["theta"]))
    step = float(rng.normal()) * scale
    child["theta"] = parent["theta"]
    if quantile is not None and history.values(cell, product_id) is not None:
        low, high = space.theta_quantile
        quantile = min(max(quantile + step * (high - low), low), high)
        child["theta"] = history.theta(cell, product_id, quantile)
    for field in ("dead_band", "kelly_multiplier", "max_drawdown", "take_profit"):
        child[field] = _step(rng, float(parent[field]), getattr(space, field), scale)
    seconds = _step(rng, float(parent["max_duration_ms"]) / 1000.0, space.max_duration_secs, scale)
    child["max_duration_ms"] = _duration_ms(seconds)
    flips = rng.random() < clone_rules.flip_probability
    interpretation = Interpretation(int(parent["interpretation"]))
    child["interpretation"] = interpretation.flipped if flips else interpretation


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
