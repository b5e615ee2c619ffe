"""Tasks that keep account of whose money the account's money is."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.celery_app import app
from shared.exchange.errors import VenueError
from worker import wiring
from worker.services.attribution import Attribution
from worker.services.run_weights import StoredRunWeights
from worker.wiring import Wiring

log = structlog.get_logger(__name__)


@app.task(name="attribute_fills")
def attribute_fills() -> None:
    """Split new fills over the runs that asked for them; queue ``high_priority``."""
    wired = wiring.get()
    try:
        count = _use_case(wired).attribute_fills()
    except SQLAlchemyError as error:
        log.warning("attribution_without_database", error=str(error))
        return
    if count:
        log.info("fills_attributed", fills=count)


@app.task(name="attribute_payments")
def attribute_payments() -> None:
    """Split funding, and note deposits and withdrawals; queue ``high_priority``."""
    wired = wiring.get()
    use_case, venue = _use_case(wired), wired.exchange
    try:
        funding = use_case.attribute_funding(venue.info, venue.wallet)
        transfers = use_case.attribute_transfers(venue.info, venue.wallet, venue.dexes)
    except SQLAlchemyError as error:
        log.warning("attribution_without_database", error=str(error))
        return
    except VenueError as error:
        log.warning("payments_not_read", error=str(error), error_class=error.error_class)
        return
    if funding or transfers:
        log.info("payments_attributed", funding=funding, transfers=transfers)


def _use_case(wired: Wiring) -> Attribution:
    weights = StoredRunWeights(
        wired.engine, wired.run_states, wired.runs, wired.settings.rules(), wired.clock
    )
    return Attribution.of(wired.settings, wired.engine, weights, wired.clock)
