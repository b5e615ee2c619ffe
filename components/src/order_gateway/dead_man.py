"""Dead man's switch: the venue cancels resting orders if this gateway falls silent.

``scheduleCancel`` is moved ahead while an order rests and called off when none does. The venue
grants it to accounts with enough traded volume only; where it refuses, orders rest without it.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from order_gateway.sender import ActionSender
from order_gateway.signing_desk import SigningDesk
from shared.exchange.signing import schedule_cancel_action

log = structlog.get_logger(__name__)

AHEAD_MS = 60_000
REFRESH_MS = 20_000
REFUSED_PAUSE_MS = 3_600_000


class DeadManSwitch:
    """Keeps the venue's scheduled cancel ahead of now while it is needed."""

    def __init__(
        self,
        *,
        desk: SigningDesk,
        sender: ActionSender,
        clock_ms: Callable[[], int],
    ) -> None:
        self._desk = desk
        self._sender = sender
        self._clock_ms = clock_ms
        self._scheduled = False
        self._next_ms = 0

    def step(self, *, resting: bool) -> None:
        """Schedule, move ahead or call off, whatever is due."""
        now_ms = self._clock_ms()
        if not resting and not self._scheduled:
            return
        if resting and now_ms < self._next_ms:
            return
        refusal = self._send(now_ms + AHEAD_MS if resting else None)
        if refusal is not None:
            log.warning("dead_man_refused", reason=refusal)
            self._scheduled = False
            self._next_ms = now_ms + REFUSED_PAUSE_MS
            return
        self._scheduled = resting
        self._next_ms = now_ms + REFRESH_MS if resting else 0

    def _send(self, at_ms: int | None) -> str | None:
        action = self._desk.other(schedule_cancel_action(at_ms))
        return self._sender.other(action, "scheduleCancel")
