"""Blocks of ticks over several shards give the bits of one step per shard and tick."""

from __future__ import annotations

import numpy as np
import pytest

from shared.providence import aggregate
from shared.providence.codes import Status
from shared.providence.market import MarketSeries
from shared.providence.run_state import Records, new_records
from shared.providence.shards import Bounds, step_block
from shared.providence.step import Binding, Grid, bind, step
from shared.tests.providence.samples import (
    INTERVAL_MS,
    make_population,
    make_rules,
    make_samples,
    make_space,
    random_walk,
)

SPACE = make_space(max_duration_secs=(600.0, 4_000.0))
GRID = Grid.of(SPACE)
RULES = make_rules(live_pnl_threshold=-5.0)
SYMBOLS = 3
WARM, TICKS, RUNS = 120, 300, 90
COLUMNS = {column + 1: column for column in range(SYMBOLS)}


def _block(first: int, last: int):
    rng = np.random.default_rng(4)
    price = random_walk(rng, WARM + TICKS, SYMBOLS)
    ok = rng.random(price.shape) > 0.01
    ok[:WARM] = True
    samples = make_samples(price, ok=ok)
    series = MarketSeries(GRID, SYMBOLS, INTERVAL_MS)
    whole = series.push_block(samples)
    return type(whole)(*(part[first:last] for part in whole))


def _newborns() -> Records:
    warm = _block(0, WARM)
    seen = [warm.at(t) for t in range(WARM)]
    return make_population(np.random.default_rng(6), RUNS, SPACE, seen)


def _pool(records: Records) -> tuple[Records, Bounds, Binding]:
    """Three shards with unused rows between them."""
    pool = new_records(120)
    starts = np.array([0, 40, 80])
    for k, start in enumerate(starts):
        pool[start : start + 30] = records[30 * k : 30 * (k + 1)]
    bounds = Bounds(starts, starts + 30)
    used = np.concatenate([np.arange(s, s + 30) for s in starts])
    part = bind(records, GRID, COLUMNS)
    rows = []
    for own in part:
        whole = np.zeros(len(pool), dtype=np.int32)
        whole[used] = own
        rows.append(whole)
    return pool, bounds, Binding(*rows)


def test_block_gives_the_bits_of_single_steps_and_of_merged_shard_sums() -> None:
    block = _block(WARM, WARM + TICKS)
    expected = _newborns()
    shards = [expected[30 * k : 30 * (k + 1)] for k in range(3)]
    bindings = [bind(shard, GRID, COLUMNS) for shard in shards]
    journal, sums = [], []
    for t in range(TICKS):
        market, merged = block.at(t), []
        for shard, binding in zip(shards, bindings, strict=True):
            journal.append(step(shard, binding, market, RULES))
            merged.append(aggregate.shard_sums(shard, binding, SYMBOLS, RULES, market.tick_ms))
        if t % 7 == 3:
            sums.append(aggregate.merge(merged))
    pool, bounds, binding = _pool(_newborns())
    due = np.arange(TICKS) % 7 == 3
    fills, got = step_block(pool, bounds, binding, block, RULES, due)
    stepped = np.concatenate([pool[s : s + 30] for s in bounds.starts])
    assert stepped.tobytes() == expected.astype(stepped.dtype).tobytes()
    flat = np.concatenate(journal)
    order = np.lexsort((flat["run_id"], flat["tick"]))
    mine = np.lexsort((fills["run_id"], fills["tick"]))
    assert len(flat) > 500
    assert fills[mine].tobytes() == flat[order].tobytes()
    assert got.tobytes() == np.stack(sums).tobytes()
    assert 0 < (expected["status"] == Status.COMPLETED).sum() < RUNS


def test_unused_rows_are_left_alone() -> None:
    pool, bounds, binding = _pool(_newborns())
    before = pool.copy()
    step_block(pool, bounds, binding, _block(WARM, WARM + 5), RULES, np.zeros(5, dtype=bool))
    assert pool[30:40].tobytes() == before[30:40].tobytes()
    assert pool[:30].tobytes() != before[:30].tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"due": np.zeros(4, dtype=bool)}, "due flags"),
        ({"bounds": Bounds(np.array([0]), np.array([999]))}, "reach row 999"),
        ({"fills": np.empty(3, dtype="i8")}, "room for 3 fills"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    pool, bounds, binding = _pool(_newborns())
    arguments: dict[str, object] = {
        "records": pool,
        "bounds": bounds,
        "binding": binding,
        "block": _block(WARM, WARM + 5),
        "rules": RULES,
        "due": np.zeros(5, dtype=bool),
    }
    with pytest.raises(ValueError, match=message):
        step_block(**(arguments | change))  # type: ignore[arg-type]
