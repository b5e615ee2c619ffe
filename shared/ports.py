"""What the use cases need from the outside, as protocols, and the values that cross the border.

`shared.storage` and `shared.testing` implement these; one contract suite runs against both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.providence.run_state import Records

if TYPE_CHECKING:  # it loads the compiler, which most services never need
    from shared.providence.step import Fills

RunIds = NDArray[np.int64]


class Clock(Protocol):
    """Wall time, and waiting for it; tests freeze it."""

    def now_ms(self) -> int:
        """UTC in ms."""

    def sleep(self, secs: float) -> None:
        """Wait ``secs`` >= 0 seconds."""


@dataclass(frozen=True, slots=True)
class Shard:
    """How far a fixed group of runs has been stepped.

    ``last_tick`` (ms) belongs to the sample series of ``interval_ms``; ``version`` grows with every
    change of the members or of what is asked of them.
    """

    shard_id: int
    last_tick: int
    interval_ms: int
    version: int
    committed_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Active runs of a shard in rising order of id, and the controls asked of them (n each)."""

    run_ids: RunIds
    exit_tick: NDArray[np.int64]
    """ms, 0: no exit asked."""
    height: NDArray[np.int32]
    """Epoch, 0: none."""
    height_tick: NDArray[np.int64]
    """ms, 0 without a height."""

    def apply_controls(self, records: Records) -> None:
        """Write what is asked of each run into its record; each names the tick it counts from."""
        records["exit_at_tick"] = self.exit_tick
        records["height"] = self.height
        records["height_at_tick"] = self.height_tick

    def subset(self, rows: NDArray[Any]) -> Members:
        """The members at ``rows`` (indices or mask)."""
        return Members(
            self.run_ids[rows], self.exit_tick[rows], self.height[rows], self.height_tick[rows]
        )


@dataclass(frozen=True, slots=True, eq=False)
class IterationCommit:
    """Everything one iteration of a shard makes true, or nothing of it.

    ``fills`` are those of all ticks in (``base_tick``, ``tick``]; ``completed`` and ``checkpoints``
    are records as of ``tick`` (a run that ended keeps the tick it ended at).
    """

    shard: Shard
    tick: int
    interval_ms: int
    sums: Mapping[str, Any]
    fills: Fills
    completed: Records
    checkpoints: Records
    committed_ms: int
    worker: str


@dataclass(frozen=True, slots=True)
class PopulationCount:
    """How many runs are active, and how many of those were not asked to exit."""

    active: int
    staying: int


class RunStore(Protocol):
    """The truth about runs: shards, members, journal and checkpoints (MariaDB).

    Every method is one transaction: what it says has happened in whole, or not at all.
    """

    def shard(self, shard_id: int) -> Shard | None:
        """One shard, None if it was never made."""

    def shards(self, shard_ids: Collection[int] | None = None) -> list[Shard]:
        """These shards, as far as they were made, or all; in rising order of id."""

    def create_shards(self, shard_ids: Collection[int], tick_ms: int, interval_ms: int) -> None:
        """Make those shards that are missing, empty and stepped up to ``tick_ms``."""

    def members(self, shard_id: int) -> Members:
        """Active runs of a shard."""

    def commit_iteration(self, commit: IterationCommit) -> bool:
        """Advance the shard if it still is as ``commit.shard`` says.

        False, and nothing written, when another commit moved its tick or its version.
        """

    def checkpoints(self, run_ids: RunIds, until_tick: int) -> Records:
        """The newest checkpoint of each run at or before ``until_tick``, in rising order of id.

        Runs without one are left out. Raises ``StateLayoutError`` for a record nothing can read.
        """

    def births(self, run_ids: RunIds) -> Records:
        """The record each run was born with, in rising order of id."""

    def fills(self, run_ids: RunIds) -> Fills:
        """The journal of these runs, by run and sequence number."""

    def count(self) -> PopulationCount:
        """Size of the population."""

    def occupancy(self, shard_ids: Collection[int] | None = None) -> dict[int, int]:
        """Active runs of these shards, or of all; shards without any are left out."""

    def symbol_counts(self) -> dict[int, int]:
        """Active runs per product id."""

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
        """Give birth to ``newborns`` in the shards named beside them; ids and ticks are given here.

        No more are born than keep the population at ``desired``. A run is born at its shard's last
        tick; a shard without active runs first moves on to ``tick_ms`` of the series of
        ``interval_ms``. Returns those born.
        """

    def request_exits(self, run_ids: Collection[int] | None, reason: str) -> RunIds:
        """Ask active runs to exit from a named tick on, all of them for None.

        A run that was asked before keeps its tick and reason. Returns the ids that were asked now.
        """

    def shrink(self, desired: int, limit: int, reason: str) -> RunIds:
        """Ask at most ``limit`` runs to exit so that no more than ``desired`` stay.

        The worst go first: lowest ``live_pnl``, among equals the youngest. Returns their ids.
        """


class RunStateStore(Protocol):
    """Records of runs by id (Redis): a cache that may lose anything at any time."""

    def load(self, run_ids: RunIds) -> tuple[Records, NDArray[np.bool_]]:
        """Records in the order asked, and which of them are there and readable.

        Rows that are not are undefined.
        """

    def save(self, records: Records) -> int:
        """Write each record that is newer than the stored one; returns how many were."""

    def discard(self, run_ids: RunIds) -> None:
        """Forget these records."""

    def notify_completed(self, records: Records) -> None:
        """Leave a notification for each of these completed runs."""

    def notify_exit(self, run_ids: RunIds, reason: str) -> None:
        """Leave a notification for each run that was asked to exit."""


@dataclass(frozen=True, slots=True)
class SentIteration:
    """The tick of the iteration that was sent last for a shard, and when (UTC ms)."""

    tick_ms: int
    sent_ms: int


class SentIterations(Protocol):
    """What the scheduler has put on the queue (Redis); lost with the queue itself."""

    def read(self) -> dict[int, SentIteration]:
        """The last one sent per shard."""

    def record(self, shard_ids: Sequence[int], sent: SentIteration) -> None:
        """Remember that ``sent`` went out for these shards."""

    def forget(self, shard_ids: Sequence[int]) -> None:
        """What went out for these shards has failed: another may be sent at once."""


class IterationSender(Protocol):
    """Puts one task with the iterations of these shards on the queue (at least once delivery)."""

    def __call__(self, shard_ids: Sequence[int], tick_ms: int, *, expires_secs: float) -> None: ...


def ids(values: Sequence[int] | Collection[int]) -> RunIds:
    """Run ids as an array."""
    return np.fromiter(values, dtype=np.int64, count=len(values))
