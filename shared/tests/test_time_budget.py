"""A deadline that whoever waits can ask for, and tasks that each have one."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from shared import celery_app, time_budget
from shared.celery_app import BudgetedTask
from shared.config import Settings


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


def test_time_runs_out_and_comes_back_with_the_end_of_the_block(now: list[float]) -> None:
    assert time_budget.left_secs() == math.inf
    with time_budget.within(5.0):
        assert time_budget.left_secs() == 5.0
        now[0] += 7.0
        assert time_budget.left_secs() == 0.0
        assert time_budget.is_spent()
    assert not time_budget.is_spent()


def test_a_budget_inside_another_only_shortens_it(now: list[float]) -> None:
    with time_budget.within(5.0):
        with time_budget.within(60.0):
            assert time_budget.left_secs() == 5.0
        with time_budget.within(2.0):
            assert time_budget.left_secs() == 2.0
        assert time_budget.left_secs() == 5.0


def test_other_threads_share_it_only_when_told_to(now: list[float]) -> None:
    together = threading.Barrier(3)

    def left(_: int) -> float:
        together.wait(timeout=30)
        return time_budget.left_secs()

    with time_budget.within(5.0), ThreadPoolExecutor(3) as pool:
        assert list(pool.map(left, range(3))) == [math.inf] * 3
        assert list(pool.map(time_budget.shared(left), range(3))) == [5.0] * 3


@pytest.mark.parametrize(
    ("name", "budget"), [("audit_price_feed", 45.0), ("optimize_trial", math.inf)]
)
def test_a_task_has_less_time_than_the_visibility_timeout(
    name: str, budget: float, now: list[float], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Looking(BudgetedTask):
        def run(self) -> float:
            return time_budget.left_secs()

    monkeypatch.setattr(celery_app.Config, "_settings", settings)
    assert settings.celery.visibility_timeout_secs == 60
    task = Looking()
    task.name = name
    assert task() == budget


def test_every_task_is_one_of_those() -> None:
    assert issubclass(celery_app.app.Task, BudgetedTask)
