"""Task that keeps each symbol's volatility and trading range current."""

from __future__ import annotations

import structlog

from shared.celery_app import app
from shared.storage.volatility import VolatilityStore
from worker import wiring
from worker.services import volatility

log = structlog.get_logger(__name__)


@app.task(name="update_volatility")
def update_volatility() -> None:
    """Estimate and publish volatility; queue ``high_priority``."""
    wired = wiring.get()
    found = volatility.update_volatility(
        wired.settings, wired.engine, VolatilityStore(wired.redis), wired.clock
    )
    log.info("volatility_updated", symbols=len(found))
