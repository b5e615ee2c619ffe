"""Task that brings the account to what the runs ask for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import structlog
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from shared.celery_app import app
from shared.config import Settings
from shared.storage.streams import PriceStore
from worker import wiring
from worker.services.gateway_client import GatewayClient
from worker.services.inputs import InputReader
from worker.services.observers import ObserverClient
from worker.services.reconciliation import Reconciler
from worker.services.work_lease import work_lease
from worker.wiring import Wiring

log = structlog.get_logger(__name__)

LEASE = "reconcile_positions"


@app.task(name="reconcile_positions")
def reconcile_positions() -> None:
    """One look at every symbol and the orders it leads to; queue ``high_priority``.

    Run twice or at the same time it makes the same plans, of which the gateway keeps one.
    """
    wired = wiring.get()
    with work_lease(wired.redis, LEASE, lease_secs(wired.settings)) as held:
        if not held:
            return
        try:
            with closing(reconciler(wired)) as use_case:
                use_case.reconcile()
        except SQLAlchemyError as error:
            log.warning("reconciliation_without_database", error=str(error))


def lease_secs(settings: Settings) -> float:
    """Longest time one reconciliation may take: observers, then closes, then opens."""
    r = settings.reconciliation_engine
    return 2 * r.observer_timeout_secs + 2 * r.gateway_timeout_secs


def reconciler(wired: Wiring, request_reading: Callable[[], None] | None = None) -> Reconciler:
    """The use case with this process's adapters.

    ``request_reading`` has the account read again soon; by default through the task queue.
    """
    r = wired.settings.reconciliation_engine
    return Reconciler(
        settings=wired.settings,
        engine=wired.engine,
        inputs=InputReader(
            settings=wired.settings,
            engine=wired.engine,
            prices=PriceStore(wired.redis),
            observers=ObserverClient(r.observer_nodes, r.observer_timeout_secs),
            clock=wired.clock,
        ),
        gateway=gateway_client(wired),
        request_reading=request_reading or _request_reading,
    )


def gateway_client(wired: wiring.Wiring) -> GatewayClient:
    """The order gateway of this platform."""
    r = wired.settings.reconciliation_engine
    return GatewayClient(
        r.order_gateway_url, wired.secrets.order_gateway.token, r.gateway_timeout_secs
    )


def _request_reading() -> None:
    """Have the account read again at once; the beat does it anyway, a little later."""
    try:
        app.send_task("update_balance", expires=5)
    except OperationalError as error:
        log.warning("reading_not_requested", error=str(error))
