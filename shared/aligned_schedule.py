"""A beat schedule on the wall clock: every entry at multiples of its period, as ticks are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from celery.schedules import schedule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO = timedelta(0)


class _State(NamedTuple):
    is_due: bool
    next: float
    """Seconds until the next look."""


class AlignedSchedule(schedule):  # type: ignore[misc]  # celery has no types
    """Due once after each multiple of ``run_every`` since 1970 (UTC).

    Celery's own schedules count from the last run, so that a task would follow each tick by
    whatever beat's start happened to fall on, up to a whole period late. Multiples that were
    missed, because beat was down for instance, are made up for once.
    """

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Time until the next multiple; zero when one has passed since ``last_run_at``."""
        now = self.maybe_make_aware(self.now())
        since = (now - _EPOCH) % self.run_every
        if self.maybe_make_aware(last_run_at) < now - since:
            return _ZERO
        remaining: timedelta = self.run_every - since
        return remaining

    def is_due(self, last_run_at: datetime) -> _State:
        """Whether the task is to run now, and the time until the next look."""
        remaining = self.remaining_estimate(last_run_at)
        if remaining:
            return _State(False, remaining.total_seconds())
        now = self.maybe_make_aware(self.now())
        return _State(True, (self.run_every - (now - _EPOCH) % self.run_every).total_seconds())
