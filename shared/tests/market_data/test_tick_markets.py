"""Frames are the same bits however they came about."""

from __future__ import annotations

import numpy as np
import pytest

from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_markets import Frame, TickMarkets
from shared.providence.step import Grid
from shared.testing.run_world import RULES, RunWorld, space

GRID = Grid.of(space())


class CountingRows:
    """The world's rows, and how many were asked for."""

    def __init__(self, world: RunWorld) -> None:
        self.world = world
        self.read = 0

    def rows(self, interval_ms: int, from_ms: int, to_ms: int):
        found = self.world.rows(interval_ms, from_ms, to_ms)
        self.read += len(found)
        return found

    def next_tick(self, interval_ms: int, after_ms: int):
        return self.world.next_tick(interval_ms, after_ms)


def bits(frames: list[Frame]) -> list[tuple]:
    return [
        (f.market.tick_ms, f.config_version, *(np.asarray(a).tobytes() for a in f.market[1:]))
        for f in frames
    ]


@pytest.fixture(scope="module")
def world() -> RunWorld:
    return RunWorld()


@pytest.fixture(scope="module")
def whole(world: RunWorld) -> list[tuple]:
    return bits(TickMarkets(world, 1000, GRID, keep=1000).between(world.start_ms, world.ticks[-1]))


def test_every_stored_tick_has_a_frame(world, whole):
    assert [frame[0] for frame in whole] == world.ticks
    assert len(world.ticks) < world.length


def test_tick_by_tick_equals_all_at_once(world, whole):
    markets = TickMarkets(world, 1000, GRID)
    one_by_one = []
    last = world.start_ms
    for tick in world.ticks:
        one_by_one += bits(markets.between(last, tick))
        last = tick
    assert one_by_one == whole


@pytest.mark.parametrize("keep", [1, 7, 50])
def test_ticks_no_longer_kept_are_computed_again(world, whole, keep):
    markets = TickMarkets(world, 1000, GRID, keep=keep)
    markets.between(world.ticks[-2], world.ticks[-1])
    for start in (0, 3, 60, 100):
        frames = markets.between(world.ticks[start], world.ticks[start + 10])
        assert bits(frames) == whole[start + 1 : start + 11]
    assert bits(markets.between(world.ticks[-3], world.ticks[-1])) == whole[-2:]


def test_new_tick_reads_one_row(world):
    rows = CountingRows(world)
    markets = TickMarkets(rows, 1000, GRID)
    markets.between(world.ticks[4], world.ticks[5])
    rows.read = 0
    for place in range(6, 30):
        markets.between(world.ticks[place - 1], world.ticks[place])
    assert rows.read == 24
    assert len(markets.between(world.ticks[10], world.ticks[29])) == 19
    assert rows.read == 24


def test_long_hole_starts_afresh(world):
    holed = RunWorld()
    holed.rows_ = [
        row for row in holed.rows_ if not 30 < (row.tick_ms - holed.start_ms) / 1000 < 90
    ]
    markets = TickMarkets(holed, 1000, GRID)
    before = markets.between(holed.start_ms, holed.start_ms + 30_000)
    after = markets.between(holed.start_ms + 30_000, holed.ticks[-1])
    afresh = TickMarkets(holed, 1000, GRID).between(holed.start_ms, holed.ticks[-1])
    assert bits(before + after) == bits(afresh)
    assert all(np.isnan(f.market.entropy).all() for f in after[:10])


def test_missing_row_holds_every_symbol(world):
    frames = TickMarkets(world, 1000, GRID).between(world.start_ms, world.ticks[-1])
    missing = {row.tick_ms for row in world.rows_ if row.source == "missing"}
    assert missing
    for frame in frames:
        if frame.market.tick_ms in missing:
            assert not frame.market.ok.any()
            assert np.isnan(frame.market.entropy).all()


def test_needs_beyond_the_grid_join_at_its_end(world):
    markets = TickMarkets(world, 1000, GRID)
    plain = markets.between(world.start_ms, world.ticks[20])
    generation = markets.generation
    markets.require({(3, 2, 20)}, {5, 3})
    assert markets.generation > generation
    assert markets.grid.cells == (*GRID.cells, (3, 2, 20))
    assert markets.grid.lookbacks == (*GRID.lookbacks, 5)
    more = markets.between(world.start_ms, world.ticks[20])
    for old, new in zip(plain, more, strict=True):
        assert new.market.entropy[:-1].tobytes() == old.market.entropy.tobytes()
        assert new.market.past[:-1].tobytes() == old.market.past.tobytes()
    generation = markets.generation
    markets.require({(3, 2, 20)}, {5})
    assert markets.generation == generation


def test_product_without_samples_gets_a_column(world):
    markets = TickMarkets(world, 1000, GRID)
    (frame,) = markets.between(world.ticks[0], world.ticks[1], products=[9])
    assert markets.product_columns == {1: 0, 2: 1, 3: 2, 9: 3}
    assert not frame.market.ok[3]


def test_configuration_survives_its_json():
    config = TickConfig(1000, ("BTC", "ETH"), RULES)
    assert TickConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="lacks rules"):
        TickConfig.from_json({"interval_ms": 1000, "symbols": []})
