"""SMA cross and RSI: indicators against plain sums, trades against vectorbt's.

``vectorbt.json`` holds what vectorbt made of the same signals, prices and costs (signals moved by
one sample, because it fills at the sample of the signal). Where vectorbt is installed it is asked
again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.research.baselines import FLAT, KEEP, LONG, Costs, Rsi, SmaCross, run_baseline, trade
from shared.research.errors import ResearchError
from shared.research.observers import EquityCurve, Journal
from shared.tests.research.samples import series, walk

COSTS = Costs(0.00045, 0.0001)
START_USD = 10_000.0
CASES = {"sma": (SmaCross(10, 40), 21), "rsi": (Rsi(14, 35.0, 65.0), 22)}
RECORDED = json.loads(Path(__file__).with_name("vectorbt.json").read_text())


def _inputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    strategy, seed = CASES[name]
    price = np.round(walk(2_000, seed), 4)
    return price, strategy.wanted(price)


def _assert_same(name: str, expected: dict[str, Any]) -> None:
    price, wanted = _inputs(name)
    mine = trade(price, wanted, COSTS, START_USD)
    orders = np.array(expected["orders"])
    assert len(orders) > 20
    assert mine.ticks.tolist() == orders[:, 0].astype(int).tolist()
    signed = np.where(orders[:, 4] == 0, orders[:, 1], -orders[:, 1])
    np.testing.assert_allclose(mine.size, signed, rtol=1e-9)
    np.testing.assert_allclose(mine.price, orders[:, 2], rtol=1e-12)
    np.testing.assert_allclose(mine.fee, orders[:, 3], rtol=1e-9)
    total = mine.equity[-1] / START_USD - 1.0
    assert total == pytest.approx(expected["total_return"], abs=1e-9)


@pytest.mark.parametrize("name", ["sma", "rsi"])
def test_trades_and_return_are_those_that_vectorbt_recorded(name: str) -> None:
    _assert_same(name, RECORDED[name])


@pytest.mark.parametrize("name", ["sma", "rsi"])
def test_trades_and_return_are_those_of_vectorbt_here(name: str) -> None:
    vbt = pytest.importorskip("vectorbt", reason="vectorbt is not installed; see docs/research.md")
    import pandas as pd

    price, wanted = _inputs(name)
    late = np.concatenate([[KEEP], wanted[:-1]])
    portfolio = vbt.Portfolio.from_signals(
        pd.Series(price),
        late == LONG,
        late == FLAT,
        init_cash=START_USD,
        fees=COSTS.fee_rate,
        slippage=COSTS.slippage_rate,
    )
    rows = portfolio.orders.records.itertuples()
    orders = [[r.idx, r.size, r.price, r.fees, r.side] for r in rows]
    _assert_same(name, {"orders": orders, "total_return": float(portfolio.total_return())})


def test_sma_cross_is_the_comparison_of_plain_means() -> None:
    price = walk(600, 5)
    price[200] = np.nan
    wanted = SmaCross(5, 20).wanted(price)
    for t in range(600):
        window = price[max(t - 19, 0) : t + 1]
        if len(window) < 20 or np.isnan(window).any():
            assert wanted[t] == KEEP
        else:
            gap = window[-5:].mean() - window.mean()
            assert abs(gap) < 1e-9 or wanted[t] == (LONG if gap > 0 else FLAT)


def test_rsi_is_wilders() -> None:
    price = walk(400, 6)
    strategy = Rsi(10, 40.0, 60.0)
    wanted = strategy.wanted(price)
    change = np.diff(price)
    up, down = np.maximum(change, 0.0), np.maximum(-change, 0.0)
    gain, loss = up[:10].mean(), down[:10].mean()
    assert (wanted[:10] == KEEP).all()
    for t in range(10, 400):
        if t > 10:
            gain = (9 * gain + up[t - 1]) / 10
            loss = (9 * loss + down[t - 1]) / 10
        rsi = 100.0 * gain / (gain + loss)
        expected = LONG if rsi < 40.0 else FLAT if rsi > 60.0 else KEEP
        assert wanted[t] == expected
    assert {LONG, FLAT, KEEP} <= set(wanted.tolist())


def test_signal_is_executed_at_the_next_known_sample_or_lapses() -> None:
    price = np.array([10.0, 11.0, np.nan, 12.0, 13.0, 14.0])
    wanted = np.array([LONG, LONG, KEEP, KEEP, FLAT, KEEP], dtype=np.int8)
    done = trade(price, wanted, Costs(0.001, 0.01), 1_000.0)
    assert done.ticks.tolist() == [1, 5]
    assert done.price.tolist() == [11.0 * 1.01, 14.0 * 0.99]
    wanted[0] = KEEP  # decided at tick 1, but tick 2 is unknown
    assert len(trade(price, wanted, Costs(0.001, 0.01), 1_000.0).ticks) == 0


def test_equity_moves_by_price_costs_and_funding_alone() -> None:
    price = np.array([100.0, 100.0, 110.0, 110.0, 110.0])
    wanted = np.array([LONG, KEEP, KEEP, FLAT, KEEP], dtype=np.int8)
    index = np.array([0.0, 0.0, -1.0, -1.0, -1.0])
    done = trade(price, wanted, Costs(0.001, 0.002), 1_000.0, index)
    coins = 1_000.0 / (100.2 * 1.001)
    assert done.size.tolist() == pytest.approx([coins, -coins])
    expected = coins * 110.0 * 0.998 * 0.999 - coins * 1.0
    assert done.equity[-1] == pytest.approx(expected, rel=1e-12)


def test_symbols_share_the_balance_and_report_one_account() -> None:
    curve, journal = EquityCurve(), Journal()
    data = series(1_200)
    run_baseline(SmaCross(), data, COSTS, START_USD, [curve, journal])
    tick_ms, equity, gross, net = curve.arrays()
    samples = data.samples(0)
    parts = [
        trade(samples.price[:, s], SmaCross().wanted(samples.price[:, s]), COSTS, START_USD / 3)
        for s in range(3)
    ]
    np.testing.assert_allclose(equity, sum(part.equity for part in parts))
    assert curve.orders == journal.count == sum(len(part.ticks) for part in parts)
    assert tick_ms.tolist() == samples.tick_ms.tolist()
    assert (gross >= net).all()
    assert gross.max() > 1_000.0


@pytest.mark.parametrize(
    "make",
    [lambda: SmaCross(20, 20), lambda: SmaCross(0, 5), lambda: Rsi(1), lambda: Rsi(14, 70, 30)],
)
def test_parameters_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ResearchError, match="allowed is"):
        make()
