"""A population in one array, stepped and supervised as the live one: shard by shard, seed by seed.

Births, clones and exits are those of the live supervisor, which calls the same functions; a run is
placed in the same shard and gets the same number, so that from one seed both write one journal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence import aggregate
from shared.providence._jit import jit
from shared.providence.aggregate import Sums
from shared.providence.binding import Binding, Grid, bind
from shared.providence.epochs import assign_height, request_exit
from shared.providence.kernel import FloatArray
from shared.providence.market import TickBlock
from shared.providence.recent import SlidingRecent
from shared.providence.rules import CloneRules, ParameterSpace, Rules
from shared.providence.run_state import Records, copied, join, native, new_records
from shared.providence.shards import Bounds, step_block
from shared.providence.step import FILL_DTYPE, Fills
from shared.providence.supervision import Candidates, conceive, parent_shards, place

FILL_ROWS = 1 << 20
"""Fills that one call may write; longer blocks are stepped in several."""
DIGIT_BITS = 8
DIGITS = 1 << DIGIT_BITS


@dataclass(frozen=True, slots=True)
class ColonyPlan:
    """Size and make-up of a population."""

    desired: int
    spawn_batch: int
    shard_size: int
    interval_ms: int
    space: ParameterSpace
    clone_rules: CloneRules
    rules: Rules
    max_leverage: Mapping[int, float]
    """By product id; the ids, rising, are the columns of the market."""

    @property
    def product_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self.max_leverage))

    @property
    def shard_count(self) -> int:
        return math.ceil(self.desired / self.shard_size)


@dataclass(frozen=True, slots=True)
class Supervised:
    """One call of the supervisor: runs that have ended since the last, and runs born."""

    ended: Records
    born: int


class Colony:
    """Shards of runs, all at the same tick."""

    def __init__(self, plan: ColonyPlan, rng: Generator) -> None:
        self.plan = plan
        self.grid = Grid.of(plan.space)
        self._rng = rng
        rows = plan.shard_count * plan.shard_size
        starts = np.arange(plan.shard_count, dtype=np.int64) * plan.shard_size
        self._records = new_records(rows)
        # as bytes: a copy of fields is many times slower
        self._bytes = self._records.view(np.uint8)
        self._kept = np.empty_like(self._bytes)
        self._kept_tick = -1
        self._bounds = Bounds(starts, starts.copy())
        self._binding = Binding(*(np.zeros(rows, dtype=np.int32) for _ in range(3)))
        self._columns = {p: column for column, p in enumerate(plan.product_ids)}
        self._counts = np.zeros(len(plan.product_ids), dtype=np.int64)
        self._fills = np.empty(max(FILL_ROWS, plan.desired), dtype=FILL_DTYPE)
        self._ordered = np.empty_like(self._fills)
        self._gone = np.empty_like(self._records)
        self._rows = np.empty(rows, dtype=np.int64)
        self._gone_columns = np.empty(rows, dtype=np.int32)
        self._ended: Sums = np.zeros(len(plan.max_leverage), dtype=aggregate.SUMS_DTYPE)
        self._last_tick = -1
        self._recent = SlidingRecent(plan.space, plan.product_ids)
        self._supervised_tick = 0
        self.born = 0

    @property
    def most_ticks(self) -> int:
        """Ticks that one call of :meth:`advance` can take."""
        return max(1, len(self._fills) // max(1, self.plan.desired))

    @property
    def alive(self) -> int:
        """Runs that were alive when vacancies were last filled."""
        return self._bounds.runs

    @property
    def runs(self) -> Records:
        """A copy of every run that is not removed yet, shard by shard."""
        parts = zip(self._bounds.starts, self._bounds.stops, strict=True)
        return join([self._records[start:stop] for start, stop in parts])

    def advance(self, block: TickBlock, due: NDArray[np.bool_]) -> tuple[Fills, Sums]:
        """Step every run through the block; see :func:`shared.providence.shards.step_block`.

        The fills are by tick, then run, and are valid until the next call. The sums count every
        run that has ended so far in its cohort: the living alone would be the survivors.

        Raises
        ------
        ValueError
            If a tick is not after the last one.
        """
        if len(block.tick_ms) and block.tick_ms[0] <= self._last_tick:
            raise ValueError(f"tick {block.tick_ms[0]} is not after {self._last_tick}")
        fills, sums = step_block(
            self._records,
            self._bounds,
            self._binding,
            block,
            self.plan.rules,
            due,
            self._fills,
            self._ended,
        )
        if not len(block.tick_ms):
            return fills, sums
        self._last_tick = int(block.tick_ms[-1])
        ordered = self._ordered[: len(fills)]
        _by_tick(fills, int(block.tick_ms[0]), self.plan.interval_ms, len(block.tick_ms), ordered)
        return ordered, sums

    def keep(self) -> None:
        """Remember every run as it is, for :meth:`take_back`."""
        np.copyto(self._kept, self._bytes)
        self._kept_tick = self._last_tick

    def take_back(self) -> None:
        """Undo every :meth:`advance` since :meth:`keep`."""
        np.copyto(self._bytes, self._kept)
        self._last_tick = self._kept_tick

    def give_height(self, height: int, at_tick: int) -> Records:
        """Close an epoch: runs without a height get this one, with effect from ``at_tick`` (ms).

        What has ended without one belongs to the closed epoch; returned are the runs that ended
        since they were last removed.
        """
        ended = self._remove_ended()
        for name in ("runs", "wins", "sum_win", "sum_loss"):
            self._ended[f"history_{name}"] += self._ended[f"current_{name}"]
            self._ended[f"current_{name}"] = 0
        assign_height(self._records, height, at_tick)
        return ended

    def ask_to_exit(self, at_tick: int) -> None:
        """Ask every run to exit, with effect from ``at_tick`` (ms)."""
        request_exit(self._records, at_tick)

    def supervise(self, tick_ms: int, entropy: FloatArray) -> Supervised:
        """Remove what has ended and fill the vacancies.

        ``entropy`` [N, C, S] holds the recent values up to this tick, from which thresholds are
        drawn.
        """
        plan = self.plan
        ended = self._remove_ended()
        fresh = (tick_ms - self._supervised_tick) // plan.interval_ms
        recent = self._recent.slide(entropy, fresh)
        self._supervised_tick = tick_ms
        vacant = plan.desired - self._bounds.runs
        if vacant <= 0:
            return Supervised(ended, 0)
        ids = plan.product_ids
        newborns = conceive(
            self._rng,
            min(vacant, plan.spawn_batch),
            plan.space,
            plan.clone_rules,
            dict(zip(ids, self._counts.tolist(), strict=True)),
            self._candidates,
            recent,
            plan.max_leverage,
            desired=plan.desired,
            spawn_tick=tick_ms,
        )
        return Supervised(ended, self._settle(newborns))

    def _candidates(self) -> Candidates:
        chosen = parent_shards(self._rng, np.arange(self.plan.shard_count))
        count = _rows_of(np.array(chosen, dtype=np.int64), *self._bounds, self._rows)
        return Candidates(self._records, self._rows[:count])

    def _settle(self, newborns: Records) -> int:
        """Number the newborns and put them into shards; returns how many found room."""
        starts, stops = self._bounds
        occupancy = dict(enumerate((stops - starts).tolist()))
        shards = place(len(newborns), occupancy, self.plan.shard_count, self.plan.shard_size)
        born = newborns[: len(shards)]
        born["run_id"] = np.arange(self.born + 1, self.born + len(born) + 1)
        _insert(
            native(self._records),
            stops,
            *self._binding,
            self._counts,
            shards,
            native(born),
            *bind(born, self.grid, self._columns),
        )
        self.born += len(born)
        return len(born)

    def _remove_ended(self) -> Records:
        count = _compact(
            native(self._records),
            *self._bounds,
            *self._binding,
            self._counts,
            native(self._gone),
            self._gone_columns,
        )
        ended = copied(self._gone[:count])
        aggregate.add_ended(self._ended, ended, self._gone_columns[:count], self.plan.rules)
        return ended


@jit
def _by_tick(fills: Any, first_tick: int, interval_ms: int, ticks: int, ordered: Any) -> None:
    """Copy ``fills`` (in any order) to ``ordered`` (by tick, run).

    A radix sort of row numbers: run ids by a digit at a time, the tick last.
    """
    count = fills.size
    rows, other = np.arange(count), np.empty(count, dtype=np.int64)
    least, most = np.int64(0), np.int64(0)
    if count:
        least = most = fills[0].run_id
    for i in range(count):
        least, most = min(least, fills[i].run_id), max(most, fills[i].run_id)
    starts = np.empty(DIGITS + 1, dtype=np.int64)
    shift = np.int64(0)
    while (most - least) >> shift:
        starts[:] = 0
        for i in range(count):
            starts[(((fills[i].run_id - least) >> shift) & (DIGITS - 1)) + 1] += 1
        for digit in range(DIGITS):
            starts[digit + 1] += starts[digit]
        for k in range(count):
            digit = ((fills[rows[k]].run_id - least) >> shift) & (DIGITS - 1)
            other[starts[digit]] = rows[k]
            starts[digit] += 1
        rows, other = other, rows
        shift += np.int64(DIGIT_BITS)
    places = np.empty(count, dtype=np.int64)
    tick_starts = np.zeros(ticks + 1, dtype=np.int64)
    for i in range(count):
        places[i] = (fills[i].tick - first_tick) // interval_ms
        tick_starts[places[i] + 1] += 1
    for t in range(ticks):
        tick_starts[t + 1] += tick_starts[t]
    for k in range(count):
        t = places[rows[k]]
        ordered[tick_starts[t]] = fills[rows[k]]
        tick_starts[t] += 1


@jit
def _rows_of(
    shards: NDArray[np.int64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> int:
    """Write the rows of ``shards``, in order, to ``rows``; returns how many."""
    count = 0
    for k in shards:
        for row in range(starts[k], stops[k]):
            rows[count] = row
            count += 1
    return count


@jit
def _insert(
    records: Any,
    stops: NDArray[np.int64],
    cells: NDArray[np.int32],
    lookbacks: NDArray[np.int32],
    columns: NDArray[np.int32],
    counts: NDArray[np.int64],
    shards: NDArray[np.int32],
    born: Any,
    born_cells: NDArray[np.int32],
    born_lookbacks: NDArray[np.int32],
    born_columns: NDArray[np.int32],
) -> None:
    """Put each newborn behind the others of its shard."""
    for i in range(shards.size):
        row = stops[shards[i]]
        stops[shards[i]] += 1
        records[row] = born[i]
        cells[row] = born_cells[i]
        lookbacks[row] = born_lookbacks[i]
        columns[row] = born_columns[i]
        counts[born_columns[i]] += 1


@jit
def _compact(
    records: Any,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    cells: NDArray[np.int32],
    lookbacks: NDArray[np.int32],
    columns: NDArray[np.int32],
    counts: NDArray[np.int64],
    ended: Any,
    ended_columns: NDArray[np.int32],
) -> int:
    """Move what has ended to ``ended`` and close the ranks, in order; returns how many moved."""
    count = 0
    for k in range(starts.size):
        free = starts[k]
        for i in range(starts[k], stops[k]):
            if records[i].status != 0:
                ended[count] = records[i]
                ended_columns[count] = columns[i]
                counts[columns[i]] -= 1
                count += 1
                continue
            if free != i:
                records[free] = records[i]
                cells[free] = cells[i]
                lookbacks[free] = lookbacks[i]
                columns[free] = columns[i]
            free += 1
        stops[k] = free
    return count
