"""Backtests: the same twice, blind to the future, never free by accident; the account adds up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from shared.providence.aggregate import SUMS_DTYPE
from shared.providence.codes import Status
from shared.providence.market import MarketSeries, TickBlock
from shared.providence.run_state import Records
from shared.providence.step import Fills
from shared.research import tick_series
from shared.research.account import Account, AccountBlock
from shared.research.colony import Colony
from shared.research.engine import BacktestTotals, run_backtest
from shared.research.errors import ResearchError
from shared.research.observers import EquityCurve, Journal, Observer
from shared.research.price_files import PricePoints
from shared.research.tick_series import TickSeries
from shared.tests.research.samples import FIRST_MS, MINUTE_MS, plan, points, series, walks

START_USD = 10_000.0


class Keep(Observer):
    def __init__(self) -> None:
        self.journal: list[Fills] = []
        self.curve: list[AccountBlock] = []
        self.runs: list[Records] = []

    def fills(self, fills: Fills) -> None:
        self.journal.append(fills.copy())

    def account(self, block: AccountBlock) -> None:
        self.curve.append(block)

    def ended(self, runs: Records) -> None:
        self.runs.append(runs)


def run(data: Sequence[PricePoints], **changes: object) -> tuple[BacktestTotals, Keep, Journal]:
    keep, journal = Keep(), Journal()
    totals = run_backtest(plan(**changes), TickSeries(data, MINUTE_MS), [keep, journal])
    return totals, keep, journal


def test_same_inputs_same_journal_and_another_seed_another_one() -> None:
    first, _, journal = run(walks(900))
    second, _, again = run(walks(900))
    _, _, other = run(walks(900), seed=6)
    assert journal.count > 500
    assert journal.sha256 == again.sha256 != other.sha256
    assert first.run_bars == second.run_bars


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, whole = run(walks(900), supervise_secs=1_800.0)
    monkeypatch.setattr("shared.research.colony.FILL_ROWS", 60 * 7)
    _, _, pieces = run(walks(900), supervise_secs=1_800.0)
    assert whole.sha256 == pieces.sha256
    monkeypatch.setattr(tick_series, "BLOCK_TICKS", 250)
    totals, _, blocks = run(walks(900), supervise_secs=1_800.0)
    assert totals.ticks == 900
    assert blocks.count == pytest.approx(whole.count, rel=0.05)  # volatility rounds differently


def test_nothing_that_happens_later_changes_what_was_done_before() -> None:
    cut_ms = FIRST_MS + 600 * MINUTE_MS
    whole = walks(900, gaps=True)
    early = [
        points(p.symbol, p.price[p.known_ms <= cut_ms], p.known_ms[p.known_ms <= cut_ms])
        for p in whole
    ]
    shocked = [
        points(p.symbol, np.where(p.known_ms <= cut_ms, p.price, p.price * 3.0), p.known_ms)
        for p in whole
    ]
    results = []
    for data in (whole, early, shocked):
        _, keep, _ = run(data)
        fills = np.concatenate(keep.journal)
        orders = np.concatenate([block.orders for block in keep.curve])
        equity = np.concatenate([block.equity for block in keep.curve])
        results.append(
            (
                fills[fills["tick"] <= cut_ms].tobytes(),
                orders[orders["tick"] <= cut_ms].tobytes(),
                equity[:600].tobytes(),
            )
        )
    assert len(results[0][0]) > 10_000
    assert len(results[0][1]) > 1_000
    assert results[0] == results[1] == results[2]


def test_run_bars_count_every_tick_of_every_life() -> None:
    totals, keep, _ = run(walks(900))
    runs = np.concatenate([part.view("V288") for part in keep.runs]).view(keep.runs[0].dtype)
    assert len(runs) == totals.born
    assert sorted(runs["run_id"].tolist()) == list(range(1, totals.born + 1))
    lives = (runs["tick"].astype(np.int64) - runs["spawn_tick"]) // MINUTE_MS
    assert totals.run_bars == lives.sum()
    assert totals.living == (runs["status"] == Status.ACTIVE).sum()
    assert 50 < totals.living <= 60


def test_costs_are_those_of_the_configuration_unless_switched_off_by_hand() -> None:
    assert plan().account.fee_rate == 0.00045
    assert plan().account.slippage_rate == 0.0001
    assert plan().colony.rules.taker_fee_rate == 0.00045
    assert plan().colony.rules.slippage_rate == 0.0001
    for change in ({"fee_bps": 0.0}, {"slippage_bps": 0.0}, {"fee_bps": -1.0}):
        with pytest.raises(ResearchError, match="trades for nothing proves nothing"):
            plan(**change)
    free = plan(free_of_costs=True)
    assert free.account.fee_rate == free.colony.rules.slippage_rate == 0.0


def test_dearer_trading_leaves_less() -> None:
    ends = [
        np.concatenate([b.equity for b in run(walks(900), fee_bps=fee)[1].curve])[-1]
        for fee in (1.0, 20.0)
    ]
    assert ends[0] > ends[1]


def test_account_ends_with_its_cash_flows() -> None:
    totals, keep, _ = run(walks(900))
    orders = np.concatenate([block.orders for block in keep.curve])
    last = keep.curve[-1]
    assert len(orders) > 20
    cash = START_USD - (orders["size"] * orders["price"]).sum() - orders["fee"].sum()
    held = np.array([orders["size"][orders["column"] == s].sum() for s in range(3)])
    np.testing.assert_allclose(last.position[-1], held, atol=1e-9)
    price = [p.price[-1] for p in walks(900)]
    assert last.equity[-1] == pytest.approx(cash + held @ price, abs=1e-6)
    assert totals.account.fees == pytest.approx(orders["fee"].sum())
    np.testing.assert_allclose(orders["fee"], np.abs(orders["size"]) * orders["price"] * 0.00045)
    bought = orders["size"] > 0
    np.testing.assert_allclose(orders["price"][bought], orders["mid"][bought] * 1.0001)
    np.testing.assert_allclose(orders["price"][~bought], orders["mid"][~bought] * 0.9999)


def _block(price: list[list[float]], index: list[list[float]] | None = None) -> TickBlock:
    array = np.array(price)
    ticks = len(array)
    return TickBlock(
        FIRST_MS + MINUTE_MS * np.arange(ticks),
        array,
        np.isfinite(array),
        np.zeros_like(array) if index is None else np.array(index),
        np.full_like(array, 0.01),
        np.zeros((ticks, 1, array.shape[1])),
        np.zeros((ticks, 1, array.shape[1])),
    )


def _sums(directions: list[float]) -> np.ndarray:
    """One symbol, 60 runs, the others flat."""
    sums = np.zeros((len(directions), 3), dtype=SUMS_DTYPE)
    sums["active"][:, 0] = sums["qualifying"][:, 0] = 60
    sums["weighted_direction"][:, 0] = directions
    return sums


def test_order_is_filled_one_sample_later_and_a_reversal_closes_first() -> None:
    account = Account(plan().account, plan().markets)
    flat = [[100.0, 10.0, 1.0] for _ in range(6)]
    done = account.follow(_block(flat), np.ones(6, dtype=bool), _sums([0, 60, 60, -60, -60, -60]))
    assert done.position[:2, 0].tolist() == [0.0, 0.0]
    assert done.position[2, 0] > 0.0
    assert done.position[4, 0] == 0.0
    assert done.position[5, 0] < 0.0
    assert done.orders["tick"].tolist() == [FIRST_MS + k * MINUTE_MS for k in (2, 4, 5)]
    assert done.orders["reduce_only"].tolist() == [0, 1, 0]
    half = 0.5 * START_USD / 100.0  # the probationary multiplier, because no epoch has ended
    assert done.orders["size"][0] == pytest.approx(half, abs=1e-5)


def test_unknown_sample_lets_the_order_expire_and_the_position_stand() -> None:
    account = Account(plan().account, plan().markets)
    price = [[100.0, 10.0, 1.0] for _ in range(5)]
    price[1][0] = price[4][0] = float("nan")
    done = account.follow(_block(price), np.ones(5, dtype=bool), _sums([60] * 5))
    assert account.expired == 1
    assert done.orders["tick"].tolist() == [FIRST_MS + 3 * MINUTE_MS]
    assert done.position[4, 0] == done.position[3, 0] > 0.0
    assert done.equity[4] == done.equity[3]


def test_funding_is_paid_on_what_is_held() -> None:
    account = Account(plan().account, plan().markets)
    price = [[100.0, 10.0, 1.0] for _ in range(4)]
    index = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [-1.5, 0.0, 0.0]]
    done = account.follow(_block(price, index), np.ones(4, dtype=bool), _sums([60] * 4))
    assert account.funding == pytest.approx(-1.5 * done.position[1, 0])
    assert done.equity[3] - done.equity[1] == pytest.approx(account.funding)


def test_ended_runs_stay_in_the_cohorts() -> None:
    colony = Colony(plan(runs=60).colony, np.random.default_rng(1))
    data = series(900)
    block = MarketSeries(colony.grid, 3, MINUTE_MS).push_block(data.samples(0))
    colony.supervise(int(block.tick_ms[399]), block.entropy[:400][-512:])
    first = block.cut(400, 700)
    _, before = colony.advance(first, np.arange(300) == 299)
    colony.supervise(int(first.tick_ms[-1]), block.entropy[188:700])
    _, after = colony.advance(block.cut(700, 701), np.ones(1, dtype=bool))
    assert before["current_runs"].sum() > 20
    assert after["current_runs"].sum() >= before["current_runs"].sum()
    assert after["active"].sum() == 60


def test_plan_and_prices_must_belong_together() -> None:
    with pytest.raises(ResearchError, match="the plan is for BTC, ETH, SOL every 60000 ms"):
        run_backtest(plan(), TickSeries(walks(200)[:2], MINUTE_MS))
    with pytest.raises(ResearchError, match="allowed is 1 to 1,000,000"):
        plan(runs=0)


def test_memory_is_that_of_a_block_not_of_the_series() -> None:
    curve = EquityCurve()
    run_backtest(plan(runs=10), series(300), [curve])
    tick_ms, equity, _, _ = curve.arrays()
    assert len(tick_ms) == len(equity) == 300
