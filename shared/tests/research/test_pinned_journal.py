"""Journals of fixed markets, pinned: what is made faster must not change what runs do.

A hash here changes only together with what a run decides or books, and with a line in CHANGELOG.
Prices are whole steps of a cent, so that no library's logarithm has a say in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from shared.research.engine import BacktestPlan, run_backtest
from shared.research.observers import Journal
from shared.research.price_files import PricePoints
from shared.research.tick_series import TickSeries
from shared.risk.account_epochs import EpochRules
from shared.tests.research.samples import FIRST_MS, MINUTE_MS, SYMBOLS, plan, points


def market(count: int, seed: int) -> Iterator[PricePoints]:
    """Walks in steps of a cent with calm and restless stretches; some ticks are missing."""
    for column, symbol in enumerate(SYMBOLS):
        rng = np.random.default_rng([seed, column])
        scale = np.repeat(rng.integers(1, 6, count // 40 + 1), 40)[:count]
        cents = 20_000 + np.cumsum(rng.integers(-3, 4, count) * scale)
        kept = rng.integers(0, 250, count) > 0
        kept[[0, -1]] = True
        times = FIRST_MS + MINUTE_MS * np.flatnonzero(kept)
        yield points(symbol, np.maximum(cents[kept], 5_000) / 100.0, times)


def one_symbol_shards() -> BacktestPlan:
    """Small shards, nearly every newborn a clone, births at every tick."""
    base = plan(runs=90, seed=3, supervise_secs=60.0, rebalance_secs=60.0)
    rules = replace(
        base.colony.clone_rules, min_trades=1, min_parent_age_secs=300.0, clonal_fraction=0.9
    )
    return replace(
        base, colony=replace(base.colony, clone_rules=rules, shard_size=7, spawn_batch=11)
    )


def many_epochs() -> BacktestPlan:
    """Epochs that end every few hours, so that blocks are taken back and stepped again."""
    return replace(plan(runs=400, seed=8), epochs=EpochRules(0.0002, 0.0005, 5))


@pytest.mark.parametrize(
    ("backtest_plan", "seed", "fills", "born", "sha256"),
    [
        (
            plan(runs=300, seed=2),
            1,
            27_042,
            878,
            "f3b46e9e499fb883dd8e541fbca6b2925ee629935779d9956aada2610d2df187",
        ),
        (
            one_symbol_shards(),
            2,
            7_157,
            261,
            "b8fae0a136dd0fe3c371d11ba2e44444422f996325577b4db856222a377124bd",
        ),
        (
            many_epochs(),
            3,
            46_769,
            1775,
            "b543d4209e46594853b5c7b8843448d10ae457bbc9e3c797628d6b8970624d15",
        ),
    ],
    ids=["as configured", "births at every tick", "many epochs"],
)
def test_journal_is_the_pinned_one(
    backtest_plan: BacktestPlan, seed: int, fills: int, born: int, sha256: str
) -> None:
    journal = Journal()
    series = TickSeries(list(market(1_500, seed)), MINUTE_MS)
    totals = run_backtest(backtest_plan, series, [journal])
    assert (journal.count, totals.born) == (fills, born)
    assert journal.sha256 == sha256
