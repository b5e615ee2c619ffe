"""Walk-forward windows: parameters are chosen in one and judged in a later one, with a gap between.

Nothing that was known or held at the end of a training window reaches into its test window: the gap
is as long as the longest memory of a strategy and its longest holding together (López de Prado,
*Advances in Financial Machine Learning*, 2018, chapter 7: purging and embargo).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.research.errors import ResearchError

MIN_TEST_GAPS: Final = 0.5
"""Shortest test window, as a share of the gap: a shorter one says nothing about what is held."""
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Window:
    """Ticks from ``from_ms`` to ``to_ms``, both included; Unix time in ms."""

    from_ms: int
    to_ms: int

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.to_ms - self.from_ms) / HOUR_MS


@dataclass(frozen=True, slots=True)
class Fold:
    """One training window and the test window that follows it after the gap; numbered from 1."""

    number: int
    train: Window
    test: Window


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a strategy reaches into the past and the future, ms."""

    window_ms: int
    """Longest entropy window or look-back."""
    volatility_ms: int
    """Span of the trailing volatility."""
    hold_ms: int
    """Longest life of a run, which bounds its holdings."""

    @property
    def gap_ms(self) -> int:
        """The gap that keeps a test free of its training."""
        return self.window_ms + self.volatility_ms + self.hold_ms


def walk_forward(
    first_ms: int,
    last_ms: int,
    interval_ms: int,
    reach: Reach,
    *,
    folds: int,
    train_tests: float,
    anchored: bool = False,
) -> tuple[Fold, ...]:
    """``folds`` test windows of equal length, one after another up to ``last_ms``.

    Each is preceded by the gap and, before that, by a training window ``train_tests`` times as long
    as a test (``anchored``: by everything since ``first_ms``).

    Raises
    ------
    ResearchError
        If there is too little data; says how much is needed.
    """
    span = last_ms - first_ms
    shortest_ms = max(MIN_TEST_GAPS * reach.gap_ms, 4 * interval_ms)
    needed_ms = reach.gap_ms + shortest_ms * (train_tests + folds)
    if span < needed_ms:
        raise ResearchError(
            f"the prices span {span / HOUR_MS:.1f} hours; {folds} folds with a gap of "
            f"{reach.gap_ms / HOUR_MS:.1f} hours (longest window {reach.window_ms / HOUR_MS:.1f}, "
            f"volatility {reach.volatility_ms / HOUR_MS:.1f}, longest hold "
            f"{reach.hold_ms / HOUR_MS:.1f}) need {needed_ms / HOUR_MS:.1f}; give more data, fewer "
            "folds, or a shorter providence.exits.max_duration_secs"
        )
    test_ms = (span - reach.gap_ms) / (train_tests + folds)
    train_ticks = int(train_tests * test_ms // interval_ms)
    test_ticks = int(test_ms // interval_ms)
    gap_ticks = -(-reach.gap_ms // interval_ms)
    made = []
    for number in range(1, folds + 1):
        test_end = last_ms - (folds - number) * test_ticks * interval_ms
        test_start = test_end - (test_ticks - 1) * interval_ms
        train_end = test_start - gap_ticks * interval_ms
        train_start = first_ms if anchored else train_end - (train_ticks - 1) * interval_ms
        train = Window(max(train_start, first_ms), train_end)
        made.append(Fold(number, train, Window(test_start, test_end)))
    return tuple(made)
