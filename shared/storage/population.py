"""What the population looks like as a whole, for metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import Connection, func, select

from shared.providence.epochs import cross_run_entropy
from shared.storage.tables import epochs, iteration_shards, runs

GENERATIONS: Final = ((0, 0), (1, 3), (4, 9), (10, None))
"""Generations that are counted together, first and last; a label each would never end."""
QUANTILES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
SAMPLED_SHARDS: Final = 40
"""At most twice as many are read: a population of any size costs about the same."""


@dataclass(frozen=True, slots=True)
class PopulationReport:
    """``active``: runs by interpretation and group of generations, 0 included.

    ``mean_growth``: mean live PnL / start balance of the active runs that have traded.
    ``cross_run_entropy``: of the epochs' mean log-growth, 0 to 1. Both NaN while there are too few.
    ``growth``: live PnL / start balance at each of ``QUANTILES``, of a sample; empty without runs.
    """

    active: Mapping[tuple[str, str], int]
    growth: Mapping[float, float]
    mean_growth: float
    cross_run_entropy: float


def report(conn: Connection) -> PopulationReport:
    """The population as of the newest commits."""
    return PopulationReport(
        _active(conn), _growth(conn), _mean_growth(conn), _cross_run_entropy(conn)
    )


def _active(conn: Connection) -> dict[tuple[str, str], int]:
    c = runs.c
    statement = (
        select(c.interpretation, c.generation, func.count())
        .where(c.status == "active")
        .group_by(c.interpretation, c.generation)
    )
    names = c.interpretation.type.enums  # type: ignore[attr-defined]
    found = {(name, _label(*group)): 0 for name in names for group in GENERATIONS}
    for name, generation, count in conn.execute(statement):
        found[name, _group_of(generation)] += int(count)
    return found


def _growth(conn: Connection) -> dict[float, float]:
    """Quantiles over the runs of some shards, spread over all of them."""
    shard_ids = conn.scalars(select(iteration_shards.c.id).order_by(iteration_shards.c.id)).all()
    step = max(1, len(shard_ids) // SAMPLED_SHARDS)
    c = runs.c
    found = conn.execute(
        select(c.live_pnl / c.start_balance).where(
            c.status == "active", c.shard_id.in_(shard_ids[::step])
        )
    )
    values = np.fromiter((row[0] for row in found), dtype=np.float64)
    if len(values) == 0:
        return {}
    return dict(zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True))


def _group_of(generation: int) -> str:
    return next(
        _label(first, last) for first, last in GENERATIONS if last is None or generation <= last
    )


def _label(first: int, last: int | None) -> str:
    if last is None:
        return f"{first}+"
    return str(first) if first == last else f"{first}-{last}"


def _mean_growth(conn: Connection) -> float:
    total, traded = 0.0, 0
    for (sums,) in conn.execute(select(iteration_shards.c.sums)):
        for row in sums.values():
            total += row["current_sum_win"] + row["history_sum_win"]
            total -= row["current_sum_loss"] + row["history_sum_loss"]
            traded += row["current_runs"] + row["history_runs"]
    return total / traded if traded else math.nan


def _cross_run_entropy(conn: Connection) -> float:
    statement = (
        select(epochs.c.mean_log_growth)
        .where(epochs.c.mean_log_growth.is_not(None))
        .order_by(epochs.c.height)
    )
    return cross_run_entropy([float(row[0]) for row in conn.execute(statement)])
