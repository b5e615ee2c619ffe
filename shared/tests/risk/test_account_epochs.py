"""Epochs: baseline, take profit, drawdown, and money that is not profit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.risk.account_epochs import (
    CONFIRMATIONS,
    Epoch,
    EpochEnd,
    EpochRules,
    Flow,
    Reading,
    advance,
    advance_through,
    shift,
)

RULES = EpochRules(threshold=0.05, drawdown_reset=0.2, baseline_samples=3)


def feed(
    values: Sequence[float], epoch: Epoch | None = None, start_ms: int = 1_000
) -> tuple[Epoch, list[EpochEnd]]:
    epoch = epoch or Epoch()
    ends = []
    for n, value in enumerate(values):
        epoch, end = advance(epoch, Reading(start_ms + n * 1_000, value), RULES)
        if end is not None:
            ends.append(end)
    return epoch, ends


def test_the_baseline_is_the_median_of_the_first_readings() -> None:
    epoch, ends = feed([100.0, 900.0, 101.0])
    assert epoch.baseline == 101.0
    assert ends == []


def test_growth_over_the_baseline_takes_profit_once_it_is_confirmed() -> None:
    epoch, ends = feed([100, 100, 100, 105.0])
    assert (epoch.pending, ends) == (EpochEnd.TAKE_PROFIT, [])
    epoch, ends = feed([105.0], epoch, 9_000)
    assert ends == [EpochEnd.TAKE_PROFIT]
    assert epoch.baseline is None
    assert epoch.samples == ()


def test_one_odd_reading_ends_nothing() -> None:
    _, ends = feed([100, 100, 100, 500, 100, 10, 100, 500, 100])
    assert ends == []


def test_a_take_profit_and_a_drawdown_do_not_confirm_each_other() -> None:
    _, ends = feed([100, 100, 100, 105, 20, 105, 20])
    assert ends == []


def test_a_fall_from_the_peak_resets() -> None:
    _, ends = feed([100, 100, 100, 104, 104, 83.2, 83.1])
    assert ends == [EpochEnd.DRAWDOWN]


def test_a_fall_just_short_of_it_does_not() -> None:
    _, ends = feed([100, 100, 100, 104, 104, 83.3, 83.3])
    assert ends == []


def test_the_next_epoch_has_a_baseline_of_its_own() -> None:
    epoch, ends = feed([100, 100, 100, 106, 106, 110, 110, 110])
    assert ends == [EpochEnd.TAKE_PROFIT]
    assert epoch.baseline == 110
    assert epoch.peak == Reading(6_000, 110)


def test_a_reading_that_is_not_newer_changes_nothing() -> None:
    epoch, _ = feed([100, 100, 100])
    for at_ms in (1_000, 3_000):
        assert advance(epoch, Reading(at_ms, 500.0), RULES) == (epoch, None)


@pytest.mark.parametrize("usd", [-50.0, 50.0, 1_000.0])
def test_a_deposit_or_withdrawal_is_neither_profit_nor_loss(usd: float) -> None:
    epoch, _ = feed([100, 100, 100])
    for n in range(3):
        reading = Reading(4_000 + n * 1_000, 100 + usd)
        epoch = shift(epoch, [Flow(3_500, usd)], reading.at_ms)
        epoch, end = advance(epoch, reading, RULES)
        assert end is None
    assert epoch.baseline == 100 + usd


def test_a_flow_that_is_learnt_late_shifts_only_what_was_measured_before_it() -> None:
    epoch, _ = feed([100, 104, 100])
    epoch, _ = feed([101.0, 101.0], epoch, 4_000)
    assert epoch.peak == Reading(4_000, 101.0)
    late = shift(epoch, [Flow(3_500, 50.0)], 5_500)
    assert late.baseline == 150.0
    assert late.peak == Reading(4_000, 101.0)
    early = shift(epoch, [Flow(5_200, -20.0)], 5_500)
    assert early.peak == Reading(4_000, 81.0)


def test_a_flow_between_the_samples_of_a_baseline_shifts_the_earlier_ones() -> None:
    epoch, _ = feed([100, 100])
    epoch = shift(epoch, [Flow(2_500, 50.0)], 3_000)
    epoch, _ = advance(epoch, Reading(3_000, 150.0), RULES)
    assert epoch.baseline == 150.0


def test_a_flow_counts_once() -> None:
    epoch, _ = feed([100, 100, 100])
    flows = [Flow(3_500, 50.0)]
    once = shift(epoch, flows, 4_000)
    assert shift(once, flows, 5_000).baseline == once.baseline


def test_a_withdrawal_of_everything_starts_a_new_epoch() -> None:
    epoch, _ = feed([100, 100, 100])
    assert shift(epoch, [Flow(3_500, -100.0)], 4_000).baseline is None


def test_an_empty_account_has_no_baseline() -> None:
    epoch, ends = feed([0, 0, 0, 0, 0, 0])
    assert epoch.baseline is None
    assert ends == []


def test_flows_are_needed_where_a_reading_would_decide_something() -> None:
    epoch, _ = feed([100, 100])
    assert epoch.needs_flows(Reading(3_000, 100.0), RULES)
    epoch, _ = feed([100], epoch, 3_000)
    assert not epoch.needs_flows(Reading(4_000, 104.9), RULES)
    assert epoch.needs_flows(Reading(4_000, 105.0), RULES)
    assert epoch.needs_flows(Reading(4_000, 80.0), RULES)


@given(st.lists(st.floats(1, 1_000), min_size=1, max_size=60))
def test_every_end_is_shown_by_consecutive_readings(values: list[float]) -> None:
    epoch = Epoch()
    shown: list[EpochEnd | None] = []
    for n, value in enumerate(values):
        before = epoch
        epoch, end = advance(epoch, Reading(1_000 + n, value), RULES)
        shown.append(end)
        if end is None:
            continue
        assert before.pending is end
        assert before.pending_count >= CONFIRMATIONS - 1
        assert before.baseline is not None
        assert before.peak is not None
        if end is EpochEnd.TAKE_PROFIT:
            assert value >= before.baseline * 1.05
        else:
            assert value <= before.peak.value * 0.8
    assert not any(a is not None and b is not None for a, b in pairwise(shown))


@given(
    st.lists(st.floats(90, 110), min_size=6, max_size=30),
    st.floats(-60, 500),
    st.integers(0, 29),
)
def test_an_epoch_with_a_flow_ends_as_it_would_have_without(
    values: list[float], usd: float, at: int
) -> None:
    """In money: growth is measured on another base, but nothing ends because of the flow alone."""
    position = at % len(values)
    flow = Flow(1_000 + position * 1_000 - 500, usd)
    epoch = Epoch()
    for n, value in enumerate(values):
        reading = Reading(1_000 + n * 1_000, value if n < position else value + usd)
        if n:
            epoch = shift(epoch, [flow], reading.at_ms)
        before = epoch
        epoch, end = advance(epoch, reading, RULES)
        if end is EpochEnd.TAKE_PROFIT:
            assert before.baseline is not None
            assert reading.value - before.baseline >= 0.05 * before.baseline
            assert reading.value - before.baseline <= 20.0 + 1e-6


@given(st.lists(st.floats(60, 140), max_size=80), st.integers(1, 20))
def test_many_readings_at_once_are_those_readings_one_by_one(
    values: list[float], at_once: int
) -> None:
    at_ms = 1_000 + 10 * np.arange(len(values))
    one_by_one, ends = Epoch(), []
    for time_ms, value in zip(at_ms.tolist(), values, strict=True):
        one_by_one, end = advance(one_by_one, Reading(time_ms, value), RULES)
        ends += [] if end is None else [(time_ms, end)]
    together, found, start = Epoch(), [], 0
    while start < len(values):
        part = slice(start, start + at_once)
        together, end, taken = advance_through(together, at_ms[part], np.array(values[part]), RULES)
        start += taken
        found += [] if end is None else [(int(at_ms[start - 1]), end)]
    assert found == ends
    assert together == one_by_one
