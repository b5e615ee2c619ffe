"""Task that keeps candles, funding and listings current."""

from __future__ import annotations

import structlog

from shared.celery_app import app
from shared.exchange.errors import VenueError
from worker import wiring
from worker.services.market_data import MarketDataFetcher

log = structlog.get_logger(__name__)


@app.task(name="schedule_market_data_fetching")
def schedule_market_data_fetching() -> None:
    """Fetch what is due for every symbol and time frame; queue ``high_priority``.

    What the venue refuses is logged and asked for again by the next run.
    """
    wired = wiring.get()
    fetcher = MarketDataFetcher(
        wired.settings, wired.exchange, wired.engine, wired.redis, wired.clock
    )
    try:
        report = fetcher.run()
    except VenueError as error:
        log.warning("markets_not_read", error=str(error), error_class=error.error_class)
        return
    if report.failures:
        log.warning(
            "market_data_incomplete", failures=len(report.failures), first=report.failures[0]
        )
    log.info(
        "market_data_fetched",
        bars=report.bars,
        refilled=report.refilled,
        gaps=report.gaps,
        funding_points=report.funding_points,
    )
