"""One iteration: a shard of runs stepped through every tick since its last, once in effect.

The commit in MariaDB is the moment it happened; it is fenced by the shard's last tick and version.
Whatever delivers a task twice, late, or next to another worker, at most one commit counts, and all
of them would have been the same. Redis follows the commit and may be behind or empty at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import structlog
from numpy.typing import NDArray

from shared import time_budget
from shared.ports import Clock, IterationCommit, Members, RunStateStore, RunStore, Shard
from shared.providence import aggregate
from shared.providence.codes import Status
from shared.providence.run_state import Records
from shared.providence.step import Fills
from worker.services.rebuild import restep
from worker.services.stepping import Bound, Needs, Steppers

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 8
CACHED_SHARDS = 4_096


class Outcome(StrEnum):
    """How an iteration ended."""

    COMMITTED = "committed"
    DONE_BEFORE = "done_before"
    NO_TICK = "no_tick"
    NO_SHARD = "no_shard"
    CONTENDED = "contended"


@dataclass(frozen=True, slots=True)
class IterationResult:
    """``runs`` x ``ticks`` iterations were done, up to ``last_tick`` (ms).

    ``rebuilt`` records came from MariaDB.
    """

    outcome: Outcome
    ticks: int = 0
    runs: int = 0
    fills: int = 0
    rebuilt: int = 0
    last_tick: int = 0


@dataclass(slots=True, eq=False)
class _Known:
    """What this process remembers of a shard at a version."""

    version: int
    members: Members
    bound: Bound | None = None
    needs: Needs | None = None


class IterationService:
    """Iterations of one process. Keeps members, bindings and the sample series between calls."""

    def __init__(
        self,
        runs: RunStore,
        states: RunStateStore,
        steppers: Steppers,
        clock: Clock,
        *,
        interval_ms: int,
        checkpoint_every: int,
        worker: str,
    ) -> None:
        self._runs = runs
        self._states = states
        self._steppers = steppers
        self._clock = clock
        self._interval_ms = interval_ms
        self._checkpoint_every = checkpoint_every
        self._worker = worker
        self._known: dict[int, _Known] = {}

    def shards(self, shard_ids: Sequence[int]) -> dict[int, Shard]:
        """Where these shards are, in one read; those never made are left out."""
        return {shard.shard_id: shard for shard in self._runs.shards(shard_ids)}

    def run(self, shard_id: int, tick_ms: int, shard: Shard | None = None) -> IterationResult:
        """Bring a shard to ``tick_ms``, or to the last tick stored before it.

        ``shard`` is what a moment ago was read of it; the fence refuses it if it has moved since.
        A shard that is far behind is taken further by one commit after another for as long as there
        is time (``shared.time_budget``), by one at least; ``last_tick`` says how far it came.
        """
        total = IterationResult(Outcome.NO_TICK)
        attempts = 0
        while attempts < MAX_ATTEMPTS:
            shard = shard or self._runs.shard(shard_id)
            if shard is None:
                return IterationResult(Outcome.NO_SHARD)
            if shard.last_tick >= tick_ms:
                return total if total.ticks else IterationResult(Outcome.DONE_BEFORE)
            part, shard = self._advance(shard, tick_ms), None
            if part is None:
                attempts += 1
                continue
            if part.outcome is Outcome.NO_TICK:
                return total
            total = _add(total, part)
            if part.last_tick == tick_ms or time_budget.is_spent():
                return total
        return _add(total, IterationResult(Outcome.CONTENDED))

    def _advance(self, shard: Shard, tick_ms: int) -> IterationResult | None:
        """One commit; None if the shard moved meanwhile and everything has to be read again."""
        known = self._members(shard)
        loaded = self._load(shard, known)
        if loaded is None:
            return None
        records, rebuilt = loaded
        stepper = self._steppers[self._interval_ms]
        if known.needs is None:
            known.needs = Needs.of(records)
        frames = next(stepper.frames(known.needs, shard.last_tick, tick_ms), None)
        if frames is None:
            return IterationResult(Outcome.NO_TICK)
        fills, known.bound = stepper.advance(records, frames, known.bound)
        ticks = [frame.market.tick_ms for frame in frames]
        commit = self._commit_of(shard, known, records, fills, ticks, frames[-1].config_version)
        if not self._runs.commit_iteration(commit):
            return None
        self._states.save(records)
        self._states.notify_completed(commit.completed)
        self._keep(known, records["status"] == Status.ACTIVE)
        return IterationResult(
            Outcome.COMMITTED, len(frames), len(records), len(fills), rebuilt, commit.tick
        )

    def _commit_of(
        self,
        shard: Shard,
        known: _Known,
        records: Records,
        fills: Fills,
        ticks: list[int],
        version: str,
    ) -> IterationCommit:
        stepper = self._steppers[self._interval_ms]
        products = tuple(stepper.markets.product_columns)
        ended = records["status"] == Status.COMPLETED
        # After a change of the interval no rebuild may reach back into the series before.
        due = shard.interval_ms != self._interval_ms or self._is_due(shard.shard_id, ticks)
        living = records[~ended]
        bound = stepper.bind(records, version, known.bound)
        binding = type(bound.binding)(*(column[~ended] for column in bound.binding))
        sums = aggregate.shard_sums(
            living, binding, len(products), stepper.rules(version), ticks[-1]
        )
        return IterationCommit(
            shard=shard,
            tick=ticks[-1],
            interval_ms=self._interval_ms,
            sums=aggregate.to_json(sums, products),
            fills=fills,
            completed=records[ended],
            checkpoints=records if due else records[ended],
            committed_ms=self._clock.now_ms(),
            worker=self._worker,
        )

    def _is_due(self, shard_id: int, ticks: list[int]) -> bool:
        """Whether the shard's turn of the staggered checkpoints lies in ``ticks``."""
        every = self._checkpoint_every
        return any((tick // self._interval_ms - shard_id) % every == 0 for tick in ticks)

    def _members(self, shard: Shard) -> _Known:
        known = self._known.get(shard.shard_id)
        if known is None or known.version != shard.version:
            if len(self._known) >= CACHED_SHARDS:
                self._known.clear()
            known = _Known(shard.version, self._runs.members(shard.shard_id))
            self._known[shard.shard_id] = known
        return known

    def _keep(self, known: _Known, rows: NDArray[np.bool_]) -> None:
        """Forget members that have ended: they leave without a new version."""
        if not rows.all():
            known.members = known.members.subset(rows)
            known.bound = None

    def _load(self, shard: Shard, known: _Known) -> tuple[Records, int] | None:
        """Active records at the shard's last tick, and how many had to be rebuilt.

        None if another worker has overtaken this one.
        """
        members = known.members
        records, there = self._states.load(members.run_ids)
        ahead = there & (records["tick"] > shard.last_tick)
        if ahead.any():
            if self._has_moved(shard):
                return None
            # The database was set back, to a backup for instance: this future is void.
            log.warning("run_states_ahead", shard_id=shard.shard_id, runs=int(ahead.sum()))
            self._states.discard(members.run_ids[ahead])
        current = (records["tick"] == shard.last_tick) | (records["status"] == Status.COMPLETED)
        lost = ~(there & ~ahead & current)
        if lost.any():
            lost_ids = members.run_ids[lost]
            checkpoints = self._runs.checkpoints(lost_ids, shard.last_tick)
            if self._has_moved(shard):
                return None
            members.subset(np.isin(members.run_ids, checkpoints["run_id"])).apply_controls(
                checkpoints
            )
            stepper = self._steppers[shard.interval_ms]
            records[lost] = restep(checkpoints, lost_ids, shard.last_tick, stepper)
            log.info("run_states_rebuilt", shard_id=shard.shard_id, runs=len(lost_ids))
        active = records["status"] == Status.ACTIVE
        if not active.all():
            records = records[active]
            self._keep(known, active)
        known.members.apply_controls(records)
        return records, int(lost.sum())

    def _has_moved(self, shard: Shard) -> bool:
        now = self._runs.shard(shard.shard_id)
        return now is None or (now.last_tick, now.version) != (shard.last_tick, shard.version)


def _add(a: IterationResult, b: IterationResult) -> IterationResult:
    return IterationResult(
        b.outcome,
        a.ticks + b.ticks,
        b.runs or a.runs,
        a.fills + b.fills,
        a.rebuilt + b.rebuilt,
        b.last_tick or a.last_tick,
    )
