"""Beat entries at multiples of their period, whenever beat was started."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from celery.beat import ScheduleEntry

from shared.aligned_schedule import AlignedSchedule

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def at(secs: float) -> datetime:
    return TEN + timedelta(seconds=secs)


def schedule(now: datetime, period: float = 5.0) -> AlignedSchedule:
    return AlignedSchedule(period, nowfun=lambda: now, app=Celery(set_as_current=False))


@pytest.mark.parametrize(
    ("now", "last", "due", "wait"),
    [
        (3.0, 1.0, False, 2.0),
        (5.0, 1.0, True, 5.0),
        (5.5, 1.0, True, 4.5),
        (5.5, 5.0, False, 4.5),
        (9.999, 5.1, False, 0.001),
        (10.0, 5.1, True, 5.0),
        (127.0, 5.0, True, 3.0),
    ],
)
def test_due_once_after_each_multiple(now: float, last: float, due: bool, wait: float) -> None:
    state = schedule(at(now)).is_due(at(last))
    assert state.is_due is due
    assert state.next == pytest.approx(wait)


def test_a_day_of_looks_finds_every_multiple_once() -> None:
    last, now, runs = at(1.3), at(1.3), []
    while now < at(600):
        state = schedule(now, 2.5).is_due(last)
        if state.is_due:
            runs.append(now)
            last = now
        now += timedelta(seconds=min(state.next, 1.0) + 0.003)
    assert len(runs) == 239
    assert all(((run - TEN) % timedelta(seconds=2.5)).total_seconds() < 1.1 for run in runs)


def test_entry_survives_the_schedule_file_of_beat() -> None:
    entry = ScheduleEntry(name="x", task="x", schedule=AlignedSchedule(5.0), app=Celery())
    stored = pickle.loads(pickle.dumps(entry.schedule))
    assert type(stored) is AlignedSchedule
    assert stored == entry.schedule
