"""How newborns get their parameters, compiled: parents, mutation, fresh draws.

A parent is drawn in proportion to its positive log-growth per hour, shrunk towards the mean of all
possible parents. Its clone's continuous parameters take a Gaussian step and stay within the space;
grid parameters move to a neighbour; the interpretation is flipped with small probability. A
threshold moves as a quantile: the clone's is that quantile of the recent entropy of its own cell.
Where a cell has no recent entropy the parent's cell or threshold is kept. Fresh runs are drawn
uniformly from the space.

All randomness is that of the ``numpy.random.Generator`` given, a parameter of all newborns after
the other. The functions live in one file because Numba tracks only that for its cache.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence._jit import inlined, jit
from shared.providence.codes import Interpretation, Status
from shared.providence.kernel import MS_PER_HOUR, FloatArray
from shared.providence.rules import RUIN, CloneRules, ParameterSpace, Span

Places = NDArray[np.int64]

ACTIVE: Final = int(Status.ACTIVE)
FLIPPED: Final = np.array([item.flipped for item in Interpretation], dtype=np.uint8)


class SpaceNumbers(NamedTuple):
    """:class:`ParameterSpace` as compiled code takes it."""

    orders: Places
    delays: Places
    windows: Places
    lookbacks: Places
    chances: FloatArray
    """[4] cumulated probability of each interpretation."""
    theta_quantile: Span
    dead_band: Span
    kelly_multiplier: Span
    max_drawdown: Span
    take_profit: Span
    max_duration_secs: Span
    start_balance: float


class CloneNumbers(NamedTuple):
    """:class:`CloneRules` as compiled code takes it."""

    min_age_ms: float
    min_trades: int
    shrinkage: float
    scale: float
    leap: float
    flip: float


class Recent(NamedTuple):
    """Recent entropy of C cells and P products; a row is ``cell x P + product``."""

    values: FloatArray
    """[C x P, N] sorted, what is unknown at the end."""
    counts: Places
    """[C x P] known values."""
    ready: NDArray[np.bool_]
    """[C, P] enough values to draw a threshold."""
    product_ids: Places
    """[P]."""


@lru_cache(maxsize=8)
def space_numbers(space: ParameterSpace) -> SpaceNumbers:
    """``space`` with the exact types the functions are compiled for."""
    chances = np.cumsum(space.interpretation_weights)
    return SpaceNumbers(
        np.array(space.orders, dtype=np.int64),
        np.array(space.delays, dtype=np.int64),
        np.array(space.windows, dtype=np.int64),
        np.array(space.lookbacks, dtype=np.int64),
        chances / chances[-1],
        _floats(space.theta_quantile),
        _floats(space.dead_band),
        _floats(space.kelly_multiplier),
        _floats(space.max_drawdown),
        _floats(space.take_profit),
        _floats(space.max_duration_secs),
        float(space.start_balance),
    )


def _floats(span: Span) -> Span:
    return float(span[0]), float(span[1])


def clone_numbers(rules: CloneRules) -> CloneNumbers:
    """``rules`` with the exact types the functions are compiled for."""
    return CloneNumbers(
        rules.min_parent_age_secs * 1000.0,
        int(rules.min_trades),
        float(rules.shrinkage),
        float(rules.mutation_scale),
        float(rules.integer_step_probability),
        float(rules.flip_probability),
    )


@inlined
def _uniform(rng: Generator, span: Span) -> float:
    return rng.uniform(span[0], span[1]) if span[1] > span[0] else span[0]


@inlined
def _moved(value: float, step: float, span: Span) -> float:
    return min(max(value + step, span[0]), span[1])


@inlined
def _step(rng: Generator, scale: float, span: Span) -> float:
    """A Gaussian step of ``scale`` x the span's width."""
    return rng.standard_normal() * scale * (span[1] - span[0])


@jit
def _duration_ms(seconds: float) -> int:
    return max(1, int(np.rint(seconds * 1000.0)))


@jit
def _at(allowed: Places, value: int) -> int:
    """Place of the allowed value that is next to ``value``; the first of two."""
    best = 0
    for place in range(1, allowed.size):
        if abs(allowed[place] - value) < abs(allowed[best] - value):
            best = place
    return best


