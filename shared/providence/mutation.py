"""How a clone differs from its parent.

Continuous parameters take a Gaussian step and stay within the space; grid parameters move to a
neighbour; the interpretation is flipped with small probability; a threshold moves as a quantile of
its cell's recent entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence.codes import Interpretation
from shared.providence.kernel import FloatArray
from shared.providence.recent import SortedEntropy
from shared.providence.rules import CloneRules, ParameterSpace, Span
from shared.providence.run_state import Records

CONTINUOUS: Final = ("dead_band", "kelly_multiplier", "max_drawdown", "take_profit")
_FLIPPED: Final = np.array([item.flipped for item in Interpretation], dtype=np.uint8)


def mutate(
    rng: Generator,
    children: Records,
    parents: Records,
    space: ParameterSpace,
    clone_rules: CloneRules,
    recent: SortedEntropy,
) -> None:
    """Set every parameter of ``children`` to that of its parent, mutated; at least one of each."""
    scale, leap = clone_rules.mutation_scale, clone_rules.integer_step_probability
    products = recent.products(parents["product_id"])
    axes = (space.orders, space.delays, space.windows)
    old = [
        _nearest(parents[field].astype(np.int64), allowed)
        for field, allowed in zip(("order", "delay", "window"), axes, strict=True)
    ]
    new = [
        _neighbour(rng, places, len(allowed), leap)
        for places, allowed in zip(old, axes, strict=True)
    ]
    shape = tuple(len(allowed) for allowed in axes)
    kept, cells = np.ravel_multi_index(old, shape), np.ravel_multi_index(new, shape)
    cells = np.where(recent.ready[cells, products], cells, kept)
    set_cell(children, space, cells)
    lookbacks = _neighbour(
        rng,
        _nearest(parents["lookback"].astype(np.int64), space.lookbacks),
        len(space.lookbacks),
        leap,
    )
    children["lookback"] = np.asarray(space.lookbacks)[lookbacks]
    _move_thresholds(rng, children, parents, space, scale, recent, (kept, cells, products))
    for field in CONTINUOUS:
        children[field] = _step(rng, parents[field], getattr(space, field), scale)
    seconds = _step(rng, parents["max_duration_ms"] / 1000.0, space.max_duration_secs, scale)
    children["max_duration_ms"] = duration_ms(seconds)
    flips = rng.random(len(parents)) < clone_rules.flip_probability
    own = parents["interpretation"]
    children["interpretation"] = np.where(flips, _FLIPPED[own], own)


def _move_thresholds(
    rng: Generator,
    children: Records,
    parents: Records,
    space: ParameterSpace,
    scale: float,
    recent: SortedEntropy,
    places: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    """A threshold moves as a quantile of its cell; without recent entropy it stays a number."""
    kept, cells, products = places
    on_grid = np.ones(len(parents), dtype=np.bool_)
    table = np.array(space.cells, dtype=np.int64)[kept]
    for column, field in enumerate(("order", "delay", "window")):
        on_grid &= parents[field] == table[:, column]
    known = on_grid & recent.ready[kept, products] & recent.ready[cells, products]
    low, high = space.theta_quantile
    step = rng.normal(size=len(parents)) * scale * (high - low)
    children["theta"] = parents["theta"]
    k = np.flatnonzero(known)
    if len(k):
        quantile = recent.quantile(kept[k], products[k], parents["theta"][k]) + step[k]
        quantile = np.clip(quantile, low, high)
        children["theta"][k] = recent.theta(cells[k], products[k], quantile)


def set_cell(records: Records, space: ParameterSpace, cells: NDArray[np.int64]) -> None:
    """Set order, delay and window to those of ``space.cells`` at the given places."""
    table = np.array(space.cells, dtype=np.int64)[cells].reshape(-1, 3)
    records["order"], records["delay"], records["window"] = table.T


def duration_ms(seconds: FloatArray) -> NDArray[np.int64]:
    """Whole milliseconds, at least 1."""
    return np.maximum(1, np.rint(seconds * 1000.0)).astype(np.int64)


def _step(rng: Generator, values: FloatArray, span: Span, scale: float) -> FloatArray:
    """Gaussian steps of ``scale`` x the span's width, clipped to the span."""
    moved = values + rng.normal(size=len(values)) * scale * (span[1] - span[0])
    return np.clip(moved, span[0], span[1])


def _nearest(values: NDArray[np.int64], allowed: Sequence[int]) -> NDArray[np.int64]:
    """Place of the allowed value next to each."""
    distance = np.abs(np.asarray(allowed)[None, :] - values[:, None])
    places: NDArray[np.int64] = distance.argmin(axis=1)
    return places


def _neighbour(
    rng: Generator, places: NDArray[np.int64], count: int, probability: float
) -> NDArray[np.int64]:
    """Each place, or with ``probability`` the next one up or down (inwards at an end)."""
    moves = rng.random(len(places)) < probability
    up = rng.random(len(places)) < 0.5
    if count == 1:
        return places
    up = np.where(places == 0, True, np.where(places == count - 1, False, up))
    return places + np.where(moves, np.where(up, 1, -1), 0)
