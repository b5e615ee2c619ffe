"""What each run asks for on one symbol: its weighted direction, as the shard sums add it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from shared.database import UnitOfWork
from shared.ports import Clock, RunStateStore, RunStore
from shared.providence.aggregate import shard_sums
from shared.providence.rules import Rules
from shared.providence.run_state import Records, join
from shared.providence.step import Binding
from shared.storage.tables import runs

Weights = tuple[NDArray[np.int64], NDArray[np.float64]]


class RunWeights(Protocol):
    """Weighted directions by run."""

    def of_symbol(self, symbol: str) -> Weights:
        """Ids (rising) of the symbol's active runs and w·d of each; 0: it asks for nothing."""


@dataclass(frozen=True, slots=True)
class StoredRunWeights:
    """From the records of the runs: those in Redis, and the last checkpoint where one is lost."""

    engine: Engine
    states: RunStateStore
    runs: RunStore
    rules: Rules
    clock: Clock

    def of_symbol(self, symbol: str) -> Weights:
        """See ``RunWeights``."""
        with UnitOfWork(self.engine) as uow:
            active = (
                select(runs.c.id)
                .where(runs.c.status == "active", runs.c.symbol == symbol)
                .order_by(runs.c.id)
            )
            ids = np.array(uow.conn.execute(active).scalars().all(), dtype=np.int64)
        records = self._records(ids)
        return records["run_id"].astype(np.int64), weighted_directions(records, self.rules)

    def _records(self, ids: NDArray[np.int64]) -> Records:
        found, there = self.states.load(ids)
        if there.all():
            return found
        kept = self.runs.checkpoints(ids[~there], self.clock.now_ms())
        records = join([found[there], kept])
        return records[np.argsort(records["run_id"], kind="stable")]


def weighted_directions(records: Records, rules: Rules) -> NDArray[np.float64]:
    """w·d of each run, by the kernel that adds up the shard sums; 0 for those that do not count."""
    count = len(records)
    own_column = np.arange(count, dtype=np.int32)
    sums = shard_sums(records, Binding(own_column, own_column, own_column), count, rules)
    weights: NDArray[np.float64] = sums["weighted_direction"].copy()
    return weights