@jit
def _theta(recent: Recent, row: int, quantile: float) -> float:
    """Entropy at a quantile (0 to 1) of a row that is ready."""
    count = recent.counts[row]
    place = quantile * (count - 1)
    low = math.floor(place)
    high = min(low + 1, count - 1)
    start, end = recent.values[row, low], recent.values[row, high]
    return float(min(max(start + (place - low) * (end - start), 0.0), 1.0))


@jit
def _quantile(recent: Recent, row: int, theta: float) -> float:
    """Quantile (0 to 1) of a threshold in a row that is ready."""
    count = recent.counts[row]
    values = recent.values[row, :count]
    low = np.searchsorted(values, theta, side="right") - 1
    place = 0.0
    if low >= count - 1:
        place = count - 1.0
    elif low >= 0:
        step = values[low + 1] - values[low]
        place = low + ((theta - values[low]) / step if step > 0.0 else 0.0)
    return float(min(max(place / max(count - 1, 1), 0.0), 1.0))


@jit
def _place_of(product_ids: Places, product_id: int) -> int:
    """Place of a product, -1 where it is absent."""
    for place in range(product_ids.size):
        if product_ids[place] == product_id:
            return place
    return -1


@jit
def _set_cell(rec: Any, cell: int, space: SpaceNumbers) -> None:
    """Set order, delay and window; cells are numbered as in ``ParameterSpace.cells``."""
    rec.window = space.windows[cell % space.windows.size]
    axes = cell // space.windows.size
    rec.delay = space.delays[axes % space.delays.size]
    rec.order = space.orders[axes // space.delays.size]


@jit
def _draw_products(rng: Generator, n: int, left: Places) -> Places:
    """Places of at most ``n`` products, each uniform among those with room when it is drawn."""
    drawn = np.empty(n, dtype=np.int64)
    count = 0
    while count < n:
        places = np.flatnonzero(left > 0)
        if places.size == 0:
            break
        for pick in rng.integers(0, places.size, n - count):
            product = places[pick]
            if left[product] > 0:
                left[product] -= 1
                drawn[count] = product
                count += 1
    return drawn[:count]


@jit
def _draw_cells(
    rng: Generator, records: Any, products: Places, space: SpaceNumbers, recent: Recent
) -> None:
    """A cell for each, uniform among those that are ready for its product, and a threshold."""
    width = recent.product_ids.size
    rows = np.empty(products.size, dtype=np.int64)
    for product in range(width):
        cells = np.flatnonzero(recent.ready[:, product])
        for i in range(products.size):
            if products[i] == product:
                cell = cells[rng.integers(0, cells.size)]
                rows[i] = cell * width + product
                _set_cell(records[i], cell, space)
                records[i].product_id = recent.product_ids[product]
    for i in range(products.size):
        records[i].theta = _theta(recent, rows[i], _uniform(rng, space.theta_quantile))


@jit
def draw(rng: Generator, records: Any, space: SpaceNumbers, recent: Recent, room: Places) -> int:
    """Fresh parameters for as many ``records`` as there is ``room`` [P] for; returns how many."""
    left = room.copy()
    for product in range(left.size):
        if not recent.ready[:, product].any():
            left[product] = 0
    products = _draw_products(rng, records.size, left)
    n = products.size
    _draw_cells(rng, records[:n], products, space, recent)
    for i in range(n):
        records[i].lookback = space.lookbacks[rng.integers(0, space.lookbacks.size)]
    for i in range(n):
        records[i].interpretation = np.searchsorted(space.chances, rng.random(), side="right")
    for i in range(n):
        records[i].dead_band = _uniform(rng, space.dead_band)
    for i in range(n):
        records[i].kelly_multiplier = _uniform(rng, space.kelly_multiplier)
    for i in range(n):
        records[i].max_drawdown = _uniform(rng, space.max_drawdown)
    for i in range(n):
        records[i].take_profit = _uniform(rng, space.take_profit)
    for i in range(n):
        records[i].max_duration_ms = _duration_ms(_uniform(rng, space.max_duration_secs))
    return int(n)


@jit
def parent_weights(
    records: Any, candidates: Places, now_ms: int, rules: CloneNumbers
) -> tuple[Places, FloatArray]:
    """Those of the rows ``candidates`` that may have clones, and how probably each has the next.

    Such a run is active, old enough and has enough closed trades. Its log-growth per hour counts
    ``trades / (trades + shrinkage)``, the mean of all of them the rest; what is not positive has
    weight 0, and if none is, all have.
    """
    rows = np.empty(candidates.size, dtype=np.int64)
    rates, owns = np.empty(candidates.size), np.empty(candidates.size)
    count, mean = 0, 0.0
    for i in candidates:
        rec = records[i]
        age_ms = now_ms - rec.spawn_tick
        if rec.status != ACTIVE or rec.exit_at_tick != 0 or rec.trades < rules.min_trades:
            continue
        if age_ms <= 0 or age_ms < rules.min_age_ms:
            continue
        growth = math.log(max(rec.equity / rec.start_balance, RUIN))
        rows[count] = i
        rates[count] = growth * MS_PER_HOUR / age_ms
        owns[count] = rec.trades / (rec.trades + rules.shrinkage)
        mean += rates[count]
        count += 1
    weights = np.empty(count)
    total = 0.0
    for k in range(count):
        weights[k] = max(owns[k] * rates[k] + (1.0 - owns[k]) * (mean / count), 0.0)
        total += weights[k]
    for k in range(count):
        weights[k] = weights[k] / total if total > 0.0 else 0.0
    return rows[:count], weights


@jit
def choose_parents(
    rng: Generator,
    records: Any,
    rows: Places,
    weights: FloatArray,
    n: int,
    product_ids: Places,
    room: Places,
) -> Places:
    """At most ``n`` of ``rows`` by weight, those of a product only while it has ``room`` [P]."""
    left = room.copy()
    products = np.empty(rows.size, dtype=np.int64)
    for k in range(rows.size):
        products[k] = _place_of(product_ids, records[rows[k]].product_id)
    chosen = np.empty(n, dtype=np.int64)
    cumulative = np.empty(rows.size)
    count = 0
    while count < n:
        total = 0.0
        for k in range(rows.size):
            if products[k] >= 0 and left[products[k]] > 0:
                total += weights[k]
            cumulative[k] = total
        if not total > 0.0:
            break
        for share in rng.random(n - count):
            k = np.searchsorted(cumulative, share * total, side="right")
            if k < rows.size and left[products[k]] > 0:
                left[products[k]] -= 1
                chosen[count] = rows[k]
                count += 1
    return chosen[:count]


@jit
def _neighbours(rng: Generator, places: Places, size: int, leap: float) -> Places:
    """Each place of ``size``, or with probability ``leap`` the next one (inwards at an end)."""
    moves = rng.random(places.size)
    ups = rng.random(places.size)
    moved = places.copy()
    if size == 1:
        return moved
    for i in range(places.size):
        if moves[i] < leap:
            up = places[i] == 0 or (places[i] != size - 1 and ups[i] < 0.5)
            moved[i] += 1 if up else -1
    return moved


@jit
def _move_thresholds(
    rng: Generator,
    children: Any,
    parents: Any,
    rows: Places,
    cells: Places,
    kept: Places,
    known: NDArray[np.bool_],
    space: SpaceNumbers,
    scale: float,
    recent: Recent,
) -> None:
    """A threshold moves as a quantile of its cell; without recent entropy it stays a number."""
    low, high = space.theta_quantile
    for i in range(rows.size):
        step = rng.standard_normal() * scale * (high - low)
        rec = parents[rows[i]]
        children[i].theta = rec.theta
        if known[i]:
            product = _place_of(recent.product_ids, rec.product_id)
            width = recent.product_ids.size
            moved = _quantile(recent, kept[i] * width + product, rec.theta) + step
            moved = min(max(moved, low), high)
            children[i].theta = _theta(recent, cells[i] * width + product, moved)


@jit
def _move_cells(
    rng: Generator,
    children: Any,
    parents: Any,
    rows: Places,
    space: SpaceNumbers,
    leap: float,
    recent: Recent,
) -> tuple[Places, Places, NDArray[np.bool_]]:
    """Neighbouring cells; (new cell, parent's cell, whether both have entropy) of each child."""
    n = rows.size
    orders, delays, windows = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        rec = parents[rows[i]]
        orders[i] = _at(space.orders, rec.order)
        delays[i] = _at(space.delays, rec.delay)
        windows[i] = _at(space.windows, rec.window)
    width, depth = space.windows.size, space.delays.size * space.windows.size
    kept = orders * depth + delays * width + windows
    on_grid = np.empty(n, dtype=np.bool_)
    for i in range(n):
        rec = parents[rows[i]]
        same = rec.order == space.orders[orders[i]] and rec.delay == space.delays[delays[i]]
        on_grid[i] = same and rec.window == space.windows[windows[i]]
    orders = _neighbours(rng, orders, space.orders.size, leap)
    delays = _neighbours(rng, delays, space.delays.size, leap)
    windows = _neighbours(rng, windows, space.windows.size, leap)
    cells = orders * depth + delays * width + windows
    for i in range(n):
        product = _place_of(recent.product_ids, parents[rows[i]].product_id)
        if product < 0 or not recent.ready[cells[i], product]:
            cells[i] = kept[i]
        on_grid[i] &= product >= 0 and recent.ready[kept[i], product]
        _set_cell(children[i], cells[i], space)
    return cells, kept, on_grid


@jit
def mutate(
    rng: Generator,
    children: Any,
    parents: Any,
    rows: Places,
    space: SpaceNumbers,
    rules: CloneNumbers,
    recent: Recent,
) -> None:
    """Parameters of child i: those of ``parents[rows[i]]``, mutated."""
    n = rows.size
    cells, kept, known = _move_cells(rng, children, parents, rows, space, rules.leap, recent)
    places = np.empty(n, dtype=np.int64)
    for i in range(n):
        places[i] = _at(space.lookbacks, parents[rows[i]].lookback)
    places = _neighbours(rng, places, space.lookbacks.size, rules.leap)
    for i in range(n):
        children[i].lookback = space.lookbacks[places[i]]
    _move_thresholds(rng, children, parents, rows, cells, kept, known, space, rules.scale, recent)
    for i in range(n):
        step = _step(rng, rules.scale, space.dead_band)
        children[i].dead_band = _moved(parents[rows[i]].dead_band, step, space.dead_band)
    for i in range(n):
        step = _step(rng, rules.scale, space.kelly_multiplier)
        children[i].kelly_multiplier = _moved(
            parents[rows[i]].kelly_multiplier, step, space.kelly_multiplier
        )
    for i in range(n):
        step = _step(rng, rules.scale, space.max_drawdown)
        children[i].max_drawdown = _moved(parents[rows[i]].max_drawdown, step, space.max_drawdown)
    for i in range(n):
        step = _step(rng, rules.scale, space.take_profit)
        children[i].take_profit = _moved(parents[rows[i]].take_profit, step, space.take_profit)
    for i in range(n):
        step = _step(rng, rules.scale, space.max_duration_secs)
        seconds = parents[rows[i]].max_duration_ms / 1000.0
        children[i].max_duration_ms = _duration_ms(_moved(seconds, step, space.max_duration_secs))
    for i in range(n):
        rec = parents[rows[i]]
        flips = rng.random() < rules.flip
        children[i].interpretation = FLIPPED[rec.interpretation] if flips else rec.interpretation
        children[i].product_id = rec.product_id
        children[i].parent_id = rec.run_id
        children[i].generation = rec.generation + 1


@jit
def settle(records: Any, recent: Recent, leverage: FloatArray, start: float, tick: int) -> None:
    """What every newborn starts with, but for ``tick`` in the byte order of the record."""
    for i in range(records.size):
        rec = records[i]
        rec.spawn_tick = tick
        rec.start_balance = start
        rec.equity = start
        rec.peak_equity = start
        rec.max_leverage = leverage[_place_of(recent.product_ids, rec.product_id)]


@jit
def conceive(
    rng: Generator,
    records: Any,
    parents: Any,
    candidates: Places,
    clones: int,
    space: SpaceNumbers,
    rules: CloneNumbers,
    recent: Recent,
    room: Places,
    leverage: FloatArray,
    tick: int,
) -> int:
    """Newborns into ``records``, first at most ``clones`` clones, then fresh; returns how many.

    Parents are looked for among the rows ``candidates`` of ``parents``.
    """
    fit, weights = parent_weights(parents, candidates, tick, rules)
    rows = choose_parents(rng, parents, fit, weights, clones, recent.product_ids, room)
    mutate(rng, records[: rows.size], parents, rows, space, rules, recent)
    left = room.copy()
    for row in rows:
        left[_place_of(recent.product_ids, parents[row].product_id)] -= 1
    born = rows.size + draw(rng, records[rows.size :], space, recent, left)
    settle(records[:born], recent, leverage, space.start_balance, tick)
    return int(born)
