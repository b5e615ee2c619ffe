"""Keeps the newest complete reading, and says when there is none worth publishing."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from shared import instruments
from shared.exchange.errors import VenueError
from shared.exchange.payloads import AccountSnapshot
from shared.observation import Known, Observation, Unknown, aged
from shared.ports import Clock
from shared.reconciliation.observer_report import ObserverReport

log = structlog.get_logger(__name__)


class Route(Protocol):
    """Where readings come from."""

    @property
    def dexes(self) -> tuple[str, ...]:
        """Every dex that a complete reading covers."""

    def read(self) -> AccountSnapshot:
        """A complete reading, or a ``VenueError``."""


class Observer:
    """Reads the account again and again; remembers only what was complete."""

    def __init__(
        self, observer_id: str, route: Route, clock: Clock, *, interval_secs: float, max_age_ms: int
    ) -> None:
        self.observer_id = observer_id
        self._route = route
        self._clock = clock
        self._interval_secs = interval_secs
        self._max_age_ms = max_age_ms
        self._report: ObserverReport | None = None
        self._failure: str | None = None

    def report(self) -> Observation[ObserverReport]:
        """The last complete reading: ``Known`` while it is young enough to publish."""
        if self._report is None:
            return Unknown(self._failure or "the account has not been read yet")
        return aged(self._report, self._report.read_ms, self._clock.now_ms(), self._max_age_ms)

    @property
    def failure(self) -> str | None:
        """Why the last attempt failed; None if it did not."""
        return self._failure

    def observe(self) -> None:
        """One reading. A failed one changes nothing of what was read before."""
        try:
            account = self._route.read()
        except VenueError as error:
            if self._failure is None:
                log.warning("account_not_read", error=str(error), error_class=error.error_class)
            self._failure = str(error)
            instruments.record_observer_reading("failed")
            return
        if self._failure is not None:
            log.info("account_read_again", observer_id=self.observer_id)
        self._failure = None
        instruments.record_observer_reading("complete")
        now_ms = self._clock.now_ms()
        if self._is_older(account):
            log.warning("reading_older_than_the_last", venue_ms=account.venue_ms)
            return
        self._report = ObserverReport.of(self.observer_id, account, self._route.dexes, now_ms)

    def _is_older(self, account: AccountSnapshot) -> bool:
        """Whether a route (a cache, another server) went back in the venue's time."""
        known = self.report()
        return isinstance(known, Known) and account.venue_ms < known.value.venue_ms

    async def run(self) -> None:
        """Observe every interval until cancelled."""
        while True:
            await asyncio.to_thread(self.observe)
            await asyncio.sleep(self._interval_secs)
