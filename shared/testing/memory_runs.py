"""Runs, shards and records in memory, behind the ports that MariaDB and Redis implement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.ports import (
    Clock,
    IterationCommit,
    Members,
    PopulationCount,
    RunIds,
    SentIteration,
    Shard,
    ids,
)
from shared.providence.codes import Reason
from shared.providence.run_state import Records, new_records, pack, unpack
from shared.providence.step import FILL_DTYPE, Fills


@dataclass
class MemoryRun:
    """The row of one run."""

    run_id: int
    shard_id: int
    product_id: int
    active: bool = True
    exit_tick: int = 0
    exit_reason: str | None = None
    height: int = 0
    height_tick: int = 0
    completed_tick: int = 0
    live_pnl: float = 0.0
    checkpoints: dict[int, bytes] = field(default_factory=dict)


class MemoryRunStore:
    """``shared.ports.RunStore`` without a database; safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = RLock()
        self._shards: dict[int, Shard] = {}
        self.sums: dict[int, Mapping[str, Any]] = {}
        self.rows: dict[int, MemoryRun] = {}
        self._fills: list[Fills] = []

    def shard(self, shard_id: int) -> Shard | None:
        """One shard, None if it was never made."""
        return self._shards.get(shard_id)

    def shards(self, shard_ids: Collection[int] | None = None) -> list[Shard]:
        """These shards, as far as they were made, or all; in rising order of id."""
        wanted = self._shards if shard_ids is None else self._shards.keys() & set(shard_ids)
        return [self._shards[shard_id] for shard_id in sorted(wanted)]

    def create_shards(self, shard_ids: Collection[int], tick_ms: int, interval_ms: int) -> None:
        """Make those shards that are missing, empty and stepped up to ``tick_ms``."""
        with self._lock:
            for shard_id in shard_ids:
                shard = Shard(shard_id, tick_ms, interval_ms, 0, self._clock.now_ms())
                self._shards.setdefault(shard_id, shard)

    def members(self, shard_id: int) -> Members:
        """Active runs of a shard."""
        with self._lock:
            rows = [row for row in self._active() if row.shard_id == shard_id]
        return Members(
            ids([row.run_id for row in rows]),
            np.array([row.exit_tick for row in rows], dtype=np.int64),
            np.array([row.height for row in rows], dtype=np.int32),
            np.array([row.height_tick for row in rows], dtype=np.int64),
        )

    def commit_iteration(self, commit: IterationCommit) -> bool:
        """Advance the shard if it still is as ``commit.shard`` says; False: nothing was written."""
        with self._lock:
            shard = self._shards.get(commit.shard.shard_id)
            if shard is None or (shard.last_tick, shard.version) != (
                commit.shard.last_tick,
                commit.shard.version,
            ):
                return False
            self._shards[shard.shard_id] = replace(
                shard,
                last_tick=commit.tick,
                interval_ms=commit.interval_ms,
                committed_ms=commit.committed_ms,
            )
            self.sums[shard.shard_id] = commit.sums
            self._fills.append(commit.fills.copy())
            for record in commit.completed:
                self._complete(self.rows[int(record["run_id"])], record)
            self._checkpoint(commit.checkpoints)
            return True

    def checkpoints(self, run_ids: RunIds, until_tick: int) -> Records:
        """The newest checkpoint of each run at or before ``until_tick``, in rising order of id."""
        chosen = []
        for row in self._known(run_ids):
            ticks = [tick for tick in row.checkpoints if tick <= until_tick]
            if ticks:
                chosen.append(row.checkpoints[max(ticks)])
        return unpack(chosen)

    def births(self, run_ids: RunIds) -> Records:
        """The record each run was born with, in rising order of id."""
        return unpack([row.checkpoints[min(row.checkpoints)] for row in self._known(run_ids)])

    def fills(self, run_ids: RunIds) -> Fills:
        """The journal of these runs, by run and sequence number."""
        journal = np.concatenate([np.empty(0, dtype=FILL_DTYPE), *self._fills])
        own = journal[np.isin(journal["run_id"], run_ids)]
        return own[np.lexsort((own["fill_seq"], own["run_id"]))]

    def count(self) -> PopulationCount:
        """Size of the population."""
        active = self._active()
        return PopulationCount(len(active), sum(not row.exit_tick for row in active))

    def occupancy(self, shard_ids: Collection[int] | None = None) -> dict[int, int]:
        """Active runs of these shards, or of all; shards without any are left out."""
        shards = [row.shard_id for row in self._active()]
        return _tally([s for s in shards if shard_ids is None or s in shard_ids])

    def symbol_counts(self) -> dict[int, int]:
        """Active runs per product id."""
        return _tally([row.product_id for row in self._active()])

    def spawn(
        self,
        newborns: Records,
        shard_ids: NDArray[np.int32],
        symbols: Mapping[int, str],
        *,
        desired: int,
        tick_ms: int,
        interval_ms: int,
        now_ms: int,
    ) -> Records:
        """Give birth to at most as many as keep the population at ``desired``; those born."""
        with self._lock:
            room = max(desired - len(self._active()), 0)
            born, places = newborns[:room].copy(), shard_ids[:room].tolist()
            for shard_id in set(places) - set(self.occupancy()):
                shard = self._shards[shard_id]
                if shard.last_tick < tick_ms:
                    self._shards[shard_id] = replace(
                        shard, last_tick=tick_ms, interval_ms=interval_ms
                    )
            first = max(self.rows, default=0) + 1
            born["run_id"] = np.arange(first, first + len(born))
            born["tick"] = born["spawn_tick"] = [self._shards[s].last_tick for s in places]
            for record, shard_id in zip(born, places, strict=True):
                run_id, product_id = int(record["run_id"]), int(record["product_id"])
                if product_id not in symbols:
                    raise KeyError(product_id)
                self.rows[run_id] = MemoryRun(run_id, shard_id, product_id)
            self._checkpoint(born)
            self._bump(places)
            return born

    def request_exits(self, run_ids: Collection[int] | None, reason: str) -> RunIds:
        """Ask active runs to exit from a named tick on, all of them for None."""
        with self._lock:
            wanted = [
                row
                for row in self._active()
                if not row.exit_tick and (run_ids is None or row.run_id in run_ids)
            ]
            concerned = (
                list(self._shards)
                if run_ids is None
                else [self.rows[r].shard_id for r in run_ids if r in self.rows]
            )
            if wanted:
                shards = [self._shards[shard_id] for shard_id in concerned]
                tick = max(shard.last_tick + shard.interval_ms for shard in shards)
                for row in wanted:
                    row.exit_tick, row.exit_reason = tick, reason
                self._bump(concerned)
            return ids([row.run_id for row in wanted])

    def shrink(self, desired: int, limit: int, reason: str) -> RunIds:
        """Ask at most ``limit`` runs, the worst first, to exit so that ``desired`` stay."""
        with self._lock:
            staying = [row for row in self._active() if not row.exit_tick]
            staying.sort(key=lambda row: (row.live_pnl, -row.run_id))
            excess = max(min(len(staying) - desired, limit), 0)
            if not excess:
                return ids([])
            return self.request_exits([row.run_id for row in staying[:excess]], reason)

    def _active(self) -> list[MemoryRun]:
        return [self.rows[run_id] for run_id in sorted(self.rows) if self.rows[run_id].active]

    def _known(self, run_ids: RunIds) -> list[MemoryRun]:
        return [self.rows[r] for r in sorted(run_ids.tolist()) if r in self.rows]

    def _bump(self, shard_ids: Collection[int]) -> None:
        for shard_id in set(shard_ids):
            shard = self._shards[shard_id]
            self._shards[shard_id] = replace(shard, version=shard.version + 1)

    def _checkpoint(self, records: Records) -> None:
        for record, blob in zip(records, pack(records), strict=True):
            row = self.rows[int(record["run_id"])]
            birth = dict(sorted(row.checkpoints.items())[:1])
            row.checkpoints = {**birth, int(record["tick"]): blob}
            row.live_pnl = float(record["live_pnl"])

    @staticmethod
    def _complete(row: MemoryRun, record: np.void) -> None:
        row.active, row.completed_tick = False, int(record["tick"])
        if record["exit_reason"] != Reason.SIGNAL or row.exit_reason is None:
            row.exit_reason = Reason(int(record["exit_reason"])).name.lower()


