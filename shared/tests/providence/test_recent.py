"""A window that slides has the numbers of one that is sorted anew."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.providence.recent import Recent, SlidingRecent, sorted_entropy
from shared.tests.providence.samples import make_space

SPACE = make_space()
IDS = (4, 2)
SIZE = 60


def _entropy(ticks: int) -> NDArray[np.float64]:
    """Values that repeat, with gaps in some columns and nothing at all in another."""
    rng = np.random.default_rng(3)
    values = rng.integers(0, 40, (ticks, len(SPACE.cells), len(IDS))) / 40.0
    values[rng.random(values.shape) < 0.1] = np.nan
    values[100:130, 0] = np.nan
    values[:, 1, 1] = np.nan
    values[50, 2] = np.inf
    return values


def _same(one: Recent, other: Recent) -> None:
    for field in Recent._fields:
        assert getattr(one, field).tobytes() == getattr(other, field).tobytes(), field


@pytest.mark.parametrize("fresh", [1, 7, 59, 60, 200])
def test_sliding_window_is_the_sorted_one(fresh: int) -> None:
    entropy = _entropy(700)
    sliding = SlidingRecent(SPACE, IDS)
    for end in range(SIZE, len(entropy), fresh):
        window = entropy[end - SIZE : end]
        _same(sliding.slide(window, fresh), sorted_entropy(window, SPACE, IDS))


def test_window_that_has_not_moved_or_has_grown_is_sorted_anew() -> None:
    entropy = _entropy(200)
    sliding = SlidingRecent(SPACE, IDS)
    for window, fresh in ((entropy[:60], 0), (entropy[:60], 0), (entropy[:90], 30)):
        _same(sliding.slide(window, fresh), sorted_entropy(window, SPACE, IDS))
