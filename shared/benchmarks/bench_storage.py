"""How fast the database grows."""

from __future__ import annotations

from typing import Final

import numpy as np
from sqlalchemy import text

from shared.benchmarks.figure import Figure
from shared.benchmarks.live_platform import LivePlatform, live_platform, settle
from shared.ports import RunIds
from shared.providence.step import FILL_DTYPE, Fills
from shared.storage import fills
from shared.testing.run_world import RunWorld

RUNS: Final = 10_000
SHARD_SIZE: Final = 500
TICKS: Final = 3_000
TICKS_PER_DAY: Final = 86_400 // 5
FILL_SHARE: Final = 0.01
_ANALYZE: Final = text("ANALYZE TABLE runs, run_checkpoints, run_fills")
_SIZES: Final = text(
    """
    SELECT table_name, data_length + index_length FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name IN ('runs', 'run_checkpoints', 'run_fills')
    """
)


def db_bytes_per_run_day() -> Figure:
    """The journal's growth when 1 % of the runs trade per tick of 5 s, and the run itself.

    A run's row and its checkpoint of birth are there once, however long it lives: they are counted
    for a life of one day. Ticks are shared by all runs and left out.
    """
    world = RunWorld(length=1, warm=200, interval_ms=5_000, gaps=False)
    with live_platform() as platform:
        born = settle(platform, world, RUNS, SHARD_SIZE)
        sizes = _sizes(platform)
        run_bytes = (sizes["runs"] + sizes["run_checkpoints"]) / RUNS
        rng = np.random.default_rng(1)
        sequence = np.zeros(RUNS, dtype=np.int32)
        for tick in range(1, TICKS + 1):
            tick_ms = world.start_ms + world.interval_ms * tick
            with platform.engine.begin() as conn:
                fills.insert(conn, _journal(rng, born["run_id"], sequence, tick_ms))
        fill_bytes = (_sizes(platform)["run_fills"] - sizes["run_fills"]) / int(sequence.sum())
    per_day = fill_bytes * FILL_SHARE * TICKS_PER_DAY
    return Figure("db_bytes_per_run_day", per_day + run_bytes, "B", better="lower")


def _journal(
    rng: np.random.Generator, run_ids: RunIds, sequence: np.ndarray, tick_ms: int
) -> Fills:
    """Fills of 1 % of the runs; ``sequence`` (their last numbers) moves on."""
    rows = np.sort(rng.choice(len(run_ids), round(len(run_ids) * FILL_SHARE), replace=False))
    sequence[rows] += 1
    journal = np.zeros(len(rows), dtype=FILL_DTYPE)
    journal["run_id"], journal["fill_seq"] = run_ids[rows], sequence[rows]
    journal["tick"], journal["product_id"] = tick_ms, 1
    for name in ("size", "price", "fee", "funding_index"):
        journal[name] = rng.normal(size=len(rows))
    return journal


def _sizes(platform: LivePlatform) -> dict[str, int]:
    with platform.engine.connect() as conn:
        conn.execute(_ANALYZE).all()
        return {name: int(size) for name, size in conn.execute(_SIZES)}
