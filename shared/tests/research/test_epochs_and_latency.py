"""The account's take profit and drawdown reset within a backtest, and the venue's latency."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.providence.aggregate import SUMS_DTYPE
from shared.providence.codes import Reason, Status
from shared.providence.market import MarketSeries
from shared.providence.run_state import Records, join
from shared.providence.step import Fills
from shared.research.account import Account, AccountBlock
from shared.research.colony import Colony
from shared.research.engine import BacktestPlan, BacktestTotals, run_backtest
from shared.research.errors import ResearchError
from shared.research.observers import EpochMark, Journal, Observer
from shared.research.tick_series import TickSeries
from shared.risk.account_epochs import EpochEnd, EpochRules
from shared.tests.research.samples import MINUTE_MS, plan, series, walks
from shared.tests.research.test_engine import _block, _sums

TICKS = 900


class Keep(Observer):
    def __init__(self) -> None:
        self.marks: list[EpochMark] = []
        self.curve: list[AccountBlock] = []
        self.runs: list[Records] = []
        self.fills_: list[Fills] = []

    def epoch(self, mark: EpochMark) -> None:
        self.marks.append(mark)

    def account(self, block: AccountBlock) -> None:
        self.curve.append(block)

    def ended(self, runs: Records) -> None:
        self.runs.append(runs)

    def fills(self, fills: Fills) -> None:
        self.fills_.append(fills.copy())


def run(threshold: float, reset: float) -> tuple[BacktestTotals, Keep, Journal]:
    keep, journal = Keep(), Journal()
    totals = run_backtest(
        with_epochs(threshold, reset), TickSeries(walks(TICKS), MINUTE_MS), [keep, journal]
    )
    return totals, keep, journal


def with_epochs(threshold: float, reset: float) -> BacktestPlan:
    return replace(plan(), epochs=EpochRules(threshold, reset, 5))


def test_epochs_are_acted_on_at_the_next_tick_however_ticks_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    totals, whole, journal = run(0.001, 0.0015)
    assert {mark.end for mark in whole.marks} == set(EpochEnd)
    assert totals.epochs == len(whole.marks) > 4
    assert totals.ticks == TICKS
    monkeypatch.setattr("shared.research.colony.FILL_ROWS", 60)
    _, single, again = run(0.001, 0.0015)
    assert journal.sha256 == again.sha256
    assert whole.marks == single.marks
    curves = [np.concatenate([b.equity for b in keep.curve]) for keep in (whole, single)]
    np.testing.assert_array_equal(curves[0], curves[1])
    assert len(curves[0]) == TICKS


def test_without_an_end_epochs_change_nothing() -> None:
    totals, keep, journal = run(10.0, 1.0)
    _, _, other = run(9.0, 0.99)
    assert totals.epochs == len(keep.marks) == 0
    assert journal.sha256 == other.sha256


def test_take_profit_gives_the_living_one_height_and_they_trade_on() -> None:
    _, keep, _ = run(0.001, 1.0)
    runs = join(keep.runs)
    profits = [mark for mark in keep.marks if mark.end is EpochEnd.TAKE_PROFIT]
    assert [mark.height for mark in profits] == list(range(1, len(profits) + 1))
    first = runs[runs["height"] == 1]
    assert len(first) > 20
    assert set(first["height_at_tick"].tolist()) == {profits[0].tick_ms + MINUTE_MS}
    assert (first["spawn_tick"] <= profits[0].tick_ms).all()
    assert (first["tick"].astype(np.int64) > profits[0].tick_ms + MINUTE_MS).any()
    assert (first["exit_at_tick"] == 0).all()


def test_drawdown_reset_ends_every_run_at_the_next_tick_without_a_height() -> None:
    _, keep, _ = run(10.0, 0.0015)
    assert keep.marks[0].end is EpochEnd.DRAWDOWN
    at_ms = keep.marks[0].tick_ms
    runs = join(keep.runs)
    alive = (runs["spawn_tick"] <= at_ms) & (runs["tick"].astype(np.int64) > at_ms)
    assert alive.sum() > 20
    assert (runs["tick"][alive].astype(np.int64) == at_ms + MINUTE_MS).all()
    assert set(runs["exit_reason"][alive].tolist()) <= {Reason.SIGNAL, Reason.DRAWDOWN}
    assert (runs["height"] == 0).all()
    assert (runs["status"][alive] == Status.COMPLETED).all()


def test_height_makes_history_of_all_that_came_before_and_frees_the_cohort_factor() -> None:
    colony = Colony(plan(runs=60).colony, np.random.default_rng(1))
    data = series(TICKS)
    block = MarketSeries(colony.grid, 3, MINUTE_MS).push_block(data.samples(0))
    colony.supervise(int(block.tick_ms[399]), block.entropy[:400][-512:])
    _, before = colony.advance(block.cut(400, 700), np.arange(300) == 299)
    ended = colony.give_height(1, int(block.tick_ms[700]))
    assert len(ended) > 5
    _, after = colony.advance(block.cut(700, 701), np.ones(1, dtype=bool))
    assert before["history_runs"].sum() == after["current_runs"].sum() == 0
    assert after["history_runs"].sum() >= before["current_runs"].sum() > 20
    colony.supervise(int(block.tick_ms[700]), block.entropy[189:701])
    _, later = colony.advance(block.cut(701, 800), np.arange(99) == 98)
    assert later["current_runs"].sum() > 0
    assert later["history_runs"].sum() >= after["history_runs"].sum()


def test_factor_of_the_cohorts_scales_the_account() -> None:
    sums = np.zeros((3, 3), dtype=SUMS_DTYPE)
    sums["active"] = sums["qualifying"] = 20
    sums["weighted_direction"][:, 0] = 30.0
    for cohort, wins in (("current", 15), ("history", 12)):
        sums[f"{cohort}_runs"], sums[f"{cohort}_wins"] = 20, wins
        sums[f"{cohort}_sum_win"], sums[f"{cohort}_sum_loss"] = 0.3, 0.1
    flat = _block([[100.0, 10.0, 1.0] for _ in range(3)])
    due = np.ones(3, dtype=bool)
    held = [
        Account(plan().account, plan().markets).follow(flat, due, given).position[2, 0]
        for given in (sums, _sums([30.0, 30.0, 30.0]))
    ]
    assert held[0] > 2.0 * held[1] > 0.0  # the probationary multiplier is one half


@pytest.mark.parametrize(("latency_secs", "ticks"), [(0.0, 1), (60.0, 1), (61.0, 2), (150.0, 3)])
def test_order_is_filled_at_the_first_tick_after_the_latency(
    latency_secs: float, ticks: int
) -> None:
    late = plan(latency_secs=latency_secs)
    account = Account(late.account, late.markets)
    flat = [[100.0 + k, 10.0, 1.0] for k in range(6)]
    done = account.follow(_block(flat), np.ones(6, dtype=bool), _sums([60.0] * 6))
    assert done.orders["tick"][0] == done.tick_ms[ticks]
    assert done.orders["mid"][0] == 100.0 + ticks
    assert done.orders["decided_mid"][0] == 100.0


def test_late_account_makes_less_of_the_same_runs_only_by_its_own_delay() -> None:
    journals = []
    for latency_secs in (0.0, 300.0):
        journal = Journal()
        late = replace(plan(latency_secs=latency_secs), epochs=EpochRules(10.0, 1.0, 5))
        run_backtest(late, TickSeries(walks(300), MINUTE_MS), [journal])
        journals.append(journal.sha256)
    assert journals[0] == journals[1]
    with pytest.raises(ResearchError, match="allowed is 0 to 86,400"):
        plan(latency_secs=-1.0)
