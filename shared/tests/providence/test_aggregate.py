"""Per-symbol sums of shards."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared.providence.aggregate import SUMS_DTYPE, cohorts, from_json, merge, shard_sums, to_json
from shared.providence.codes import Status
from shared.providence.run_state import Records, join
from shared.providence.sizing import CohortSums, kelly_estimate
from shared.providence.step import Binding, Grid, bind
from shared.tests.providence.samples import make_rules, make_space, plain_run

GRID = Grid.of(make_space())
RULES = make_rules(live_pnl_threshold=5.0)


def _run(product_id: int, live_pnl: float, direction: int, **changes: object) -> Records:
    equity = 1_000.0 + live_pnl
    values = {"fill_seq": 3, "tick": 50_000, **changes}
    return plain_run(
        product_id=product_id, live_pnl=live_pnl, equity=equity, direction=direction, **values
    )


def _bind(records: Records) -> Binding:
    return bind(records, GRID, {1: 0, 2: 1})


def test_only_active_runs_above_the_threshold_have_a_say() -> None:
    records = join(
        [
            _run(1, 100.0, 1),
            _run(1, 5.0, 1),  # not above the threshold
            _run(1, 50.0, -1, trades=8, wins=6, sum_win=0.12, sum_loss=0.02),
            _run(1, 80.0, 1, status=int(Status.COMPLETED)),
            _run(2, 20.0, 1, max_leverage=0.05),
            _run(9, 90.0, 1),  # its symbol has left
        ]
    )
    sums = shard_sums(records, _bind(records), 2, RULES)
    assert sums["active"].tolist() == [3, 1]
    assert sums["qualifying"].tolist() == [2, 1]
    fraction = kelly_estimate(8, 6, 0.12, 0.02, kelly_multiplier=1.0, rules=RULES).fraction
    assert sums["weighted_direction"].tolist() == pytest.approx(
        [1.1 - fraction * 1_050.0 / 100.0, 0.05 * 1_020.0 / 100.0]
    )


def test_weight_is_one_for_a_new_run_whatever_its_balance() -> None:
    for balance in (10.0, 1e6):
        run = plain_run(start_balance=balance, equity=balance, live_pnl=6.0, direction=-1)
        assert shard_sums(run, _bind(run), 2, RULES)["weighted_direction"][0] == pytest.approx(-1.0)


def test_cohorts_hold_every_run_that_traded_split_by_height() -> None:
    records = join(
        [
            _run(1, 100.0, 1),
            _run(1, -50.0, 1, status=int(Status.COMPLETED)),
            _run(1, 0.0, 0),  # traded and broke even: no win
            _run(1, 0.0, 0, fill_seq=0),  # never traded: no result
            _run(1, 30.0, 1, height=1, height_at_tick=50_000),
            _run(1, -20.0, 1, height=2, height_at_tick=40_000),
            _run(1, 10.0, 1, height=3, height_at_tick=55_000),  # not in effect yet
        ]
    )
    binding = _bind(records)
    current, history = cohorts(shard_sums(records, binding, 2, RULES)[0])
    assert (current.runs, current.wins) == (4, 2)
    assert (current.sum_win, current.sum_loss) == (pytest.approx(0.11), pytest.approx(0.05))
    assert history == CohortSums(2, 1, 0.03, 0.02)
    later, past = cohorts(shard_sums(records, binding, 2, RULES, tick_ms=55_000)[0])
    assert (later.runs, past.runs) == (3, 3)


def test_shards_merge_to_the_sums_of_all_runs() -> None:
    rng = np.random.default_rng(2)
    runs = [_run(int(rng.integers(1, 3)), float(rng.normal(0, 50)), 1) for _ in range(40)]
    parts = [join(runs[i : i + 7]) for i in range(0, 40, 7)]
    merged = merge([shard_sums(part, _bind(part), 2, RULES) for part in parts])
    whole = join(runs)
    expected = shard_sums(whole, _bind(whole), 2, RULES)
    for name in SUMS_DTYPE.names or ():
        assert merged[name].tolist() == pytest.approx(expected[name].tolist()), name
    assert merged["active"].sum() == 40


def test_json_is_exact_and_by_product() -> None:
    records = join([_run(1, 100.0 / 3.0, 1), _run(2, -7.0, -1)])
    sums = shard_sums(records, _bind(records), 3, RULES)
    values = json.loads(json.dumps(to_json(sums, [1, 2, 5])))
    assert list(values) == ["1", "2"]
    assert from_json(values, [1, 2, 5]).tobytes() == sums.tobytes()
    assert from_json(values, [5, 2, 1])[[2, 1, 0]].tobytes() == sums.tobytes()


def test_errors_name_what_is_wrong() -> None:
    run = _run(2, 1.0, 1)
    with pytest.raises(ValueError, match="reaches column 1; there are 1"):
        shard_sums(run, _bind(run), 1, RULES)
    with pytest.raises(ValueError, match="binding is of 1 runs; allowed is 2"):
        shard_sums(join([run, run]), _bind(run), 2, RULES)
    with pytest.raises(ValueError, match="merge was given 0 shards"):
        merge([])
    with pytest.raises(ValueError, match="a shard has 2 columns; allowed is 1"):
        merge([np.zeros(1, SUMS_DTYPE), np.zeros(2, SUMS_DTYPE)])
    with pytest.raises(ValueError, match="sums hold product 3; allowed are 1, 2"):
        from_json({"3": {}}, [1, 2])
    with pytest.raises(ValueError, match="sums of product 1 have fields active"):
        from_json({"1": {"active": 1}}, [1, 2])
    empty = run[:0]
    assert shard_sums(empty, _bind(empty), 2, RULES)["active"].tolist() == [0, 0]
