"""Task that audits the price feed."""

from __future__ import annotations

from shared.celery_app import app
from shared.storage.streams import PriceStore
from worker import wiring
from worker.services import feed


@app.task(name="audit_price_feed")
def audit_price_feed() -> None:
    """Check freshness, sample series and second source; queue ``high_priority``."""
    wired = wiring.get()
    feed.audit(
        wired.settings,
        wired.exchange,
        wired.engine,
        PriceStore(wired.redis),
        wired.clock,
        wired.since_ms,
    )
