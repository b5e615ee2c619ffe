"""Task that retires what nothing needs any more."""

from __future__ import annotations

import structlog

from shared.celery_app import app
from shared.storage.fill_days import DAY_MS
from worker import wiring
from worker.services import purge
from worker.services.fill_archive import FillArchive

log = structlog.get_logger(__name__)


@app.task(name="purge_stale_runs")
def purge_stale_runs() -> None:
    """Delete old rows and the keys of ended runs, archive old fills; queue ``high_priority``."""
    wired = wiring.get()
    result = purge.purge(
        wired.engine.begin, wired.run_states, wired.clock, purge.Retention.of(wired.settings)
    )
    log.info(
        "purged",
        ticks=result.ticks,
        checkpoints=result.checkpoints,
        reasons=result.reasons,
        run_states=result.run_states,
    )
    settings = wired.settings.purge
    archive = FillArchive(
        wired.engine.begin,
        settings.archive,
        wired.clock,
        retention_ms=settings.run_fill_days * DAY_MS,
    )
    moved = archive.rotate()
    log.info("fills_archived", fills=moved.fills, day_dropped=moved.dropped)
