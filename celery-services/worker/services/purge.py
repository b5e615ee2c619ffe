"""Retires rows that nothing needs any more, and the keys of ended runs.

The rule for ticks is what a rebuild can still ask for, whatever the days say. Every delete is
bounded, so that a purge never holds up the loop; what is left waits for the next. Runs and their
fills are not deleted here: the recorder moves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Delete, Table, delete, func, select

from shared import time_budget
from shared.config import Settings
from shared.market_data.candle import TIMEFRAME_MS
from shared.ports import Clock, RunStateStore
from shared.storage import fill_days
from shared.storage.fill_days import DAY_MS
from shared.storage.tables import (
    balance_history,
    candles,
    funding_rates,
    iteration_shards,
    reconciliation_log,
    runs,
    tick_inputs,
)
from shared.storage.transactions import Transactions

ROWS_PER_DELETE = 5_000
DAYS_AHEAD = 3
HOUR_MS = 3_600_000
HOURS_PER_CALL = 48
RECENTLY_MS = HOUR_MS
"""Keys of runs that ended longer ago were deleted by an earlier purge, or expire by themselves."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept. ``reach_ticks``: how far before a shard's last tick a rebuild may read.

    ``memory_candles``: bars that the MEMORY table is filled with, which stay whatever their age.
    """

    tick_input_ms: int
    reconciliation_log_ms: int
    balance_ms: int
    market_data_ms: int
    reach_ticks: int
    memory_candles: int

    @classmethod
    def of(cls, settings: Settings) -> Retention:
        """What ``config.yml`` says; a checkpoint may be as old as twice its period."""
        kept, providence = settings.purge, settings.providence
        return cls(
            kept.tick_input_days * DAY_MS,
            kept.reconciliation_log_days * DAY_MS,
            kept.balance_days * DAY_MS,
            kept.market_data_days * DAY_MS,
            2 * providence.db_checkpoint_iterations + providence.longest_window,
            settings.market_data.memory_candles,
        )


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """Rows deleted, and runs whose keys in Redis were."""

    ticks: int
    reasons: int
    balances: int
    candles: int
    funding: int
    run_states: int


def make_days(begin: Transactions, clock: Clock) -> None:
    """Keep partitions of the fill journal ready for today and ``DAYS_AHEAD`` - 1 days more."""
    now_ms = clock.now_ms()
    with begin() as conn:
        fill_days.add_days(conn, now_ms - now_ms % DAY_MS + DAYS_AHEAD * DAY_MS)


def purge(
    begin: Transactions, states: RunStateStore, clock: Clock, retention: Retention
) -> PurgeResult:
    """Delete what is older than its retention and no longer needed."""
    now_ms = clock.now_ms()
    reasons = delete(reconciliation_log).where(
        reconciliation_log.c.at_ms < now_ms - retention.reconciliation_log_ms
    )
    return PurgeResult(
        ticks=_purge_ticks(begin, now_ms, retention),
        reasons=_delete_some(begin, reasons),
        balances=_thin_balances(begin, now_ms - retention.balance_ms),
        candles=_purge_candles(begin, now_ms, retention),
        funding=_purge_funding(begin, now_ms - retention.market_data_ms),
        run_states=_purge_run_states(begin, states, now_ms - RECENTLY_MS),
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
        intervals = conn.scalars(select(tick_inputs.c.interval_ms).distinct()).all()
    needed_ms = [s.last_tick - retention.reach_ticks * s.interval_ms for s in shards]
    before_ms = min([now_ms - retention.tick_input_ms, *needed_ms])
    t = tick_inputs.c
    return sum(
        _delete_some(
            begin, delete(tick_inputs).where(t.interval_ms == interval, t.tick_ms < before_ms)
        )
        for interval in intervals
    )


def _thin_balances(begin: Transactions, before_ms: int) -> int:
    """Of each hour the last reading of the account stays."""
    b = balance_history.c
    hour, last = b.venue_ms.op("DIV")(HOUR_MS).label("hour"), func.max(b.id).label("last")
    crowded = (
        select(hour, last)
        .where(b.venue_ms < before_ms - before_ms % HOUR_MS)
        .group_by(hour)
        .having(func.count() > 1)
        .order_by(hour)
        .limit(HOURS_PER_CALL)
    )
    with begin() as conn:
        found = conn.execute(crowded).all()
    deleted = 0
    for row in found:
        within = b.venue_ms.between(row.hour * HOUR_MS, (row.hour + 1) * HOUR_MS - 1)
        deleted += _delete_some(begin, delete(balance_history).where(within, b.id != row.last))
    return deleted


def _purge_candles(begin: Transactions, now_ms: int, retention: Retention) -> int:
    c = candles.c
    deleted = 0
    for symbol, timeframe in _series(begin, candles, c.symbol, c.timeframe):
        in_memory_ms = (retention.memory_candles + 1) * TIMEFRAME_MS[timeframe]
        before_ms = now_ms - max(retention.market_data_ms, in_memory_ms)
        own = (c.symbol == symbol) & (c.timeframe == timeframe)
        deleted += _delete_some(begin, delete(candles).where(own, c.open_ms < before_ms))
    return deleted


def _purge_funding(begin: Transactions, before_ms: int) -> int:
    """The newest point of a symbol stays: its index is what the next one counts on from."""
    f = funding_rates.c
    deleted = 0
    for (symbol,) in _series(begin, funding_rates, f.symbol):
        newest = select(f.time_ms).where(f.symbol == symbol).order_by(f.time_ms.desc()).limit(1)
        with begin() as conn:
            newest_ms = conn.execute(newest).scalar_one()
        own = (f.symbol == symbol) & (f.time_ms < min(before_ms, newest_ms))
        deleted += _delete_some(begin, delete(funding_rates).where(own))
    return deleted


def _series(begin: Transactions, table: Table, *keys: Any) -> list[Any]:
    """The distinct keys of a table."""
    with begin() as conn:
        return list(conn.execute(select(*keys).select_from(table).distinct()).all())


def _purge_run_states(begin: Transactions, states: RunStateStore, since_ms: int) -> int:
    """Keys of runs that ended lately; older ones have expired."""
    with begin() as conn:
        rows = conn.scalars(select(runs.c.id).where(runs.c.completed_tick > since_ms)).all()
    run_ids = np.array(rows, dtype=np.int64)
    for start in range(0, len(run_ids), ROWS_PER_DELETE):
        states.discard(run_ids[start : start + ROWS_PER_DELETE])
    return len(run_ids)


def _delete_some(begin: Transactions, statement: Delete) -> int:
    if time_budget.is_spent():
        return 0
    with begin() as conn:
        return conn.execute(statement.with_dialect_options(mysql_limit=ROWS_PER_DELETE)).rowcount