class MemoryRunStateStore:
    """``shared.ports.RunStateStore`` without Redis."""

    def __init__(self) -> None:
        self.blobs: dict[int, bytes] = {}
        self.completed: set[int] = set()
        self.exits: dict[int, str] = {}

    def load(self, run_ids: RunIds) -> tuple[Records, NDArray[np.bool_]]:
        """Records in the order asked, and which of them are there."""
        there = np.array([run_id in self.blobs for run_id in run_ids.tolist()], dtype=np.bool_)
        records = new_records(len(run_ids))
        if there.any():
            records[there] = unpack([self.blobs[run_id] for run_id in run_ids[there].tolist()])
        return records, there

    def save(self, records: Records) -> int:
        """Write each record that is newer than the stored one; returns how many were."""
        written = 0
        for run_id, blob in zip(records["run_id"].tolist(), pack(records), strict=True):
            if self.blobs.get(run_id, b"")[:8] < blob[:8]:
                self.blobs[run_id] = blob
                written += 1
        return written

    def discard(self, run_ids: RunIds) -> None:
        """Forget these records."""
        for run_id in run_ids.tolist():
            self.blobs.pop(run_id, None)

    def notify_completed(self, records: Records) -> None:
        """Remember that these runs have completed."""
        self.completed |= set(records["run_id"].tolist())

    def notify_exit(self, run_ids: RunIds, reason: str) -> None:
        """Remember that these runs were asked to exit."""
        self.exits |= dict.fromkeys(run_ids.tolist(), reason)


class MemorySentIterations:
    """``shared.ports.SentIterations`` without Redis."""

    def __init__(self) -> None:
        self.sent: dict[int, SentIteration] = {}

    def read(self) -> dict[int, SentIteration]:
        """The last iteration sent per shard."""
        return dict(self.sent)

    def record(self, shard_ids: Collection[int], sent: SentIteration) -> None:
        """Remember that ``sent`` went out for these shards."""
        self.sent |= dict.fromkeys(shard_ids, sent)

    def forget(self, shard_ids: Sequence[int]) -> None:
        """What went out for these shards has failed: another may be sent at once."""
        for shard_id in shard_ids:
            self.sent.pop(shard_id, None)


def _tally(values: list[int]) -> dict[int, int]:
    return {value: values.count(value) for value in set(values)}
