"""The gateway's hand on the audit trail: what cannot be written stops new exposure, and says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from order_gateway.readiness import Readiness
from shared.risk.audit import AuditError, AuditTrail

log = structlog.get_logger(__name__)

CONDITION = "audit_trail"


class AuditWriter:
    """Writes lines and keeps the readiness for opening orders in step with whether they arrive."""

    def __init__(
        self, trail: AuditTrail, readiness: Readiness, clock_ms: Callable[[], int]
    ) -> None:
        self._trail = trail
        self._readiness = readiness
        self._clock_ms = clock_ms
        self._failing = False

    def write(self, event: str, fields: Mapping[str, Any], *, sync: bool = False) -> bool:
        """Add one line; whether it was written. ``sync`` forces it to the disk."""
        try:
            self._trail.append(event, self._clock_ms(), fields, sync=sync)
        except AuditError as error:
            self._failing = True
            self._readiness.unmet(CONDITION, f"cannot be written: {error}")
            log.error("audit_trail_failed", reason=str(error))  # noqa: TRY400
            return False
        if self._failing:
            self._failing = False
            self._readiness.met(CONDITION)
        return True

    def try_again(self) -> None:
        """After a failure, write a line that says so; once it is written, orders may open."""
        if self._failing:
            self.write("audit_trail_resumed", {}, sync=True)
