"""On prices whose order says nothing, what was selected earns nothing later: costs are off, so that
any gift from the future would show. A market that does give the future away is found out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.providence.ledger import log_growth
from shared.providence.market import MarketSeries
from shared.research.colony import Colony
from shared.research.tick_series import TickSeries
from shared.testing.run_world import space
from shared.tests.research.samples import MINUTE_MS, plan, points, walk

SHUFFLES = 200
WARM, TRAIN, TEST = 60, 240, 240
RUNS = 60
SELECTED = 12


def _colony_plan():  # type: ignore[no-untyped-def]
    base = plan(runs=RUNS, free_of_costs=True).colony
    rules = replace(base.rules, judge_after_trades=1_000_000)
    lasting = space(
        max_duration_secs=(1e7, 1e7),
        max_drawdown=(1.0, 1.0),
        take_profit=(0.0, 0.0),
        max_symbol_share=1.0,
        theta_min_samples=10,
    )
    return replace(base, space=lasting, rules=rules, max_leverage={1: 40.0})


def _out_of_sample(price: NDArray[np.float64], seed: int, leak: int = 0) -> float:
    """Mean log-growth after the selection of the runs that grew most before it.

    With ``leak`` the kernel is shown look-back prices from that many samples ahead.
    """
    colony = Colony(_colony_plan(), np.random.default_rng(seed))
    samples = TickSeries([points("BTC", price)], MINUTE_MS).samples(0)
    block = MarketSeries(colony.grid, 1, MINUTE_MS).push_block(samples)
    if leak:
        ahead = np.roll(block.price, -leak, axis=0)[:, None, :]
        known = 2.0 * block.price[:, None, :] - ahead
        block = block._replace(past=np.repeat(known, block.past.shape[1], axis=1))
    colony.supervise(int(block.tick_ms[WARM - 1]), block.entropy[:WARM])
    none = np.zeros(TRAIN, dtype=bool)
    colony.advance(block.cut(WARM, WARM + TRAIN), none)
    chosen = colony.runs
    best = np.argsort(log_growth(chosen))[-SELECTED:]
    colony.advance(block.cut(WARM + TRAIN, WARM + TRAIN + TEST), none[:TEST])
    later = colony.runs
    assert len(chosen) == len(later) == RUNS
    return float((log_growth(later) - log_growth(chosen))[best].mean())


def _shuffled(seed: int) -> NDArray[np.float64]:
    """Returns of a market with memory, in random order and with random signs."""
    rng = np.random.default_rng([seed, 77])
    returns = np.diff(np.log(walk(WARM + TRAIN + TEST + 1, 4)))
    mixed = rng.permutation(returns) * rng.choice([-1.0, 1.0], len(returns))
    return 100.0 * np.exp(np.cumsum(mixed))


@pytest.fixture(scope="module")
def growths() -> NDArray[np.float64]:
    return np.array([_out_of_sample(_shuffled(seed), seed) for seed in range(SHUFFLES)])


def _t(values: NDArray[np.float64]) -> float:
    return float(values.mean() / values.std(ddof=1) * np.sqrt(len(values)))


def test_selection_on_shuffled_prices_earns_nothing(growths: NDArray[np.float64]) -> None:
    assert growths.std() > 1e-4
    assert _t(growths) < 1.65


def test_the_same_check_finds_a_leak_of_one_sample() -> None:
    leaked = np.array([_out_of_sample(_shuffled(seed), seed, leak=2) for seed in range(40)])
    assert _t(leaked) > 5.0
