"""What the gateway knows of the account: its own complete readings, never derived from fills."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.exchange.errors import VenueError
from shared.exchange.payloads import AccountSnapshot
from shared.exchange_manager import ExchangeManager
from shared.observation import Known, Observation, Unknown, aged, map_known
from shared.risk.limits import AccountFacts

MAX_AGE_MS = 10_000
REREAD_AFTER_MS = 3_000


@dataclass(frozen=True, slots=True)
class _Reading:
    snapshot: AccountSnapshot
    asked_ms: int


class AccountView:
    """The newest complete ``clearinghouseState``; threads share one reading at a time."""

    def __init__(self, manager: ExchangeManager, clock_ms: Callable[[], int]) -> None:
        self._manager = manager
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._reading: _Reading | None = None
        self._failure = "the account has not been read yet"
        self._failed_at = float("-inf")

    def refresh(self) -> Observation[AccountSnapshot]:
        """Read the account now. A failed reading never replaces a good one, it only ages."""
        with self._lock:
            return self._read()

    def current(self) -> Observation[AccountSnapshot]:
        """The newest reading; read anew first if it is a few seconds old.

        One that is new enough is returned at once, even while another is being read.
        """
        return self._recent() or self._read_if_old()

    def latest(self) -> Observation[AccountSnapshot]:
        """The newest reading as it is, without asking the venue."""
        reading = self._reading
        if reading is None:
            return Unknown(self._failure)
        return aged(reading.snapshot, reading.asked_ms, self._clock_ms(), MAX_AGE_MS)

    def facts(self) -> Observation[AccountFacts]:
        """What the risk rules need of ``current``."""
        return map_known(self.current(), account_facts)

    def _recent(self) -> Known[AccountSnapshot] | None:
        reading = self._reading
        if reading is None or abs(self._clock_ms() - reading.asked_ms) > REREAD_AFTER_MS:
            return None
        return Known(reading.snapshot, reading.asked_ms)

    def _read_if_old(self) -> Observation[AccountSnapshot]:
        asked_at = time.monotonic()
        with self._lock:  # whoever waited here finds what the one before has read, or could not
            if self._failed_at > asked_at:
                return self.latest()
            return self._recent() or self._read()

    def _read(self) -> Observation[AccountSnapshot]:
        asked_ms = self._clock_ms()
        try:
            snapshot = self._manager.whole_account()
        except VenueError as error:
            self._failure = f"the account cannot be read: {error}"
            self._failed_at = time.monotonic()
        else:
            self._reading = _Reading(snapshot, asked_ms)
        return self.latest()


def account_facts(snapshot: AccountSnapshot) -> AccountFacts:
    """An account snapshot in the words of the risk rules."""
    return AccountFacts(
        account_value=snapshot.account_value,
        margin_used=snapshot.margin_used,
        positions={s: p.size for s, p in snapshot.positions.items()},
        notionals={s: abs(p.notional) for s, p in snapshot.positions.items()},
    )
