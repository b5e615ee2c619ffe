"""How the platform raises an alert: one call, which never fails its caller.

Raising writes one row to MariaDB; talking to a chat service is the delivery task's business. So a
dead chat service slows nothing down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from shared.alerts.alert import Alert, AlertKind
from shared.alerts.rules import Judgement
from shared.config_sections import AlertSettings
from shared.database import UnitOfWork, retry_deadlocks
from shared.storage.alert_outbox import AlertOutbox

log = structlog.get_logger(__name__)

NEVER_MS = 2**62


class Alerts:
    """Puts alerts of the enabled kinds into the outbox; safe for threads and green threads."""

    def __init__(
        self, engine: Engine, settings: AlertSettings, clock_ms: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._enabled = frozenset(AlertKind(kind) for kind in settings.enabled) | {AlertKind.TEST}
        self._cooldown_ms = round(settings.cooldown_secs * 1000)
        self._clock_ms = clock_ms

    def raise_alert(
        self, alert: Alert, *, hold_secs: float = 0, once: bool = False
    ) -> Judgement | None:
        """Tell people, once the condition has lasted ``hold_secs``; ``once`` without reminders.

        Without a database there is an error in the log and no message: None, as for a kind that is
        not enabled. Nothing is raised.
        """
        if alert.kind not in self._enabled:
            return None
        try:
            judgement = self._put(
                alert, round(hold_secs * 1000), NEVER_MS if once else self._cooldown_ms
            )
        except SQLAlchemyError as error:
            log.error("alert_not_kept", kind=alert.kind.value, title=alert.title, error=str(error))  # noqa: TRY400
            return None
        if judgement in (Judgement.SEND, Judgement.PROMOTE):
            log.warning("alert_raised", kind=alert.kind.value, title=alert.title, body=alert.body)
        return judgement

    def settle(self, kinds: Collection[AlertKind], lasting: Collection[Alert]) -> None:
        """Every condition of these kinds is over, but for the ``lasting`` ones."""
        names = {(alert.kind.value, alert.subject) for alert in lasting}
        with UnitOfWork(self._engine) as uow:
            AlertOutbox(uow.conn).settle(kinds, names)
            uow.commit()

    def _put(self, alert: Alert, hold_ms: int, cooldown_ms: int) -> Judgement:
        def work() -> Judgement:
            with UnitOfWork(self._engine) as uow:
                judgement = AlertOutbox(uow.conn).put(
                    alert, self._clock_ms(), hold_ms=hold_ms, cooldown_ms=cooldown_ms
                )
                uow.commit()
            return judgement

        try:
            return retry_deadlocks(work)
        except IntegrityError:
            return retry_deadlocks(work)  # another process began the same episode a moment ago
