"""The kernel equals a plain Python reference bit for bit: alone, in a batch, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.providence.rules import Rules
from shared.providence.run_state import RUN_DTYPE, Records, from_json, pack, to_json
from shared.providence.step import FILL_DTYPE, Binding, Grid, TickMarket, bind, step
from shared.tests.providence.reference import ReferenceRun
from shared.tests.providence.samples import INTERVAL_MS, make_rules, make_space, new_records

SPACE = make_space()
GRID = Grid.of(SPACE)
SYMBOLS = 3
COLUMNS = {1: 0, 2: 1, 3: 2}
LEFT = 9


def _market(rng: np.random.Generator, tick: int, price: np.ndarray, wild: float) -> TickMarket:
    def holes(values: np.ndarray, share: float) -> np.ndarray:
        return np.where(rng.random(values.shape) < share, np.nan, values)

    cells, lookbacks = len(GRID.cells), len(GRID.lookbacks)
    return TickMarket(
        tick,
        holes(price, 0.05 * wild),
        rng.random(SYMBOLS) > 0.1 * wild,
        holes(rng.normal(0.0, 0.5, SYMBOLS), 0.02 * wild),
        holes(rng.uniform(1e-4, 0.05, SYMBOLS), 0.2 * wild),
        holes(rng.random((cells, SYMBOLS)), 0.15 * wild),
        holes(price * np.exp(rng.normal(0.0, 0.01, (lookbacks, SYMBOLS))), 0.2 * wild),
    )


def _population(rng: np.random.Generator, n: int) -> Records:
    records = new_records(n)
    records["run_id"] = rng.permutation(10 * n)[:n] + 1
    records["product_id"] = rng.choice([1, 2, 3, 3, LEFT], n)
    cells = np.array(GRID.cells)[rng.integers(len(GRID.cells), size=n)]
    records["order"], records["delay"], records["window"] = cells.T
    records["lookback"] = rng.choice(SPACE.lookbacks, n)
    records["interpretation"] = rng.integers(0, 4, n)
    records["theta"] = rng.uniform(0.2, 0.8, n)
    records["dead_band"] = rng.choice([0.0, 0.05, 0.2], n)
    records["kelly_multiplier"] = rng.uniform(0.1, 2.0, n)
    records["max_duration_ms"] = rng.integers(10, 400, n) * INTERVAL_MS
    records["max_drawdown"] = rng.uniform(0.01, 0.9, n)
    records["take_profit"] = rng.choice([0.0, 0.5, 3.0], n)
    records["max_leverage"] = rng.choice([0.05, 1.0, 20.0], n)
    records["start_balance"] = rng.uniform(1.0, 1e5, n)
    records["spawn_tick"] = rng.integers(0, 20, n) * INTERVAL_MS
    records["tick"] = records["spawn_tick"]
    records["exit_at_tick"] = rng.choice([0, 0, 0, 60 * INTERVAL_MS], n)
    records["equity"] = records["peak_equity"] = records["start_balance"]
    return records


def _rules(rng: np.random.Generator) -> Rules:
    min_trades = int(rng.integers(1, 6))
    return make_rules(
        taker_fee_rate=float(rng.choice([0.0, 0.00045, 0.01])),
        slippage_rate=float(rng.choice([0.0, 0.0002, 0.01])),
        base_fraction=float(rng.uniform(0.05, 10.0)),
        probation_fraction=float(rng.choice([0.0, 0.02])),
        max_fraction=float(rng.uniform(0.1, 15.0)),
        min_trades=min_trades,
        judge_after_trades=min_trades + int(rng.integers(0, 12)),
    )


def _history(seed: int, ticks: int, wild: float) -> list[TickMarket]:
    rng = np.random.default_rng(seed)
    price = np.full(SYMBOLS, 100.0)
    out = []
    for t in range(1, ticks + 1):
        price = price * np.exp(rng.normal(0.0, 0.03, SYMBOLS))
        out.append(_market(rng, t * INTERVAL_MS, price, wild))
    return out


def _sample(market: TickMarket, binding: Binding, i: int) -> dict[str, Any] | None:
    column = int(binding.column[i])
    if column < 0:
        return None
    return {
        "price": float(market.price[column]),
        "ok": bool(market.ok[column]),
        "funding_index": float(market.funding_index[column]),
        "volatility": float(market.volatility[column]),
        "entropy": float(market.entropy[binding.cell[i], column]),
        "past": float(market.past[binding.lookback[i], column]),
    }


def _run(records: Records, history: list[TickMarket], rules: Rules) -> np.ndarray:
    binding = bind(records, GRID, COLUMNS)
    fills = [step(records, binding, market, rules) for market in history]
    return np.concatenate(fills) if fills else np.empty(0, dtype=FILL_DTYPE)


def _fill_row(fill: dict[str, Any]) -> bytes:
    row = np.zeros(1, dtype=FILL_DTYPE)
    for name, value in fill.items():
        row[name] = value
    return row.tobytes()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), wild=st.sampled_from([0.0, 1.0, 3.0]))
def test_kernel_gives_the_bits_of_the_reference(seed: int, wild: float) -> None:
    rng = np.random.default_rng(seed)
    records, rules, history = _population(rng, 12), _rules(rng), _history(seed + 1, 80, wild)
    binding = bind(records, GRID, COLUMNS)
    twins = [ReferenceRun(to_json(record)) for record in records]
    for market in history:
        fills = step(records, binding, market, rules)
        expected = [
            fill
            for i, twin in enumerate(twins)
            if (fill := twin.step(market.tick_ms, _sample(market, binding, i), rules)) is not None
        ]
        assert [row.tobytes() for row in fills] == [_fill_row(fill) for fill in expected]
        assert pack(records) == [from_json(twin.state).tobytes() for twin in twins]


def test_histories_of_the_property_test_reach_every_branch() -> None:
    reasons: set[int] = set()
    exits: set[int] = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        records, rules = _population(rng, 12), _rules(rng)
        fills = _run(records, _history(seed + 1, 80, 1.0), rules)
        reasons |= {int(r) for r in fills["reason"]}
        exits |= {int(r) for r in records["exit_reason"]}
    assert exits == set(range(7))
    assert reasons >= {0, 1, 2, 3, 4, 5}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_alone_in_a_batch_and_in_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    born, rules, history = _population(rng, 15), _rules(rng), _history(seed, 60, 1.0)
    batch = born.copy()
    journal = _run(batch, history, rules)

    order = rng.permutation(len(born))
    shuffled = born[order].copy()
    journal_shuffled = _run(shuffled, history, rules)
    assert pack(shuffled) == pack(batch[order])

    for i in range(len(born)):
        alone = born[i : i + 1].copy()
        mine = _run(alone, history, rules)
        run_id = int(born["run_id"][i])
        assert alone.tobytes() == batch[i].tobytes()
        for whole in (journal, journal_shuffled):
            assert mine.tobytes() == whole[whole["run_id"] == run_id].tobytes()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 59))
def test_stored_and_resumed_at_any_tick(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    born, rules, history = _population(rng, 10), _rules(rng), _history(seed, 60, 1.0)
    straight = born.copy()
    _run(straight, history, rules)

    halted = born.copy()
    _run(halted, history[:cut], rules)
    from_text = np.array([from_json(to_json(r)) for r in halted], dtype=RUN_DTYPE)
    from_bytes = np.frombuffer(bytearray(b"".join(pack(halted))), dtype=RUN_DTYPE)
    for resumed in (from_text, from_bytes):
        _run(resumed, history[cut:], rules)
        assert resumed.tobytes() == straight.tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_equity_identity_holds_after_every_tick(seed: int) -> None:
    rng = np.random.default_rng(seed)
    records, rules = _population(rng, 50), _rules(rng)
    binding = bind(records, GRID, COLUMNS)
    for market in _history(seed, 120, 1.0):
        step(records, binding, market, rules)
        parts = (
            records["start_balance"]
            + records["realised"]
            - records["fees"]
            + records["funding"]
            + records["unrealised"]
        )
        assert records["equity"].tobytes() == parts.tobytes()
        assert (records["live_pnl"] == records["equity"] - records["start_balance"]).all()
        for name in RUN_DTYPE.names or ():
            assert np.isfinite(records[name].astype(float)).all(), name
