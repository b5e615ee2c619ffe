"""What a run does at a tick: execution one sample later, costs, exits, unknown inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.providence.codes import Interpretation, Reason, Status
from shared.providence.run_state import Records, join, new_records
from shared.providence.step import Binding, Fills, Grid, TickMarket, bind, step
from shared.tests.providence.samples import (
    INTERVAL_MS,
    bind_all,
    make_population,
    make_rules,
    make_samples,
    make_space,
    markets,
    one_tick,
    plain_run,
    random_walk,
)

GRID = Grid.of(make_space())
HIGH, LOW, NAN = 0.9, 0.1, float("nan")
FREE = make_rules(taker_fee_rate=0.0, slippage_rate=0.0)


def _walk(record: Records, ticks: list[TickMarket], rules: Any = FREE) -> list[Fills]:
    binding = bind(record, GRID, {1: 0})
    return [step(record, binding, market, rules) for market in ticks]


def _ticks(rows: list[tuple[float, float]], **extra: Any) -> list[TickMarket]:
    return [one_tick((i + 1) * INTERVAL_MS, *row, **extra) for i, row in enumerate(rows)]


def test_decision_is_executed_at_the_next_price() -> None:
    run = plain_run()
    first, second = _walk(run, _ticks([(100.0, HIGH), (110.0, HIGH)]))
    assert len(first) == 0
    assert second["price"].tolist() == [110.0]
    assert second["size"].tolist() == [pytest.approx(0.1 * 1_000.0 / 110.0)]
    assert run["direction"][0] == 1


@pytest.mark.parametrize(
    ("interpretation", "entropy", "past", "direction"),
    [
        (Interpretation.DIRECT, HIGH, NAN, 1),
        (Interpretation.DIRECT, LOW, NAN, -1),
        (Interpretation.DIRECT, 0.5, NAN, 0),
        (Interpretation.INVERSE, HIGH, NAN, -1),
        (Interpretation.INVERSE, LOW, NAN, 1),
        (Interpretation.BREAKOUT, LOW, 90.0, 1),
        (Interpretation.BREAKOUT, LOW, 110.0, -1),
        (Interpretation.BREAKOUT, LOW, 100.0, 0),
        (Interpretation.BREAKOUT, HIGH, 90.0, 0),
        (Interpretation.BREAKOUT, LOW, NAN, 0),
        (Interpretation.SWING, LOW, 90.0, -1),
        (Interpretation.SWING, LOW, 110.0, 1),
        (Interpretation.SWING, HIGH, 90.0, 0),
    ],
)
def test_interpretations(
    interpretation: Interpretation, entropy: float, past: float, direction: int
) -> None:
    run = plain_run(interpretation=int(interpretation))
    _walk(run, _ticks([(100.0, entropy)], past=past))
    assert run["target_direction"][0] == direction


def test_inside_the_dead_band_there_is_no_direction() -> None:
    run = plain_run(dead_band=0.25)
    _walk(run, _ticks([(100.0, 0.75), (100.0, 0.75), (100.0, 0.3)]))
    assert run["target_direction"][0] == 0


def test_each_side_is_charged_once_and_a_reversal_is_two_sides() -> None:
    rules = make_rules(taker_fee_rate=0.001, slippage_rate=0.01)
    run = plain_run()
    fills = np.concatenate(
        _walk(run, _ticks([(100.0, HIGH), (100.0, LOW), (100.0, 0.5), (100.0, 0.5)]), rules)
    )
    assert fills["price"].tolist() == pytest.approx([101.0, 99.0, 101.0])
    bought, turned, back = (float(f) for f in fills["size"])
    short = bought + turned
    assert back == pytest.approx(-short)
    assert fills["fee"].tolist() == pytest.approx(
        [0.001 * 101.0 * bought, 0.001 * 99.0 * (bought - short), 0.001 * 101.0 * -short]
    )
    assert run["fees"][0] == pytest.approx(fills["fee"].sum(), rel=1e-15)
    assert (run["trades"][0], run["wins"][0], run["position"][0]) == (2, 0, 0.0)
    paid = run["start_balance"][0] - run["equity"][0]
    assert paid == pytest.approx(run["fees"][0] - run["realised"][0])


def test_trade_returns_carry_their_own_fees_and_funding() -> None:
    rules = make_rules(taker_fee_rate=0.001, slippage_rate=0.0)
    run = plain_run()
    ticks = [
        one_tick(INTERVAL_MS, 100.0, HIGH),
        one_tick(2 * INTERVAL_MS, 100.0, 0.5, funding_index=-2.0),
        one_tick(3 * INTERVAL_MS, 110.0, 0.5, funding_index=-5.0),
    ]
    _walk(run, ticks, rules)
    # 1 coin long for 100 USD: +10 price, -3 funding, fees 0.10 and 0.11; on 1000 USD at entry.
    assert run["sum_win"][0] == pytest.approx((10.0 - 3.0 - 0.21) / 1_000.0)
    assert run["funding"][0] == pytest.approx(-3.0)
    assert run["live_pnl"][0] == pytest.approx(6.79)


def test_equity_compounds() -> None:
    run = plain_run()
    fills = _walk(run, _ticks([(100.0, HIGH), (100.0, 0.5), (150.0, HIGH), (150.0, HIGH)]))
    assert run["realised"][0] == pytest.approx(50.0)
    assert fills[3]["size"][0] * 150.0 == pytest.approx(0.1 * 1_050.0)


def test_leverage_limits_the_notional() -> None:
    run = plain_run(max_leverage=2.0)
    fills = _walk(
        run, _ticks([(100.0, HIGH)] * 2), make_rules(base_fraction=10.0, slippage_rate=0.0)
    )
    assert fills[1]["size"][0] * 100.0 == pytest.approx(2_000.0)


@pytest.mark.parametrize("bad", ["ok", "price", "zero", "funding"])
def test_sample_that_is_not_good_holds_and_voids_the_decision(bad: str) -> None:
    run = plain_run()
    hole = {
        "ok": one_tick(2 * INTERVAL_MS, 50.0, HIGH, ok=False),
        "price": one_tick(2 * INTERVAL_MS, NAN, HIGH),
        "zero": one_tick(2 * INTERVAL_MS, 0.0, HIGH),
        "funding": one_tick(2 * INTERVAL_MS, 50.0, HIGH, funding_index=NAN),
    }[bad]
    quiet = one_tick(3 * INTERVAL_MS, 100.0, 0.5)
    fills = _walk(run, [one_tick(INTERVAL_MS, 100.0, HIGH), hole, quiet])
    assert [len(f) for f in fills] == [0, 0, 0]
    assert run["equity"][0] == 1_000.0
    assert run["tick"][0] == 3 * INTERVAL_MS


def test_window_that_spans_a_gap_holds_the_position_and_opens_none() -> None:
    run = plain_run()
    fills = _walk(run, _ticks([(100.0, HIGH), (100.0, LOW), (100.0, NAN), (100.0, NAN)]))
    assert [len(f) for f in fills] == [0, 1, 0, 0]
    assert (run["direction"][0], run["target_direction"][0]) == (1, 1)


def _held(**changes: Any) -> Records:
    """A run that is 1 coin long from 100 USD at tick 2."""
    run = plain_run(**changes)
    _walk(run, _ticks([(100.0, HIGH), (100.0, HIGH)]))
    assert run["position"][0] == 1.0
    return run


@pytest.mark.parametrize(
    ("changes", "price", "volatility", "reason"),
    [
        ({"exit_at_tick": 3 * INTERVAL_MS}, 100.0, 0.02, Reason.SIGNAL),
        ({"exit_at_tick": 3 * INTERVAL_MS - 1}, 100.0, 0.02, Reason.SIGNAL),
        ({"exit_at_tick": 4 * INTERVAL_MS}, 100.0, 0.02, None),
        ({"max_duration_ms": 3 * INTERVAL_MS}, 100.0, 0.02, Reason.DURATION),
        ({"max_drawdown": 0.02}, 79.0, 0.02, Reason.DRAWDOWN),
        ({"max_drawdown": 0.02}, 81.0, 0.02, None),
        # 10 h at 2 % per root hour is 6.3 %: 0.5 of that is reached by +40 USD of 1000.
        ({"take_profit": 0.5}, 140.0, 0.02, Reason.TAKE_PROFIT),
        ({"take_profit": 0.5}, 130.0, 0.02, None),
        ({"take_profit": 0.5}, 140.0, NAN, None),
        ({"take_profit": 0.0}, 900.0, 0.02, None),
    ],
)
def test_exits(changes: dict[str, Any], price: float, volatility: float, reason: Any) -> None:
    run = _held(**changes)
    market = one_tick(3 * INTERVAL_MS, price, HIGH, volatility=volatility)
    (fills,) = _walk(run, [market])
    if reason is None:
        assert run["status"][0] == Status.ACTIVE
        assert len(fills) == 0
        return
    assert run["status"][0] == Status.COMPLETED
    assert run["exit_reason"][0] == reason
    assert (fills["size"].tolist(), fills["price"].tolist()) == ([-1.0], [price])
    assert fills["reason"][0] == reason
    assert run["position"][0] == run["direction"][0] == run["target_direction"][0] == 0


def test_position_waits_for_a_price_and_a_flat_run_does_not() -> None:
    held, flat = _held(), plain_run(exit_at_tick=1)
    held["exit_at_tick"] = 1
    blind = one_tick(3 * INTERVAL_MS, NAN, NAN)
    for run in (held, flat):
        _walk(run, [blind])
    assert flat["exit_reason"][0] == Reason.SIGNAL
    assert held["status"][0] == Status.ACTIVE
    (fills,) = _walk(held, [one_tick(4 * INTERVAL_MS, 90.0, NAN)])
    assert fills["price"].tolist() == [90.0]


def test_losing_record_ends_the_run_without_opening_the_other_side() -> None:
    rules = make_rules(taker_fee_rate=0.0, slippage_rate=0.0, min_trades=1, judge_after_trades=2)
    run = plain_run()
    prices = [(100.0, HIGH), (100.0, LOW), (90.0, HIGH), (99.0, HIGH)]
    fills = _walk(run, _ticks(prices), rules)
    assert [len(f) for f in fills] == [0, 1, 1, 1]
    assert run["exit_reason"][0] == Reason.KELLY
    assert run["trades"][0] == 2
    assert run["position"][0] == 0.0


def test_symbol_that_left_exits_at_its_last_price() -> None:
    run = _held()
    binding = bind(run, GRID, {2: 0})
    fills = step(run, binding, one_tick(3 * INTERVAL_MS, 5.0, HIGH), FREE)
    assert fills["price"].tolist() == [100.0]
    assert fills["product_id"].tolist() == [1]
    assert run["exit_reason"][0] == Reason.SYMBOL_LEFT


def test_symbol_that_left_before_the_first_price_ends_without_a_fill() -> None:
    run = plain_run()
    fills = step(run, bind(run, GRID, {}), one_tick(INTERVAL_MS, 5.0, HIGH), FREE)
    assert len(fills) == 0
    assert run["status"][0] == Status.COMPLETED


def test_completed_and_unborn_runs_are_not_touched() -> None:
    done, unborn = _held(), plain_run(spawn_tick=10**9, tick=10**9)
    done["status"] = Status.COMPLETED
    for run in (done, unborn):
        before = run.tobytes()
        _walk(run, _ticks([(100.0, HIGH)]))
        assert run.tobytes() == before


def test_tick_that_is_not_later_is_refused_and_nothing_changes() -> None:
    runs = join([plain_run(run_id=1), _held(run_id=2)])
    before = runs.tobytes()
    with pytest.raises(ValueError, match="run 2: tick 10000 is not after its last tick 10000"):
        step(runs, bind(runs, GRID, {1: 0}), one_tick(2 * INTERVAL_MS, 1.0, HIGH), FREE)
    assert runs.tobytes() == before


@pytest.mark.parametrize("row", ["cell", "lookback", "column"])
def test_binding_outside_the_market_is_refused(row: str) -> None:
    run = plain_run()
    binding = bind(run, GRID, {1: 0})._replace(**{row: np.array([99], dtype=np.int32)})
    with pytest.raises(ValueError, match="run 7: bound outside this market"):
        step(run, binding, one_tick(INTERVAL_MS, 1.0, HIGH), FREE)


def test_market_and_records_of_another_shape_are_refused() -> None:
    run = plain_run()
    binding, market = bind(run, GRID, {1: 0}), one_tick(INTERVAL_MS, 1.0, HIGH)
    with pytest.raises(ValueError, match=r"TickMarket.ok has shape \(2,\); allowed is \(1,\)"):
        step(run, binding, market._replace(ok=np.ones(2, dtype=bool)), FREE)
    with pytest.raises(ValueError, match="the binding is of 1 runs; allowed is 2"):
        step(new_records(2), binding, market, FREE)
    with pytest.raises(ValueError, match="one-dimensional array of RUN_DTYPE"):
        step(new_records(4)[::2], binding, market, FREE)
    frozen = run.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="records are read-only"):
        step(frozen, binding, market, FREE)


def test_read_only_market_arrays_are_accepted() -> None:
    run, twin = plain_run(), plain_run()
    for market in _ticks([(100.0, HIGH), (101.0, HIGH)]):
        arrays = {k: v.copy() for k, v in market._asdict().items() if k != "tick_ms"}
        for array in arrays.values():
            array.flags.writeable = False
        _walk(run, [market])
        _walk(twin, [market._replace(**arrays)])
    assert run.tobytes() == twin.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta": 1.5}, r"run 7: theta is 1.5; allowed is 0 to 1"),
        ({"theta": NAN}, r"run 7: theta is nan"),
        ({"dead_band": -0.1}, "run 7: dead_band"),
        ({"order": 9}, "run 7: order is 9; allowed is 3 to 6"),
        ({"interpretation": 4}, "run 7: interpretation is 4; allowed is 0 to 3"),
        ({"max_drawdown": 0.0}, "run 7: max_drawdown"),
        ({"max_leverage": 0.0}, "run 7: max_leverage"),
        ({"max_duration_ms": 0}, "run 7: max_duration_ms"),
        ({"start_balance": 0.0}, "run 7: start_balance"),
        ({"window": 21}, r"run 7: cell \(order 3, delay 1, window 21\) is not on the grid"),
        ({"lookback": 4}, "run 7: lookback 4 is not on the grid"),
    ],
)
def test_parameter_out_of_range_is_refused_at_bind(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bind(join([plain_run(run_id=3), plain_run(**changes)]), GRID, {1: 0})


def test_bind_finds_rows_whatever_the_order_of_the_grid() -> None:
    grid = Grid(GRID.cells[::-1], GRID.lookbacks[::-1])
    run = plain_run(order=4, delay=2, window=40, lookback=10, product_id=8)
    binding = bind(run, grid, {3: 0, 8: 1, 5: 2})
    assert grid.cells[binding.cell[0]] == (4, 2, 40)
    assert grid.lookbacks[binding.lookback[0]] == 10
    assert isinstance(binding, Binding)
    assert binding.column.tolist() == [1]


@pytest.mark.parametrize("cut", [320, 500, 777])
def test_truncating_the_future_never_changes_the_past(cut: int) -> None:
    space, rng = make_space(), np.random.default_rng(4)
    price = random_walk(rng, 900, 2, 3e-3)
    future = price.copy()
    future[cut:] *= np.exp(rng.normal(0.0, 0.1, (900 - cut, 2)))
    whole, other = (list(markets(Grid.of(space), make_samples(p))) for p in (price, future))
    short = list(markets(Grid.of(space), make_samples(price[:cut])))
    born = make_population(np.random.default_rng(6), 40, space, whole[:300])
    states = []
    for history in (whole, other, short):
        runs = born.copy()
        binding = bind_all(runs, space, 2)
        fills = [step(runs, binding, market, make_rules()) for market in history[300:cut]]
        states.append((runs.tobytes(), np.concatenate(fills).tobytes()))
    assert states[0] == states[1] == states[2]
    assert len(states[0][1]) > 0
