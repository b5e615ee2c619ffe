"""Which runs fill vacancies, and in which shards: what a supervisor decides, without its stores.

The live supervisor and research call the same functions with the same arguments; from one seed
they conceive the same runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence import births, population
from shared.providence.births import Recent
from shared.providence.rules import CloneRules, ParameterSpace
from shared.providence.run_state import Records, native, new_records

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
    recent: Recent,
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
    max_leverage: of each product of ``recent``, > 0.
    desired: size of the whole population, which the caps refer to.
    spawn_tick: ms; also the time at which the age of parents is judged.

    The rest is as in :func:`population.draw`; records have ``run_id`` 0.
    """
    clones_due = int(rng.binomial(count, clone_rules.clonal_fraction))
    known = candidates() if clones_due else new_records(0)
    newborns = new_records(count)
    born = births.conceive(
        rng,
        native(newborns),
        native(known),
        clones_due,
        births.space_numbers(space),
        births.clone_numbers(clone_rules),
        recent,
        population.symbol_room(space, recent.product_ids.tolist(), symbol_counts, desired),
        population.leverages(recent, max_leverage),
        int(spawn_tick),
    )
    newborns = newborns[:born]
    newborns["tick"] = spawn_tick
    return newborns


def parent_shards(rng: Generator, shard_ids: NDArray[np.int64]) -> list[int]:
    """The shards among whose runs parents are looked for, in the order of looking."""
    return [int(shard_id) for shard_id in rng.permutation(shard_ids)[:PARENT_SHARDS]]


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
