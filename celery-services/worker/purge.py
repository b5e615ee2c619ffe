"""Task that retires what nothing needs any more."""

from __future__ import annotations

from dataclasses import asdict

import structlog

from shared.celery_app import app
from worker import wiring
from worker.services import purge

log = structlog.get_logger(__name__)


@app.task(name="purge_stale_runs")
def purge_stale_runs() -> None:
    """Delete old rows and keys, make days for new fills; queue ``high_priority``."""
    wired = wiring.get()
    purge.make_days(wired.engine.begin, wired.clock)
    result = purge.purge(
        wired.engine.begin, wired.run_states, wired.clock, purge.Retention.of(wired.settings)
    )
    log.info("purged", **asdict(result))
