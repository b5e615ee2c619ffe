"""Refuses accounts of which ``clearinghouseState`` shows only a part.

In the unified and portfolio-margin modes the collateral lies in the spot balances: sizes, limits
and losses would be measured against a fraction of the account.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from order_gateway.readiness import Readiness
from shared.exchange_manager import ExchangeManager

log = structlog.get_logger(__name__)

CONDITION = "account_mode"
CHECK_SECS = 300.0
RETRY_SECS = 30.0
"""How soon an account is asked for again that could not be read, or not be used."""

WHOLE_MODES = frozenset({"default", "disabled", "dexAbstraction"})
"""Modes in which the perpetual account keeps its own collateral."""


class AccountModeCheck:
    """Keeps the gateway from being ready while the account's mode is not one it can read."""

    def __init__(
        self,
        manager: ExchangeManager,
        readiness: Readiness,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._readiness = readiness
        self._monotonic = monotonic
        self._due = float("-inf")

    def step(self) -> None:
        """Ask the venue, when it is time to (weight 20). Raises ``VenueError``."""
        if self._monotonic() < self._due:
            return
        self._due = self._monotonic() + RETRY_SECS
        mode = self._manager.account_mode()
        if mode not in WHOLE_MODES:
            self._readiness.unmet(CONDITION, _refusal(mode))
            log.error("account_mode_refused", mode=mode)
            return
        self._readiness.met(CONDITION)
        self._due = self._monotonic() + CHECK_SECS


def _refusal(mode: str) -> str:
    return (
        f"the account is in mode {mode!r}, in which its perpetual balance is not known to be the "
        f"whole of it; use one in a standard mode ({', '.join(sorted(WHOLE_MODES))})"
    )
