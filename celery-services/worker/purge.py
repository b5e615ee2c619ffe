"""Task that retires what nothing needs any more."""

from __future__ import annotations

from dataclasses import asdict

import structlog

from shared.celery_app import app
from shared.storage.fill_days import DAY_MS
from worker import wiring
from worker.services import purge
from worker.services.fill_archive import ArchiveError, FillArchive
from worker.services.run_archive import RunArchive

log = structlog.get_logger(__name__)


@app.task(name="purge_stale_runs")
def purge_stale_runs() -> None:
    """Delete old rows and keys, archive ended runs and old fills; queue ``high_priority``.

    Raises ``ArchiveError`` if the archive cannot be written; then runs and fills stay where they
    are, and the rest is done.
    """
    wired = wiring.get()
    result = purge.purge(
        wired.engine.begin, wired.run_states, wired.clock, purge.Retention.of(wired.settings)
    )
    log.info("purged", **asdict(result))
    settings = wired.settings.purge
    kept = {"retention_ms": settings.run_fill_days * DAY_MS}
    fills = FillArchive(wired.engine.begin, settings.archive, wired.clock, **kept)
    ended = RunArchive(wired.engine.begin, settings.archive, wired.clock, **kept)
    try:
        moved, runs = fills.rotate(), ended.rotate()
    except OSError as error:
        raise ArchiveError(
            f"{settings.archive} cannot be written ({error.strerror or error}): ended runs and "
            "their fills stay in MariaDB until it can"
        ) from error
    log.info("archived", fills=moved.fills, day_dropped=moved.dropped, runs=runs)
