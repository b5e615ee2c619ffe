"""A run's weight is its part of the shard sums; a lost record is replaced by its checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from shared.providence.aggregate import shard_sums
from shared.providence.run_state import new_records
from shared.providence.step import Binding
from shared.testing.run_world import RULES
from worker.services.run_weights import weighted_directions


def test_weights_add_up_to_the_shard_sums() -> None:
    rng = np.random.default_rng(3)
    records = new_records(500)
    records["run_id"] = np.arange(1, 501)
    records["status"] = rng.integers(0, 2, 500)
    records["direction"] = rng.integers(-1, 2, 500)
    records["start_balance"] = 10_000.0
    records["equity"] = rng.uniform(5_000, 20_000, 500)
    records["live_pnl"] = records["equity"] - 10_000.0
    records["max_leverage"] = 10.0
    records["kelly_multiplier"] = 0.4
    records["trades"] = rng.integers(0, 20, 500)
    records["wins"] = records["trades"] // 2
    records["sum_win"], records["sum_loss"] = 0.2, 0.1
    column = np.zeros(500, dtype=np.int32)
    whole = shard_sums(records, Binding(column, column, column), 1, RULES)
    parts = weighted_directions(records, RULES)
    assert parts.sum() == pytest.approx(float(whole["weighted_direction"][0]), rel=1e-12)
    assert np.count_nonzero(parts) > 50
    assert len(weighted_directions(new_records(0), RULES)) == 0
