"""Retires what nothing needs any more: old ticks, checkpoints and reasons, keys of ended runs.

The rule for ticks and checkpoints is what a rebuild can still ask for, whatever the days say. Every
delete is bounded, so that a purge never holds up the loop; what is left waits for the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Delete, delete, select
from sqlalchemy.sql.elements import ColumnElement

from shared.config import Settings
from shared.ports import Clock, RunStateStore
from shared.storage.fill_days import DAY_MS
from shared.storage.tables import (
    iteration_shards,
    reconciliation_log,
    run_checkpoints,
    runs,
    tick_inputs,
)
from shared.storage.transactions import Transactions

ROWS_PER_DELETE = 5_000


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept. ``reach_ticks``: how far before a shard's last tick a rebuild may read."""

    tick_input_ms: int
    run_fill_ms: int
    reconciliation_log_ms: int
    reach_ticks: int

    @classmethod
    def of(cls, settings: Settings) -> Retention:
        """What ``config.yml`` says; a checkpoint may be as old as twice its period."""
        purge, providence = settings.purge, settings.providence
        return cls(
            purge.tick_input_days * DAY_MS,
            purge.run_fill_days * DAY_MS,
            purge.reconciliation_log_days * DAY_MS,
            2 * providence.db_checkpoint_iterations + providence.longest_window,
        )


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """Rows deleted, and runs whose keys in Redis were."""

    ticks: int
    checkpoints: int
    reasons: int
    run_states: int


def purge(
    begin: Transactions, states: RunStateStore, clock: Clock, retention: Retention
) -> PurgeResult:
    """Delete what is older than its retention and no longer needed."""
    now_ms = clock.now_ms()
    return PurgeResult(
        ticks=_purge_ticks(begin, now_ms, retention),
        checkpoints=_purge_checkpoints(begin, now_ms - retention.run_fill_ms),
        reasons=_delete_some(
            begin,
            delete(reconciliation_log).where(
                reconciliation_log.c.at_ms < now_ms - retention.reconciliation_log_ms
            ),
        ),
        run_states=_purge_run_states(begin, states, now_ms),
    )


def _purge_ticks(begin: Transactions, now_ms: int, retention: Retention) -> int:
    """A shard that stands still keeps the ticks from which its runs would be rebuilt."""
    with begin() as conn:
        shards = conn.execute(
            select(iteration_shards.c.last_tick, iteration_shards.c.interval_ms).where(
                select(runs.c.id)
                .where(runs.c.shard_id == iteration_shards.c.id, runs.c.status == "active")
                .exists()
            )
        ).all()
    needed_ms = [s.last_tick - retention.reach_ticks * s.interval_ms for s in shards]
    before_ms = min([now_ms - retention.tick_input_ms, *needed_ms])
    return _delete_some(begin, delete(tick_inputs).where(tick_inputs.c.tick_ms < before_ms))


def _purge_checkpoints(begin: Transactions, before_ms: int) -> int:
    """Checkpoints of runs that ended long ago; their last state stays in ``runs.run_state``."""
    ended: ColumnElement[bool] = run_checkpoints.c.run_id.in_(
        select(runs.c.id).where(runs.c.status == "completed", runs.c.completed_tick < before_ms)
    )
    return _delete_some(begin, delete(run_checkpoints).where(ended))


def _purge_run_states(begin: Transactions, states: RunStateStore, now_ms: int) -> int:
    """Keys of runs that ended within their time to live; older ones have expired."""
    with begin() as conn:
        rows = conn.execute(
            select(runs.c.id).where(
                runs.c.status == "completed", runs.c.completed_tick > now_ms - DAY_MS
            )
        ).all()
    run_ids = np.array([row.id for row in rows], dtype=np.int64)
    for start in range(0, len(run_ids), ROWS_PER_DELETE):
        states.discard(run_ids[start : start + ROWS_PER_DELETE])
    return len(run_ids)


def _delete_some(begin: Transactions, statement: Delete) -> int:
    with begin() as conn:
        return conn.execute(statement.with_dialect_options(mysql_limit=ROWS_PER_DELETE)).rowcount
