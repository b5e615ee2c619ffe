"""Tasks of the queue ``research``, for workers of its own: never beside live trading.

Optuna and the research code are loaded by the workers that do this, and by no other.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.celery_app import app
from shared.storage.reoptimisation import ReoptimisationClaim
from worker import wiring

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

log = structlog.get_logger(__name__)


@app.task(name="optimize_trial", acks_late=False)
def optimize_trial(study: str, number: int) -> None:
    """Do one trial of a search; queue ``research``.

    Acknowledged at its start, because a trial may take longer than the broker waits. Nothing is
    lost by that: who does a trial and whether they live is in the database of trials, and whoever
    runs the search sends again what nobody does.
    """
    from optuna.exceptions import StorageInternalError

    from shared.research.errors import ResearchError
    from shared.research.optimize.work import run_trial

    try:
        state = run_trial(_storage(), study, number)
    except (ResearchError, SQLAlchemyError, StorageInternalError) as error:
        log.warning("trial_not_done", study=study, trial=number, error=str(error))
        return
    if state is not None:
        log.info("trial_done", study=study, trial=number, state=state.name)


@app.task(name="reoptimise", acks_late=False)
def reoptimise() -> None:
    """Search for better parameters and propose them as a diff; queue ``research``.

    Set off by decay, with a claim that the search renews: should this worker die, the claim runs
    out, decay sets it off again, and it goes on with the trials that are done.
    """
    from worker.services.reoptimisation import Reoptimisation

    wired = wiring.get()
    settings = wiring.refresh_settings()
    proposal = Reoptimisation(
        settings,
        Path(os.environ.get("T3_CONFIG", "config.yml")),
        _storage(),
        wired.alerts,
        ReoptimisationClaim(wired.redis),
        wired.clock,
    ).propose()
    log.info("reoptimised", proposal=None if proposal is None else str(proposal))


@cache
def _storage() -> RDBStorage:
    """The database of trials, once per process of the pool."""
    from shared.research.optimize.studies import open_storage

    wired = wiring.get()
    return open_storage(wired.settings, wired.secrets)
