"""Whether the gateway can trade, and if not, why."""

from __future__ import annotations

import threading

from order_gateway.errors import NotReady

CONDITIONS = (
    "database",
    "lease",
    "recovery",
    "markets",
    "leverage",
    "account_mode",
    "venue",
    "kill_switch",
    "audit_trail",
)
NEEDED_BY_EXITS = ("lease", "markets")


class Readiness:
    """Named conditions, all unmet at start. Exits need only what they cannot do without."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unmet: dict[str, str] = dict.fromkeys(CONDITIONS, "not checked yet")
        self.met("kill_switch")
        self.met("audit_trail")

    def met(self, condition: str) -> None:
        """Mark a condition as met."""
        with self._lock:
            self._unmet.pop(condition, None)

    def unmet(self, condition: str, reason: str) -> None:
        """Mark a condition as not met, and say why."""
        if condition not in CONDITIONS:
            raise ValueError(f"no such condition: {condition}")
        with self._lock:
            self._unmet[condition] = reason

    def reasons(self) -> dict[str, str]:
        """Unmet conditions with their reasons; empty when the gateway can trade."""
        with self._lock:
            return dict(self._unmet)

    def require(self, *, exit_order: bool) -> None:
        """Raise ``NotReady`` unless an order of this kind can be taken."""
        unmet = self.reasons()
        blocking = NEEDED_BY_EXITS if exit_order else CONDITIONS
        because = [f"{name}: {unmet[name]}" for name in blocking if name in unmet]
        if because:
            raise NotReady("not ready: " + "; ".join(because))
