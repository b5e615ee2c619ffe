"""The Celery application: queues, routes, delivery rules and the beat schedule.

Importing this module reads no file: settings and secrets are read when a worker, beat or a
sender first needs the configuration.

A task whose worker dies is delivered again (acks late, reject on lost) until its message
expires, so a task that kills its worker cannot come back for ever. One that takes longer than the
visibility timeout would be delivered again while it runs: each has a time budget below that, and
stops waiting, repeating and catching up when it is used up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery, Task
from kombu import Exchange, Queue

from shared import time_budget
from shared.aligned_schedule import AlignedSchedule
from shared.celery_observability import CeleryObservability
from shared.config import Config, Settings, load_secrets
from shared.database import redis_url
from shared.storage.redis_keys import HIGH_PRIORITY_QUEUE, LOW_PRIORITY_QUEUE, RESEARCH_QUEUE

TASK_MODULES = (
    "worker.providence",
    "worker.reconciliation_engine",
    "worker.balance",
    "worker.market_data",
    "worker.feed",
    "worker.volatility",
    "worker.purge",
    "worker.attribution",
    "worker.alerts",
    "worker.research",
)

ROUTES = {
    "providence_supervisor": HIGH_PRIORITY_QUEUE,
    "providence_iteration_scheduler": HIGH_PRIORITY_QUEUE,
    "providence_trading_iteration": LOW_PRIORITY_QUEUE,
    "reconcile_positions": HIGH_PRIORITY_QUEUE,
    "update_balance": HIGH_PRIORITY_QUEUE,
    "schedule_market_data_fetching": HIGH_PRIORITY_QUEUE,
    "audit_price_feed": HIGH_PRIORITY_QUEUE,
    "update_volatility": HIGH_PRIORITY_QUEUE,
    "purge_stale_runs": HIGH_PRIORITY_QUEUE,
    "attribute_fills": HIGH_PRIORITY_QUEUE,
    "attribute_payments": HIGH_PRIORITY_QUEUE,
    "track_performance": HIGH_PRIORITY_QUEUE,
    "watch_for_alerts": HIGH_PRIORITY_QUEUE,
    "deliver_alerts": HIGH_PRIORITY_QUEUE,
    "optimize_trial": RESEARCH_QUEUE,
    "reoptimise": RESEARCH_QUEUE,
}


AT_TICKS = frozenset({"providence_iteration_scheduler"})


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """One entry per periodic task, named after it; each message expires after one period.

    Iterations are sent at the ticks themselves, which are multiples of their period.
    """
    periods: Mapping[str, float] = {
        **settings.celery.schedules.model_dump(),
        "reconcile_positions": settings.reconciliation_engine.rebalance_frequency,
    }
    return {
        name: {
            "task": name,
            "schedule": AlignedSchedule(period) if name in AT_TICKS else period,
            "options": {"queue": ROUTES[name], "expires": period},
        }
        for name, period in sorted(periods.items())
    }


def celery_configuration(settings: Settings, broker_url: str) -> dict[str, Any]:
    """Celery's configuration for these settings."""
    return {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": settings.celery.visibility_timeout_secs,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_timeout": settings.redis.timeout_secs,
            "socket_connect_timeout": settings.redis.timeout_secs,
        },
        "task_queues": [
            Queue(name, Exchange(name), routing_key=name)
            for name in (HIGH_PRIORITY_QUEUE, LOW_PRIORITY_QUEUE, RESEARCH_QUEUE)
        ],
        "task_default_queue": HIGH_PRIORITY_QUEUE,
        "task_routes": {name: {"queue": queue} for name, queue in ROUTES.items()},
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "timezone": "UTC",
        "enable_utc": True,
        "beat_schedule": beat_schedule(settings),
        "beat_max_loop_interval": 1.0,
    }


def _configuration() -> dict[str, Any]:
    settings = Config.settings()
    return celery_configuration(settings, redis_url(settings, load_secrets()))


class BudgetedTask(Task):  # type: ignore[misc]  # Celery is not typed
    """A task that knows how long it may take; trials of optimisations take as long as they need."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it within its time budget."""
        if ROUTES.get(self.name) == RESEARCH_QUEUE:
            return self.run(*args, **kwargs)
        with time_budget.within(Config.settings().celery.task_budget_secs):
            return self.run(*args, **kwargs)


app = Celery("3t", include=list(TASK_MODULES), task_cls=BudgetedTask)
app.add_defaults(_configuration)

observability = CeleryObservability(Config.settings)
observability.connect()
