"""Queues, routes and the beat schedule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shared.aligned_schedule import AlignedSchedule
from shared.celery_app import ROUTES, beat_schedule, celery_configuration
from shared.config import load_settings

CONFIG = Path(__file__).parents[2] / "config.yml"


def test_every_task_has_a_queue_and_every_periodic_task_an_entry() -> None:
    schedule = beat_schedule(load_settings(CONFIG, environ={}))
    on_request = {task for task, queue in ROUTES.items() if queue == "research"}
    assert set(schedule) == set(ROUTES) - {"providence_trading_iteration"} - on_request
    for name, entry in schedule.items():
        assert entry["task"] == name
        assert entry["options"]["queue"] == "high_priority"


def test_entries_take_their_period_from_the_configuration_and_expire_after_it() -> None:
    settings = load_settings(
        CONFIG,
        environ={
            "T3__celery__schedules__update_balance": "7",
            "T3__reconciliation_engine__rebalance_frequency": "9",
        },
    )
    schedule = beat_schedule(settings)
    assert schedule["update_balance"]["schedule"] == 7
    assert schedule["reconcile_positions"]["schedule"] == 9
    iterations = schedule.pop("providence_iteration_scheduler")
    period = settings.celery.schedules.providence_iteration_scheduler
    assert iterations["schedule"] == AlignedSchedule(period)
    assert iterations["options"]["expires"] == period
    assert all(e["options"]["expires"] == e["schedule"] for e in schedule.values())


def test_iterations_alone_run_on_the_low_priority_queue() -> None:
    low = {task for task, queue in ROUTES.items() if queue == "low_priority"}
    assert low == {"providence_trading_iteration"}


def test_delivery_is_at_least_once_and_quick_to_come_back() -> None:
    conf = celery_configuration(load_settings(CONFIG, environ={}), "redis://h/0")
    assert conf["task_acks_late"]
    assert conf["task_reject_on_worker_lost"]
    assert conf["broker_transport_options"]["visibility_timeout"] == 60
    assert conf["broker_transport_options"]["unacked_restore_interval"] == 1


def test_application_imports_without_a_configuration(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import shared.celery_app"],
        cwd=tmp_path,
        env={"T3_CONFIG": str(tmp_path / "absent.yml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
