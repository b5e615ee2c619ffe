"""On prices whose order says nothing, the parameters that a search chose earn nothing afterwards.

Costs are off, so that any gift from the future would show. The whole search is run: folds, studies,
early giving up, choice. A few shuffles by default; ``T3_SHUFFLES=200`` makes it the full check
(minutes).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.research.optimize.outcome import FoldOutcome, outcome_of
from shared.research.optimize.search import plan, run
from shared.research.optimize.senders import InlineSender
from shared.research.request import Request
from shared.tests.research.optimize import small
from shared.tests.research.samples import candle_text, walk, write

SHUFFLES = int(os.environ.get("T3_SHUFFLES", "5"))
FULL = 200
MINUTES = 900
TRIALS = 6


def _shuffled(seed: int) -> NDArray[np.float64]:
    """Returns of a market with memory, in random order and with random signs."""
    rng = np.random.default_rng([seed, 78])
    returns = np.diff(np.log(walk(MINUTES + 1, 4)))
    mixed = rng.permutation(returns) * rng.choice([-1.0, 1.0], len(returns))
    return 3_000.0 * np.exp(np.cumsum(mixed))


def _fold(folder: Path, seed: int) -> FoldOutcome:
    folder.mkdir()
    file = write(folder / "BTC_1m.csv", candle_text(_shuffled(seed)))
    request = Request(data=(str(file),), seed=seed, runs=20, free_of_costs=True)
    wanted = plan(request, small.settings(), TRIALS, folds=1)
    storage = small.storage(folder)
    studies = run(wanted, storage, InlineSender(storage), lambda *_: None)
    storage.engine.dispose()
    return outcome_of(wanted.folds, studies, wanted.settings).folds[0]


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[FoldOutcome]:
    folder = tmp_path_factory.mktemp("shuffles")
    return [_fold(folder / str(seed), seed) for seed in range(SHUFFLES)]


def _t(values: NDArray[np.float64]) -> float:
    return float(values.mean() / values.std(ddof=1) * np.sqrt(len(values)))


@pytest.mark.timeout(3_600)
def test_what_was_chosen_on_shuffled_prices_earns_nothing(folds: list[FoldOutcome]) -> None:
    chosen = [fold.chosen for fold in folds if fold.chosen is not None]
    assert len(chosen) > 0.8 * len(folds)
    later = np.array([trial.test.objectives.growth for trial in chosen])
    before = np.array([trial.train.objectives.growth for trial in chosen])
    assert later.std() > 0.0
    assert _t(later) < 1.65
    # the training looks good, as the best of several always does: that is why it is not shown alone
    assert before.mean() > later.mean()


def test_the_same_check_finds_a_choice_that_has_seen_its_test(folds: list[FoldOutcome]) -> None:
    peeked = [
        replace(fold, tried=tuple(replace(t, train=t.test, test=t.test) for t in fold.tried))
        for fold in folds
    ]
    growths = [fold.chosen.test.objectives.growth for fold in peeked if fold.chosen is not None]
    honest = [fold.chosen.test.objectives.growth for fold in folds if fold.chosen is not None]
    assert np.mean(growths) > np.mean(honest)
    if SHUFFLES >= FULL:
        assert _t(np.array(growths)) > 3.0
