"""Task that keeps the local reading of the account current."""

from __future__ import annotations

import structlog

from shared.celery_app import app
from shared.exchange.errors import VenueError
from worker import wiring
from worker.services import balance

log = structlog.get_logger(__name__)


@app.task(name="update_balance")
def update_balance() -> None:
    """Read every configured dex and publish the account; queue ``high_priority``.

    A venue that cannot be read is logged and left to the next run, a few seconds later; what is
    stored meanwhile grows stale.
    """
    wired = wiring.get()
    try:
        balance.update_balance(wired.exchange, wired.engine, wired.redis, wired.clock)
    except VenueError as error:
        log.warning("account_not_read", error=str(error), error_class=error.error_class)
