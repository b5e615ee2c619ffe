"""The journal of all runs in MariaDB: ``shared.ports.RunStore``, one transaction per call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from shared.database import retry_deadlocks
from shared.ports import Clock, IterationCommit, Members, PopulationCount, RunIds, Shard
from shared.providence.run_state import Records
from shared.providence.step import Fills
from shared.storage import checkpoints, cohorts, fills, runs, shards
from shared.storage.transactions import Transactions

T = TypeVar("T")


class _FencedError(Exception):
    """Another commit moved the shard; rolls the transaction back."""


class MariaRunStore:
    """Runs, shards, fills and checkpoints in MariaDB."""

    def __init__(self, begin: Transactions, clock: Clock) -> None:
        self._begin = begin
        self._clock = clock

    def shard(self, shard_id: int) -> Shard | None:
        """One shard, None if it was never made."""
        return self._read(lambda conn: shards.get(conn, shard_id))

    def shards(self, shard_ids: Collection[int] | None = None) -> list[Shard]:
        """These shards, as far as they were made, or all; in rising order of id."""
        return self._read(lambda conn: shards.get_all(conn, shard_ids))

    def create_shards(self, shard_ids: Collection[int], tick_ms: int, interval_ms: int) -> None:
        """Make those shards that are missing, empty and stepped up to ``tick_ms``."""
        now_ms = self._clock.now_ms()
        self._write(lambda conn: shards.create(conn, shard_ids, tick_ms, interval_ms, now_ms))

    def members(self, shard_id: int) -> Members:
        """Active runs of a shard."""
        return self._read(lambda conn: runs.members(conn, shard_id))

    def commit_iteration(self, commit: IterationCommit) -> bool:
        """Advance the shard if it still is as ``commit.shard`` says; False: nothing was written.

        Repeating it after a lost connection is safe: what did commit fences the repetition.
        """

        def work(conn: Connection) -> None:
            if not shards.advance(conn, commit):
                raise _FencedError
            fills.insert(conn, commit.fills)
            runs.complete(conn, commit.completed)
            runs.refresh(conn, commit.checkpoints)
            checkpoints.replace(conn, commit.checkpoints)
            # Last: other shards wait for the rows it locks.
            cohorts.add(conn, commit.completed)

        try:
            self._read(work)
        except _FencedError:
            return False
        return True

    def checkpoints(self, run_ids: RunIds, until_tick: int) -> Records:
        """The newest checkpoint of each run at or before ``until_tick``, in rising order of id."""
        return self._read(lambda conn: checkpoints.newest(conn, run_ids, until_tick))

    def births(self, run_ids: RunIds) -> Records:
        """The record each run was born with, in rising order of id."""
        return self._read(lambda conn: checkpoints.births(conn, run_ids))

    def fills(self, run_ids: RunIds) -> Fills:
        """The journal of these runs, by run and sequence number."""
        return self._read(lambda conn: fills.of_runs(conn, run_ids))

    def count(self) -> PopulationCount:
        """Size of the population."""
        return self._read(runs.count)

    def occupancy(self, shard_ids: Collection[int] | None = None) -> dict[int, int]:
        """Active runs of these shards, or of all; shards without any are left out."""
        return self._read(lambda conn: runs.occupancy(conn, shard_ids))

    def symbol_counts(self) -> dict[int, int]:
        """Active runs per product id."""
        return self._read(runs.symbol_counts)

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

        def work(conn: Connection) -> Records:
            every = shards.get_all(conn)
            concerned = {every[0].shard_id, *np.unique(shard_ids).tolist()} if every else set()
            locked = {shard.shard_id: shard for shard in shards.lock(conn, concerned)}
            room = max(desired - runs.count_active(conn), 0)
            born, places = newborns[:room].copy(), shard_ids[:room]
            if not len(born):
                return born
            used = set(np.unique(places).tolist())
            empty = used - set(runs.occupancy(conn, used))
            shards.move_on(conn, empty, tick_ms, interval_ms)
            first = runs.next_id(conn)
            born["run_id"] = np.arange(first, first + len(born))
            ticks = {
                s: max(locked[s].last_tick, tick_ms) if s in empty else locked[s].last_tick
                for s in used
            }
            born["tick"] = born["spawn_tick"] = [ticks[s] for s in places.tolist()]
            runs.add(conn, born, places, symbols, now_ms)
            checkpoints.insert(conn, born)
            shards.bump(conn, used)
            return born

        return self._write(work)

    def request_exits(self, run_ids: Collection[int] | None, reason: str) -> RunIds:
        """Ask active runs to exit from a named tick on, all of them for None."""
        return self._write(lambda conn: runs.ask_to_exit(conn, run_ids, reason))

    def shrink(self, desired: int, limit: int, reason: str) -> RunIds:
        """Ask at most ``limit`` runs, the worst first, to exit so that ``desired`` stay."""

        def work(conn: Connection) -> RunIds:
            locked = shards.lock(conn)
            excess = min(runs.count(conn).staying - desired, limit)
            if excess <= 0 or not locked:
                return np.zeros(0, dtype=np.int64)
            return runs.ask_to_exit(conn, runs.worst(conn, excess), reason)

        return self._write(work)

    def _write(self, work: Callable[[Connection], T]) -> T:
        """One transaction, again after a deadlock."""

        def attempt() -> T:
            with self._begin() as conn:
                return work(conn)

        return retry_deadlocks(attempt)

    def _read(self, work: Callable[[Connection], T]) -> T:
        """The same, and once more after a lost connection: for what is safe to repeat."""
        try:
            return self._write(work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return self._write(work)
