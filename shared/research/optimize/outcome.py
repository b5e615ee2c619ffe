"""What was chosen in training, and what it earned afterwards: never the one without the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from shared.config import Settings
from shared.research.optimize.folds import HOUR_MS, Fold
from shared.research.optimize.overfitting import (
    Overfitting,
    backtest_overfitting,
    deflated_sharpe,
    moments,
    probabilistic_sharpe,
)
from shared.research.optimize.trial import Result
from shared.research.performance import HOURS_PER_YEAR, drawdown
from shared.research.tables import FloatArray

MOST_BLOCKS: Final = 16


@dataclass(frozen=True)
class Tried:
    """A trial that went all the way: its values, and both its windows."""

    number: int
    values: Mapping[str, Any]
    is_current: bool
    train: Result
    test: Result
    host: str
    code_version: str


@dataclass(frozen=True)
class FoldOutcome:
    """One fold: all that was tried, and what was chosen of it by its training alone."""

    fold: Fold
    tried: tuple[Tried, ...]
    pruned: int
    failed: int
    max_drawdown: float
    min_orders: int

    @property
    def count(self) -> int:
        """Trials that took part in the choice, those given up early included."""
        return len(self.tried) + self.pruned

    @cached_property
    def current(self) -> Tried | None:
        """The present configuration."""
        return next((trial for trial in self.tried if trial.is_current), None)

    @cached_property
    def trading(self) -> tuple[Tried, ...]:
        """Trials that trade enough to be judged: doing nothing is never the worst in anything."""
        return tuple(trial for trial in self.tried if trial.train.orders >= self.min_orders)

    @cached_property
    def chosen(self) -> Tried | None:
        """The trial that grew most in training within the limits; None if none is within them."""
        allowed = [t for t in self.trading if t.train.objectives.drawdown <= self.max_drawdown]
        return max(allowed, key=lambda t: (t.train.objectives.growth, -t.number), default=None)

    @cached_property
    def front(self) -> tuple[Tried, ...]:
        """Trading trials that no other of them dominates in training."""
        return _front(self.trading, "train")

    @cached_property
    def test_front(self) -> tuple[Tried, ...]:
        """Those that no other dominated in the test: known only afterwards."""
        return _front([trial for trial in self.trading if trial.test.orders], "test")

    @cached_property
    def deflated_sharpe(self) -> float:
        """Of the choice's training returns, by the number of trials; NaN without a choice."""
        if self.chosen is None:
            return math.nan
        known = [moments(trial.train.returns).sharpe for trial in self.tried]
        sharpes = np.array(known + [math.nan] * self.pruned)
        return deflated_sharpe(moments(self.chosen.train.returns), sharpes)

    @cached_property
    def overfitting(self) -> Overfitting | None:
        """Cross-validation of the choice over the training window; None with too little."""
        returns = [t.train.returns for t in self.tried if t.train.returns.any()]
        if len(returns) < 2:
            return None
        table = np.column_stack(returns)
        blocks = min(MOST_BLOCKS, len(table) // 4 * 2)
        return backtest_overfitting(table, blocks) if blocks >= 2 else None

    @cached_property
    def rank(self) -> float:
        """Share of the trials that grew less in the test than the choice, 0 to 1."""
        others = [t.test.objectives.growth for t in self.tried if t is not self.chosen]
        if self.chosen is None or not others:
            return math.nan
        own = self.chosen.test.objectives.growth
        below = sum(growth < own for growth in others)
        equal = sum(growth == own for growth in others)
        return (below + equal / 2) / len(others)


@dataclass(frozen=True)
class Walk:
    """Test windows one after another: what a person who chose anew before each would have had."""

    tick_ms: FloatArray
    """Ends of the periods."""
    returns: FloatArray
    net_return: float
    max_drawdown: float
    sharpe: float
    """Per year."""
    sharpe_error: float
    probability: float
    """Probabilistic Sharpe ratio: that the true one is above 0."""
    turnover: float
    """Per day."""
    orders: int
    costs: float


@dataclass(frozen=True)
class Outcome:
    """A whole optimisation."""

    folds: tuple[FoldOutcome, ...]

    @cached_property
    def walk(self) -> Walk:
        """The choices, each in its test; a fold without a choice does not trade."""
        return _walk(self.folds, [fold.chosen for fold in self.folds])

    @cached_property
    def current_walk(self) -> Walk:
        """The present configuration in the same tests."""
        return _walk(self.folds, [fold.current for fold in self.folds])

    @cached_property
    def train_growth(self) -> float:
        """Mean log-growth per day that the choices had in training."""
        known = [f.chosen.train.objectives.growth for f in self.folds if f.chosen is not None]
        return float(np.mean(known)) if known else math.nan

    @cached_property
    def test_growth(self) -> float:
        """Mean log-growth per day of the same choices in their tests."""
        known = [f.chosen.test.objectives.growth for f in self.folds if f.chosen is not None]
        return float(np.mean(known)) if known else math.nan

    @cached_property
    def overfitting(self) -> float:
        """Mean probability of backtest overfitting over the folds; NaN if unknown."""
        known = [f.overfitting.probability for f in self.folds if f.overfitting is not None]
        return float(np.mean(known)) if known else math.nan

    @property
    def proposed(self) -> Tried | None:
        """What the newest fold chose: the newest training, with a test that it has not seen."""
        return self.folds[-1].chosen


def outcome_of(folds: Sequence[Fold], studies: Sequence[Study], settings: Settings) -> Outcome:
    """Read the studies of an optimisation."""
    research = settings.research
    made = []
    for fold, study in zip(folds, studies, strict=True):
        trials = study.get_trials(deepcopy=False)
        made.append(
            FoldOutcome(
                fold,
                tuple(_tried(t) for t in trials if t.state == TrialState.COMPLETE),
                pruned=sum(t.state == TrialState.PRUNED for t in trials),
                failed=sum(t.state == TrialState.FAIL for t in trials),
                max_drawdown=research.max_drawdown,
                min_orders=research.min_orders,
            )
        )
    return Outcome(tuple(made))


def _tried(trial: FrozenTrial) -> Tried:
    found = trial.user_attrs["found"]
    return Tried(
        trial.number,
        found["values"],
        bool(trial.user_attrs.get("current")),
        Result.from_json(found["train"]),
        Result.from_json(found["test"]),
        found["host"],
        found["code_version"],
    )


def _front(tried: Sequence[Tried], window: str) -> tuple[Tried, ...]:
    figures = [getattr(trial, window).objectives for trial in tried]
    return tuple(
        trial
        for trial, own in zip(tried, figures, strict=True)
        if not any(other.dominates(own) for other in figures)
    )


def _walk(folds: Sequence[FoldOutcome], trials: Sequence[Tried | None]) -> Walk:
    ends, returns = [], []
    days = traded = costs = 0.0
    orders = 0
    period = max((t.test.period_hours for f in folds for t in f.tried), default=1)
    for fold, trial in zip(folds, trials, strict=True):
        window = fold.fold.test
        count = max(1, int(window.hours // period))
        days += window.hours / 24.0
        ends.append(window.from_ms + np.arange(1, count + 1) * period * HOUR_MS)
        returns.append(np.zeros(count) if trial is None else trial.test.returns)
        if trial is not None:
            traded += trial.test.objectives.turnover * window.hours / 24.0
            orders += trial.test.orders
            costs += trial.test.costs
    series = np.concatenate(returns).astype(np.float64)
    worth = np.cumprod(1.0 + series, dtype=np.float64)
    own = moments(series)
    year = math.sqrt(HOURS_PER_YEAR / period)
    error = math.sqrt((1.0 + own.sharpe**2 / 2.0) / own.count)
    return Walk(
        np.concatenate(ends).astype(np.float64),
        series,
        float(worth[-1]) - 1.0,
        float(drawdown(worth, 1.0).max()),
        own.sharpe * year,
        error * year,
        probabilistic_sharpe(own),
        traded / days if days else 0.0,
        orders,
        costs,
    )
