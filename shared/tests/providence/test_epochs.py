"""Heights, resets, growth of cohorts and entropy across epochs."""

from __future__ import annotations

import math

import antropy
import numpy as np
import pytest

from shared.providence.codes import Status
from shared.providence.epochs import (
    assign_height,
    cross_run_entropy,
    request_exit,
)
from shared.providence.run_state import Records, join
from shared.tests.providence.samples import plain_run


def _runs(*changes: dict[str, float]) -> Records:
    return join([plain_run(run_id=i + 1, **change) for i, change in enumerate(changes)])


def test_take_profit_gives_a_height_once_and_lets_the_runs_trade_on() -> None:
    runs = _runs({}, {"height": 1}, {"status": Status.COMPLETED}, {"position": 2.0})
    assert assign_height(runs, 2, 60_000) == 2
    assert runs["height"].tolist() == [2, 1, 0, 2]
    assert runs["height_at_tick"].tolist() == [60_000, 0, 0, 60_000]
    assert not runs["exit_at_tick"].any()
    assert runs["status"].tolist() == [0, 0, 1, 0]
    assert assign_height(runs, 3, 65_000) == 0


def test_drawdown_reset_asks_for_exits_without_a_height() -> None:
    runs = _runs({}, {"exit_at_tick": 55_000}, {"status": Status.COMPLETED}, {"height": 4})
    assert request_exit(runs, 60_000) == 2
    assert runs["exit_at_tick"].tolist() == [60_000, 55_000, 0, 60_000]
    assert runs["height"].tolist() == [0, 0, 0, 4]


def test_cross_run_entropy_is_the_permutation_entropy_of_the_epochs() -> None:
    growths = np.random.default_rng(1).normal(size=30)
    expected = float(antropy.perm_entropy(growths, order=3, normalize=True))
    assert cross_run_entropy(list(growths)) == pytest.approx(expected, abs=1e-12)
    assert cross_run_entropy([0.1, 0.2, 0.3, 0.4]) == 0.0
    assert math.isnan(cross_run_entropy([0.1, 0.2]))


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="height is 0; allowed is 1 or more"):
        assign_height(_runs({}), 0, 5_000)
    with pytest.raises(ValueError, match="at_tick is 0; allowed is 1 or more"):
        request_exit(_runs({}), 0)
    with pytest.raises(ValueError, match="sample 1 is nan"):
        cross_run_entropy([0.1, float("nan"), 0.2, 0.3])
