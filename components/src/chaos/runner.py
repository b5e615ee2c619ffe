"""One seed against the running platform: strike, lift, wait, check."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import requests
import structlog
from sqlalchemy.exc import SQLAlchemyError

from chaos.checker import Violation, check
from chaos.platform import POLL_SECS, RunningPlatform
from chaos.records import Records
from chaos.schedule import Strike

log = structlog.get_logger(__name__)

QUIET_SECS = 4.0
"""At target for so long, two looks of reconciliation, counts as recovered."""
RECOVERY_SECS = 150.0
ALERT_SECS = 30.0
CHECKS, CHECK_PAUSE_SECS = 6, 2.0
UNREACHABLE = (SQLAlchemyError, requests.RequestException)


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was put in force; ``open_states``: orders under way at that moment."""

    strike: Strike
    open_states: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed. ``recovery_secs`` from the last fault's end; None: never."""

    seed: int
    struck: tuple[Struck, ...]
    halts: tuple[str, ...]
    recovery_secs: float | None
    violations: tuple[Violation, ...]


def run_seed(
    platform: RunningPlatform, records: Records, seed: int, strikes: Sequence[Strike]
) -> Outcome:
    """Put the faults in force, lift them, and see whether the platform is sound afterwards."""
    began_ms = time.time_ns() // 1_000_000
    struck = _strike_all(platform, records, strikes)
    ended = time.monotonic()
    halts: list[str] = []
    recovered = _recovered(platform, records, halts)
    recovery_secs = max(time.monotonic() - ended - QUIET_SECS, 0.0) if recovered else None
    violations = _violations(records)
    if not recovered:
        violations.append(Violation("not_recovered", f"not at target after {RECOVERY_SECS:g} s"))
    if halts:
        if not _wait(lambda: records.has_alert(began_ms), ALERT_SECS):
            violations.append(Violation("halt_without_alert", "; ".join(halts)))
        records.resume(time.time_ns() // 1_000_000)
    return Outcome(seed, tuple(struck), tuple(halts), recovery_secs, tuple(violations))


def _strike_all(
    platform: RunningPlatform, records: Records, strikes: Sequence[Strike]
) -> list[Struck]:
    start = time.monotonic()
    struck: list[Struck] = []
    lifts: list[tuple[float, int]] = []
    waiting = list(strikes)
    while waiting or lifts:
        platform.require_alive()
        now = time.monotonic() - start
        for due in [lift for lift in lifts if lift[0] <= now]:
            if _asked(partial(platform.admin.lift, due[1])):
                lifts.remove(due)
        if waiting and waiting[0].at_secs <= now:
            strike = waiting.pop(0)
            states = _open_states(records)
            lift = _strike(platform, strike, now)
            struck.append(Struck(strike, states))
            lifts += lift
        time.sleep(POLL_SECS)
    _wait(lambda: _asked(platform.admin.lift), RECOVERY_SECS)
    return struck


def _strike(platform: RunningPlatform, strike: Strike, now: float) -> list[tuple[float, int]]:
    """Put one fault in force; when to lift which fault of the venue."""
    log.info("strike", what=strike.what, name=strike.name, lasts_secs=strike.lasts_secs)
    if strike.what == "kill":
        platform.kill(strike.name)
        return []
    found: list[int] = []
    _asked(lambda: found.append(platform.admin.strike(strike.body)))
    return [(now + strike.lasts_secs, fault_id) for fault_id in found if strike.lasts_secs]


def _recovered(platform: RunningPlatform, records: Records, halts: list[str]) -> bool:
    """Wait until the account stays at its target, or until it is halted and nothing is open."""
    deadline = time.monotonic() + RECOVERY_SECS
    lifted_ms = time.time_ns() // 1_000_000
    since: float | None = None
    while time.monotonic() < deadline:
        platform.require_alive()
        found, reached = _halts(records), platform.is_at_target(lifted_ms)
        if found:
            halts[:] = found
        if reached or (found and not _open_states(records)):
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= QUIET_SECS:
                return True
        else:
            since = None
        time.sleep(POLL_SECS)
    return False


def _violations(records: Records) -> list[Violation]:
    """Those that stay: what is under way while it is read settles within a few seconds."""
    lasting: set[Violation] | None = None
    for _ in range(CHECKS):
        try:
            found = set(check(records.history()))
        except UNREACHABLE as error:
            log.warning("history_not_read", error=str(error))
        else:
            lasting = found if lasting is None else lasting & found
            if not lasting:
                return []
        time.sleep(CHECK_PAUSE_SECS)
    if lasting is None:
        return [Violation("unreadable", "venue or database could not be read")]
    return sorted(lasting, key=lambda violation: (violation.rule, violation.detail))


def _open_states(records: Records) -> tuple[str, ...]:
    try:
        return tuple(records.open_states())
    except UNREACHABLE:
        return ("?",)


def _halts(records: Records) -> list[str]:
    try:
        return records.halts()
    except UNREACHABLE:
        return []


def _asked(call: Callable[[], object]) -> bool:
    """Whether the venue could be asked; it may be one of those that were killed."""
    try:
        call()
    except requests.RequestException as error:
        log.info("venue_not_asked", error=str(error))
        return False
    return True


def _wait(condition: Callable[[], bool], secs: float) -> bool:
    deadline = time.monotonic() + secs
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except UNREACHABLE as error:
            log.info("waiting", error=str(error))
        time.sleep(POLL_SECS)
    return False
