"""The population in numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy import Engine, insert, update

from shared.storage.population import report
from shared.storage.run_store import MariaRunStore
from shared.storage.tables import epochs, iteration_shards, runs
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld

WORLD = RunWorld(length=0)
ZERO = {
    f"{cohort}_{name}": 0
    for cohort in ("current", "history")
    for name in ("runs", "sum_win", "sum_loss")
}


def test_empty_population_has_no_growth_and_no_entropy(engine: Engine) -> None:
    with engine.connect() as conn:
        found = report(conn)
    assert set(found.active.values()) == {0}
    assert len(found.active) == 16
    assert math.isnan(found.mean_growth)
    assert math.isnan(found.cross_run_entropy)


def test_active_runs_are_counted_by_interpretation_and_generations(engine: Engine) -> None:
    store = MariaRunStore(engine.begin, FrozenClock())
    store.create_shards([0], WORLD.start_ms, 1000)
    born = WORLD.newborns(6)
    born["interpretation"] = [0, 0, 0, 1, 3, 3]
    born["generation"] = [0, 3, 4, 10, 9, 0]
    store.spawn(
        born, np.zeros(6, dtype=np.int32), {p: s for s, p in WORLD.product_ids.items()},
        desired=6, tick_ms=WORLD.start_ms, interval_ms=1000, now_ms=1,
    )  # fmt: skip
    with engine.begin() as conn:
        conn.execute(update(runs).where(runs.c.id == 6).values(status="completed"))
        found = report(conn)
    assert {key: n for key, n in found.active.items() if n} == {
        ("direct", "0"): 1,
        ("direct", "1-3"): 1,
        ("direct", "4-9"): 1,
        ("inverse", "10+"): 1,
        ("swing", "4-9"): 1,
    }


def test_growth_is_the_mean_over_all_shards_and_symbols(engine: Engine) -> None:
    store = MariaRunStore(engine.begin, FrozenClock())
    store.create_shards([0, 1, 2], WORLD.start_ms, 1000)
    won = {**ZERO, "current_runs": 2, "current_sum_win": 0.75}
    lost = {**ZERO, "history_runs": 3, "history_sum_win": 0.25, "history_sum_loss": 0.5}
    with engine.begin() as conn:
        for shard_id, sums in ((0, {"1": won, "2": lost}), (1, {"1": lost})):
            conn.execute(
                update(iteration_shards).where(iteration_shards.c.id == shard_id).values(sums=sums)
            )
        assert report(conn).mean_growth == 0.25 / 8


@pytest.mark.parametrize(
    ("growths", "entropy"), [([0.1, 0.2, 0.3, 0.4], 0.0), ([0.1, 0.3, 0.2, None, 0.4], 0.387)]
)
def test_entropy_is_of_the_epochs_in_height_order(
    engine: Engine, growths: list[float | None], entropy: float
) -> None:
    rows = [
        {"height": n + 1, "kind": "take_profit", "effective_tick": n, "run_count": 1,
         "mean_log_growth": growth, "created_ms": n}
        for n, growth in enumerate(growths)
    ]  # fmt: skip
    with engine.begin() as conn:
        conn.execute(insert(epochs), rows[::-1])
        assert report(conn).cross_run_entropy == pytest.approx(entropy, abs=1e-3)
