"""Which runs fill vacancies, and in which shards: what a supervisor decides, without its stores.

The live supervisor and research call the same functions with the same arguments; from one seed
they conceive the same runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence import population
from shared.providence.kernel import FloatArray
from shared.providence.recent import RecentEntropy, SortedEntropy
from shared.providence.rules import Cell, CloneRules, ParameterSpace
from shared.providence.run_state import Records, join, new_records

ENTROPY_SAMPLES: Final = 512
"""Recent entropy values per cell and symbol from which thresholds are drawn."""
PARENT_SHARDS: Final = 16
"""Shards whose runs are looked at for parents in one call, chosen anew each time."""


def conceive(
    rng: Generator,
    count: int,
    space: ParameterSpace,
    clone_rules: CloneRules,
    symbol_counts: Mapping[int, int],
    candidates: Callable[[], Records],
    recent_entropy: RecentEntropy,
    max_leverage: Mapping[int, float],
    *,
    desired: int,
    spawn_tick: int,
) -> Records:
    """Clones of good parents and fresh draws, at most ``count``, under the symbols' caps.

    Parameters
    ----------
    count: vacancies to fill now.
    symbol_counts: active runs per product id, absent = 0.
    candidates: runs among which parents are looked for; asked only if a clone is due.
    max_leverage: of each product that is open for new runs, > 0.
    desired: size of the whole population, which the caps refer to.
    spawn_tick: ms; also the time at which the age of parents is judged.

    The rest is as in :func:`population.draw`; records have ``run_id`` 0.
    """
    recent = SortedEntropy(recent_entropy, space, tuple(max_leverage))
    room = population.symbol_room(space, recent.product_ids, symbol_counts, desired)
    clones_due = int(rng.binomial(count, clone_rules.clonal_fraction))
    known = candidates() if clones_due else new_records(0)
    weights = population.parent_weights(known, spawn_tick, clone_rules)
    parents = known[population.choose_parents(rng, known, weights, clones_due, room)]
    clones = population.clone(
        rng, parents, space, clone_rules, recent, max_leverage, spawn_tick=spawn_tick
    )
    counts = dict(symbol_counts)
    for product_id, born in population.count_symbols(clones).items():
        counts[product_id] = counts.get(product_id, 0) + born
    fresh = population.draw(
        rng,
        count - len(clones),
        space,
        counts,
        recent,
        max_leverage,
        desired=desired,
        spawn_tick=spawn_tick,
    )
    return join([clones, fresh])


def parent_shards(rng: Generator, shard_ids: NDArray[np.int64]) -> list[int]:
    """The shards among whose runs parents are looked for, in the order of looking."""
    return [int(shard_id) for shard_id in rng.permutation(shard_ids)[:PARENT_SHARDS]]


def by_cell(
    cells: Sequence[Cell], product_ids: Sequence[int], entropy: FloatArray
) -> dict[tuple[Cell, int], FloatArray]:
    """Recent entropy [N, C, S] as :data:`recent.RecentEntropy`; columns are ``product_ids``."""
    return {
        (cell, product_id): entropy[:, row, column]
        for row, cell in enumerate(cells)
        for column, product_id in enumerate(product_ids)
    }


def place(
    count: int, occupancy: Mapping[int, int], shard_count: int, shard_size: int
) -> NDArray[np.int32]:
    """A shard for each of ``count`` runs, fewer if there is no room; the emptiest shards first.

    Whole shards are filled one after another, so that few of them change.
    """
    room = {shard: shard_size - occupancy.get(shard, 0) for shard in range(shard_count)}
    places: list[int] = []
    for shard in sorted(room, key=lambda shard: (-room[shard], shard)):
        free = min(room[shard], count - len(places))
        if free <= 0:
            break
        places += [shard] * free
    return np.array(places, dtype=np.int32)
