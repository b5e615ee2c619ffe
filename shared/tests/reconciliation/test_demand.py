"""Sums of the shards: all of them, recent and readable, or nothing is known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.observation import Known, Unknown
from shared.providence import aggregate
from shared.providence.sizing import CohortSums
from shared.reconciliation.demand import DemandRules, EndedRuns, ShardSums, demands

NOW = 1_000_000
RULES = DemandRules(
    kelly_threshold=1.0, probationary_multiplier=0.5, max_reward_ratio=5.0, max_age_ms=60_000
)
PRODUCTS = {"BTC": 1, "ETH": 2}


def row(direction: float, **changes: Any) -> dict[str, Any]:
    return {
        "active": 10,
        "qualifying": 5,
        "weighted_direction": direction,
        "current_runs": 0,
        "current_wins": 0,
        "current_sum_win": 0.0,
        "current_sum_loss": 0.0,
        "history_runs": 0,
        "history_wins": 0,
        "history_sum_win": 0.0,
        "history_sum_loss": 0.0,
        **changes,
    }


def shard(shard_id: int, sums: dict[str, Any], tick: int = NOW - 5_000) -> ShardSums:
    return ShardSums(shard_id, tick, sums)


def ask(*shards: ShardSums, without_runs: tuple[int, ...] = ()) -> dict[str, Any]:
    return demands(shards, without_runs, {}, PRODUCTS, ["BTC", "ETH"], RULES, NOW)


def test_shards_add_up_and_the_oldest_dates_the_sum() -> None:
    found = ask(shard(0, {"1": row(2.5)}), shard(1, {"1": row(-1.0)}, NOW - 9_000))
    assert isinstance(found["BTC"], Known)
    assert found["BTC"].as_of_ms == NOW - 9_000
    assert found["BTC"].value.weighted_direction == 1.5
    assert (found["BTC"].value.active_runs, found["BTC"].value.qualifying_runs) == (20, 10)
    assert found["BTC"].value.factor == 0.5


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["1", "2"]), st.floats(-1e9, 1e9, allow_subnormal=False), max_size=2
        ),
        min_size=1,
        max_size=8,
    )
)
def test_sums_have_the_bits_that_merging_arrays_gives(cast: list[dict[str, float]]) -> None:
    shards = [
        shard(n, {product: row(direction) for product, direction in said.items()})
        for n, said in enumerate(cast)
    ]
    merged = aggregate.merge([aggregate.from_json(s.sums, [1, 2]) for s in shards])
    found = ask(*shards)
    for column, symbol in enumerate(("BTC", "ETH")):
        assert isinstance(found[symbol], Known)
        assert found[symbol].value.weighted_direction == merged["weighted_direction"][column]


def test_a_symbol_without_runs_is_known_to_be_wanted_flat() -> None:
    found = ask(shard(0, {"1": row(2.5)}))
    assert isinstance(found["ETH"], Known)
    assert found["ETH"].value.weighted_direction == 0.0
    assert found["ETH"].value.active_runs == 0


def test_the_cohort_factor_compares_current_with_finished_runs() -> None:
    better = row(
        1.0,
        current_runs=20, current_wins=15, current_sum_win=3.0, current_sum_loss=0.5,
        history_runs=20, history_wins=12, history_sum_win=2.4, history_sum_loss=0.8,
    )  # fmt: skip
    found = ask(shard(0, {"1": better}))
    assert isinstance(found["BTC"], Known)
    assert 1.0 < found["BTC"].value.factor <= 2.0


def test_ended_runs_count_in_both_cohorts() -> None:
    """The living have all won; those that did not survive decide what the cohorts are worth."""
    living = row(
        1.0,
        current_runs=10, current_wins=10, current_sum_win=1.0,
        history_runs=10, history_wins=10, history_sum_win=1.0,
    )  # fmt: skip

    def factor(ended: dict[int, EndedRuns]) -> float:
        found = demands([shard(0, {"1": living})], (), ended, PRODUCTS, ["BTC"], RULES, NOW)
        assert isinstance(found["BTC"], Known)
        return found["BTC"].value.factor

    nothing, lost = CohortSums(0, 0, 0.0, 0.0), CohortSums(10, 0, 0.0, 5.0)
    assert factor({}) == 1.0
    assert factor({2: EndedRuns(lost, lost)}) == 1.0
    assert factor({1: EndedRuns(nothing, lost)}) == 2.0
    assert factor({1: EndedRuns(lost, nothing)}) < 0.5


@pytest.mark.parametrize("tick", [NOW - 60_001, 0, NOW + 60_001])
def test_one_overdue_shard_makes_every_symbol_unknown(tick: int) -> None:
    found = ask(shard(0, {"1": row(2.5)}), shard(7, {}, tick))
    for symbol in ("BTC", "ETH"):
        assert isinstance(found[symbol], Unknown)
        assert "shard 7" in found[symbol].reason


def test_an_overdue_shard_without_runs_is_no_obstacle() -> None:
    found = ask(shard(0, {"1": row(2.5)}), shard(7, {}, 0), without_runs=(7,))
    assert isinstance(found["BTC"], Known)
    assert found["BTC"].as_of_ms == NOW - 5_000


def test_without_shards_nothing_is_known() -> None:
    assert isinstance(ask()["BTC"], Unknown)


@pytest.mark.parametrize(
    "sums",
    [
        {"99": row(1.0)},
        {"1": {"active": 1}},
        {"1": row(1.0, current_runs=1, current_wins=2)},
    ],
)
def test_sums_that_cannot_be_read_are_unknown(sums: dict[str, Any]) -> None:
    assert isinstance(ask(shard(0, sums))["BTC"], Unknown)


def test_a_symbol_that_was_never_listed_is_unknown() -> None:
    found = demands([shard(0, {})], (), {}, PRODUCTS, ["DOGE"], RULES, NOW)
    assert isinstance(found["DOGE"], Unknown)
