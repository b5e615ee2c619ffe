"""Which runs fill vacancies, and in which shards: what a supervisor decides, without its stores.

The live supervisor and research call the same functions with the same arguments; from one seed
they conceive the same runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence import births
from shared.providence.births import Recent
from shared.providence.kernel import FloatArray
from shared.providence.rules import CloneRules, ParameterSpace
from shared.providence.run_state import Records, native, new_records

ENTROPY_SAMPLES: Final = 512
"""Recent entropy values per cell and symbol from which thresholds are drawn."""
PARENT_SHARDS: Final = 16
"""Shards whose runs are looked at for parents in one call, chosen anew each time."""


class Candidates(NamedTuple):
    """Runs among which parents are looked for: ``rows`` of ``records``, in the order of looking."""

    records: Records
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, records: Records) -> Candidates:
        """All of ``records``."""
        return cls(records, np.arange(len(records)))


def symbol_cap(desired: int, space: ParameterSpace, symbols: int) -> int:
    """Most runs one symbol may have; never so few that the population cannot be filled."""
    if symbols < 1:
        return 0
    return math.ceil(desired * max(space.max_symbol_share, 1.0 / symbols) - 1e-9)


def conceive(
    rng: Generator,
    count: int,
    space: ParameterSpace,
    clone_rules: CloneRules,
    symbol_counts: Mapping[int, int],
    candidates: Callable[[], Candidates],
    recent: Recent,
    max_leverage: Mapping[int, float],
    *,
    desired: int,
    spawn_tick: int,
) -> Records:
    """Clones of good parents and fresh draws, at most ``count``, under the symbols' caps.

    A vacancy is filled with probability ``clonal_fraction`` by a clone of a living parent, else by
    fresh parameters drawn from the space (see :mod:`shared.providence.births`). A threshold is a
    quantile of its cell's recent entropy, fixed at spawn, because finite windows bias H.

    Parameters
    ----------
    count: vacancies to fill now.
    symbol_counts: active runs per product id, absent = 0.
    recent: values from which thresholds are drawn; its products are open for new runs, and one
        without enough values is passed over.
    candidates: where parents are looked for; asked only if a clone is due.
    max_leverage: of each product of ``recent``, > 0.
    desired: size of the whole population, which the caps refer to.
    spawn_tick: ms; also the time at which the age of parents is judged.

    Returns
    -------
    Fewer records where caps or missing entropy leave no room; ``run_id`` is 0, for the caller that
    stores them knows the ids.
    """
    clones_due = int(rng.binomial(count, clone_rules.clonal_fraction))
    known = candidates() if clones_due else Candidates.of(new_records(0))
    newborns = new_records(count)
    born = births.conceive(
        rng,
        native(newborns),
        native(known.records),
        known.rows,
        clones_due,
        births.space_numbers(space),
        births.clone_numbers(clone_rules),
        recent,
        _room(space, recent.product_ids.tolist(), symbol_counts, desired),
        _leverages(recent, max_leverage),
        int(spawn_tick),
    )
    newborns = newborns[:born]
    newborns["tick"] = spawn_tick
    return newborns


def _room(
    space: ParameterSpace, product_ids: Sequence[int], counts: Mapping[int, int], desired: int
) -> NDArray[np.int64]:
    """How many more runs each symbol may have; ``counts`` has its active ones, absent = 0."""
    cap = symbol_cap(desired, space, len(product_ids))
    return np.array([max(cap - counts.get(p, 0), 0) for p in product_ids], dtype=np.int64)


def _leverages(recent: Recent, max_leverage: Mapping[int, float]) -> FloatArray:
    """Largest leverage of each product of ``recent``."""
    return np.array([max_leverage[p] for p in recent.product_ids.tolist()], dtype=np.float64)


def parent_shards(rng: Generator, shard_ids: NDArray[np.int64]) -> list[int]:
    """The shards among whose runs parents are looked for, in the order of looking."""
    return [int(shard_id) for shard_id in rng.permutation(shard_ids)[:PARENT_SHARDS]]


def place(
    count: int, occupancy: Mapping[int, int], shard_count: int, shard_size: int
) -> NDArray[np.int32]:
    """A shard for each of ``count`` runs, fewer if there is no room; the emptiest shards first.

    Whole shards are filled one after another, so that few of them change.
    """
    taken = sorted((occupancy.get(shard, 0), shard) for shard in range(shard_count))
    places: list[int] = []
    for runs, shard in taken:
        free = min(shard_size - runs, count - len(places))
        if free <= 0:
            break
        places += [shard] * free
    return np.array(places, dtype=np.int32)
