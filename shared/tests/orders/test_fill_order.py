"""Fills of one millisecond follow from each other by their positions, whatever their ids."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.orders.fill_order import FillStep, in_order


def steps(symbol: str, time_ms: int, start: int, *sizes: int) -> list[FillStep]:
    found, position = [], Decimal(start)
    for size in sizes:
        found.append(FillStep(symbol, time_ms, position, Decimal(size)))
        position += size
    return found


@pytest.fixture
def recorded() -> list[FillStep]:
    """Fills of a real account, as the venue listed them."""
    folder = Path(os.environ.get("T3_DATA_DIR", Path(__file__).parents[4] / "shared" / "data"))
    file = folder / "hyperliquid_fixtures" / "info" / "user_fills.json"
    if not file.exists():
        pytest.skip(f"{file} is not there; set T3_DATA_DIR to the folder of recorded data")
    return [
        FillStep(
            fill["coin"],
            fill["time"],
            Decimal(fill["startPosition"]),
            Decimal(fill["sz"]) * (1 if fill["side"] == "B" else -1),
        )
        for fill in json.loads(file.read_text())["response"]
    ]


def same(step: FillStep) -> FillStep:
    return step


def test_a_sweep_through_the_book_is_put_in_order() -> None:
    sweep = steps("BTC", 5, 0, 1, 2, 3)
    assert in_order([sweep[2], sweep[0], sweep[1]], same) == sweep


def test_there_and_back_in_one_millisecond_begins_where_the_last_fill_ended() -> None:
    fills = steps("BTC", 4, 0, 3) + steps("BTC", 5, 3, -3, 3)
    assert in_order([fills[2], fills[1], fills[0]], same) == fills


def test_fills_that_do_not_follow_from_each_other_keep_the_order_they_came_in() -> None:
    fills = steps("BTC", 5, 0, 1) + steps("BTC", 5, 7, 1)
    assert in_order(fills, same) == fills
    assert in_order(fills[::-1], same) == fills[::-1]


def test_another_exponent_is_the_same_position() -> None:
    first = FillStep("BTC", 5, Decimal("-0"), Decimal("1.50"))
    second = FillStep("BTC", 5, Decimal("1.5"), Decimal(1))
    assert in_order([second, first], same) == [first, second]


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 4), st.integers(-3, 3)), max_size=24),
    st.randoms(use_true_random=False),
)
def test_any_order_of_arrival_gives_an_unbroken_chain(
    walk: list[tuple[str, int, int]], random: Random
) -> None:
    """The first fill of each symbol is alone in its millisecond: it says where the chain begins."""
    fills = steps("A", 0, 0, 1) + steps("B", 0, 0, 1)
    position = {"A": 1, "B": 1}
    for symbol, time_ms, size in sorted(walk, key=lambda w: w[1]):
        if size:
            fills += steps(symbol, time_ms, position[symbol], size)
            position[symbol] += size
    arrived = list(fills)
    random.shuffle(arrived)
    found = in_order(arrived, same)
    assert sorted(found) == sorted(fills)
    assert [f.time_ms for f in found] == sorted(f.time_ms for f in fills)
    for symbol in position:
        own = [f for f in found if f.symbol == symbol]
        assert all(f.start + f.size == g.start for f, g in pairwise(own)), own


def test_recorded_sweeps_are_put_in_order_from_any_order(recorded: list[FillStep]) -> None:
    """Those of one side; in 2023 the venue let an account trade with itself, now it does not."""
    groups: defaultdict[tuple[str, int], list[FillStep]] = defaultdict(list)
    for fill in recorded:
        groups[fill.symbol, fill.time_ms].append(fill)
    sweeps = [g for g in groups.values() if len(g) > 1 and len({f.size > 0 for f in g}) == 1]
    assert len(sweeps) > 20
    for sweep in sweeps:
        found = in_order(sorted(sweep, key=lambda f: abs(f.size)), same)
        assert all(f.start + f.size == g.start for f, g in pairwise(found)), found
