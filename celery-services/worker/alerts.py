"""Tasks that find what people should know, and tell them."""

from __future__ import annotations

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from shared.alerts.delivery import deliver
from shared.celery_app import app
from shared.storage.redis_keys import REOPTIMISATION_TTL_SECS, RESEARCH_QUEUE
from shared.storage.reoptimisation import ReoptimisationClaim
from worker import wiring
from worker.services.alert_watch import WatchLimits, watch, watch_breaker
from worker.services.performance import PerformanceTracker

log = structlog.get_logger(__name__)


@app.task(name="watch_for_alerts")
def watch_for_alerts() -> None:
    """Look for conditions that people must know of; queue ``high_priority``."""
    wired = wiring.get()
    limits = WatchLimits.of(wired.settings)
    try:
        watch(wired.engine, wired.alerts, limits, wired.clock)
        watch_breaker(wired.redis, wired.alerts, limits)
    except SQLAlchemyError as error:
        log.warning("watch_without_database", error=str(error))
    except RedisError as error:
        log.warning("watch_without_redis", error=str(error))


@app.task(name="deliver_alerts")
def deliver_alerts() -> None:
    """Send what is in the outbox; queue ``high_priority``.

    Waiting for a chat service holds one green thread and nothing else. Run twice at the same time,
    each message is claimed by one.
    """
    wired = wiring.get()
    try:
        done = deliver(wired.engine, wired.alert_channels, wired.clock)
    except SQLAlchemyError as error:
        log.warning("delivery_without_database", error=str(error))
        return
    if done.sent or done.retried or done.given_up:
        log.info("alerts_delivered", sent=done.sent, retried=done.retried, given_up=done.given_up)


@app.task(name="track_performance")
def track_performance() -> None:
    """Follow the account's Sharpe ratio and sum up the day; queue ``high_priority``."""
    wired = wiring.get()
    settings = wired.settings
    tracker = PerformanceTracker(
        wired.engine, wired.alerts, settings.performance, settings.alerts.keep_days, wired.clock
    )
    try:
        sharpe = tracker.track()
    except SQLAlchemyError as error:
        log.warning("performance_without_database", error=str(error))
        return
    log.info("performance", sharpe=sharpe)
    if sharpe is not None and sharpe < settings.performance.decay_sharpe:
        _set_off_search(wired)


def _set_off_search(wired: wiring.Wiring) -> None:
    """Have research workers look for better parameters, unless somebody does or did lately."""
    if not wired.settings.research.reoptimisation.enabled:
        return
    try:
        if ReoptimisationClaim(wired.redis).take():
            app.send_task("reoptimise", queue=RESEARCH_QUEUE, expires=REOPTIMISATION_TTL_SECS)
    except (RedisError, OperationalError) as error:
        log.warning("search_not_set_off", error=str(error))
