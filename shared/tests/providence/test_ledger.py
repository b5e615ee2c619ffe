"""The virtual order ledger: replay to the bit, fees, funding, identity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.providence.ledger import LEDGER_FIELDS, accounting_gap, next_funding_index, replay
from shared.providence.run_state import from_json, to_json
from shared.providence.step import FILL_DTYPE, Grid, step
from shared.tests.providence.reference import ReferenceRun
from shared.tests.providence.samples import (
    bind_all,
    make_population,
    make_rules,
    make_samples,
    make_space,
    markets,
    plain_run,
    random_walk,
)


def _ledger(record: np.void) -> dict[str, bytes]:
    return {name: record[name].tobytes() for name in LEDGER_FIELDS}


def _fills(rows: list[tuple[float, float, float, float]]) -> np.ndarray:
    """(size, price, fee, funding index) of run 7, numbered from 1."""
    fills = np.zeros(len(rows), dtype=FILL_DTYPE)
    fills["run_id"], fills["fill_seq"] = 7, np.arange(1, len(rows) + 1)
    for name, column in zip(("size", "price", "fee", "funding_index"), range(4), strict=True):
        fills[name] = [row[column] for row in rows]
    return fills


@pytest.mark.parametrize("cut", [310, 350, 444, 600, 900])
def test_journal_replays_to_the_live_ledger_after_any_cut(cut: int) -> None:
    space, rng = make_space(), np.random.default_rng(8)
    price = random_walk(rng, cut, 3, 3e-3)
    samples = make_samples(price, funding_index=np.cumsum(rng.normal(0, 0.01, price.shape), 0))
    history = list(markets(Grid.of(space), samples))
    born = make_population(rng, 60, space, history[:300])
    live = born.copy()
    binding = bind_all(live, space, 3)
    journal = np.concatenate([step(live, binding, m, make_rules()) for m in history[300:]])
    halfway = len(journal) // 2
    for i, record in enumerate(live):
        mine = journal[journal["run_id"] == record["run_id"]]
        mark = (float(record["last_price"]), float(record["last_funding_index"]))
        assert _ledger(replay(mine, born[i], *mark)) == _ledger(record)
        early = journal[:halfway]
        checkpoint = replay(early[early["run_id"] == record["run_id"]], born[i], *mark)
        rest = mine[int(checkpoint["fill_seq"]) :]
        assert _ledger(replay(rest, checkpoint, *mark)) == _ledger(record)


SIZE = st.floats(-5.0, 5.0).filter(lambda size: abs(size) > 1e-3)
FILL = st.tuples(SIZE, st.floats(1.0, 1_000.0), st.floats(0.0, 10.0), st.floats(-50.0, 50.0))


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(FILL, max_size=30), mark=st.tuples(st.floats(1.0, 1e3), st.floats(-50, 50)))
def test_any_fills_keep_the_identity_and_equal_the_reference(
    rows: list[tuple[float, float, float, float]], mark: tuple[float, float]
) -> None:
    """Adding, reducing, closing and reversing, not only what a run itself does."""
    start = plain_run(start_balance=1e6, equity=1e6)
    record = replay(_fills(rows), start, *mark)
    assert accounting_gap(record) == 0.0
    twin = ReferenceRun(to_json(start[0]))
    for row in rows:
        twin.apply(*row)
    twin.state["last_price"], twin.state["last_funding_index"] = mark
    twin._mark()
    assert _ledger(from_json(twin.state)) == _ledger(record)
    assert record["fees"] == pytest.approx(sum(row[2] for row in rows))
    cash = sum(-size * price - fee for size, price, fee, _ in rows)
    worth = 1e6 + cash + record["position"] * mark[0] + record["funding"]
    assert record["equity"] == pytest.approx(worth, abs=1e-6)


def test_reversal_in_one_fill_equals_close_and_open() -> None:
    start = plain_run()
    turned = replay(_fills([(2.0, 100.0, 0.2, 0.0), (-5.0, 110.0, 0.55, 1.0)]), start, 105.0, 2.0)
    stepwise = replay(
        _fills([(2.0, 100.0, 0.2, 0.0), (-2.0, 110.0, 0.22, 1.0), (-3.0, 110.0, 0.33, 1.0)]),
        start,
        105.0,
        2.0,
    )
    for name in set(LEDGER_FIELDS) - {"fill_seq"}:
        assert turned[name] == pytest.approx(stepwise[name]), name
    assert turned["position"] == -3.0
    assert (turned["trades"], turned["wins"]) == (1, 1)
    # +20 price, +2 funding, fees 0.2 and 2/5 of 0.55, on 1000 USD at entry.
    assert turned["sum_win"] == pytest.approx((20.0 + 2.0 - 0.42) / 1_000.0)
    assert turned["equity_at_entry"] == pytest.approx(1_000.0 + 20.0 + 2.0 - 0.42)


def test_partial_reduction_keeps_the_average_entry_and_the_trade_open() -> None:
    rows = [(1.0, 100.0, 0.0, 0.0), (1.0, 120.0, 0.0, 0.0), (-0.5, 130.0, 0.0, 0.0)]
    record = replay(_fills(rows), plain_run(), 130.0, 0.0)
    assert (record["entry_price"], record["position"], record["trades"]) == (110.0, 1.5, 0)
    assert record["realised"] == pytest.approx(10.0)
    assert record["unrealised"] == pytest.approx(30.0)


def test_longs_pay_a_positive_rate_and_shorts_receive_it() -> None:
    index = next_funding_index(0.0, 0.0001, 50_000.0)
    assert index == -5.0
    for size, funding in ((2.0, -10.0), (-2.0, 10.0)):
        record = replay(_fills([(size, 50_000.0, 0.0, 0.0)]), plain_run(), 50_000.0, index)
        assert record["funding"] == pytest.approx(funding)
        assert record["live_pnl"] == pytest.approx(funding)


def test_break_even_trade_is_no_win() -> None:
    rows = [(1.0, 100.0, 0.0, 0.0), (-1.0, 100.0, 0.0, 0.0)]
    record = replay(_fills(rows), plain_run(), 100.0, 0.0)
    assert (record["trades"], record["wins"], record["sum_loss"]) == (1, 0, 0.0)


def test_trade_opened_without_equity_counts_as_total_loss() -> None:
    rows = [(1.0, 100.0, 2_000.0, 0.0), (-2.0, 100.0, 0.0, 0.0), (1.0, 90.0, 0.0, 0.0)]
    record = replay(_fills(rows), plain_run(), 90.0, 0.0)
    assert (record["trades"], record["wins"]) == (2, 0)
    assert record["sum_loss"] == pytest.approx(2.0 + 1.0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fills: fills[1:],
        lambda fills: fills[[0, 0]],
        lambda fills: fills[::-1],
        lambda fills: _changed(fills, "run_id", 8),
        lambda fills: _changed(fills, "size", 0.0),
    ],
)
def test_journal_with_a_hole_is_refused_by_run_and_sequence(spoil: Any) -> None:
    fills = _fills([(1.0, 100.0, 0.0, 0.0), (-1.0, 100.0, 0.0, 0.0)])
    with pytest.raises(ValueError, match=r"run 7: fill \d of the journal .* does not follow"):
        replay(spoil(fills), plain_run(), 100.0, 0.0)


def _changed(fills: np.ndarray, name: str, value: float) -> np.ndarray:
    fills[name][1] = value
    return fills


def test_replay_leaves_its_inputs_alone() -> None:
    start, fills = plain_run(), _fills([(1.0, 100.0, 0.1, 0.0)])
    fills.flags.writeable = False
    before = start.tobytes()
    assert replay(fills, start[0], 100.0, 0.0)["fill_seq"] == 1
    assert start.tobytes() == before


def test_identity_gap_shows_a_spoiled_record() -> None:
    record = plain_run()
    record["fees"] = 3.0
    assert accounting_gap(record[0]) == pytest.approx(3.0)
