"""One seed against the running platform: strike at each step, lift, wait, check."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from chaos.checker import Violation, check
from chaos.faults import FAULTS
from chaos.person import Person
from chaos.platform import RunningPlatform
from chaos.records import Records
from chaos.schedule import HALT_SECS, Strike
from chaos.steps import armed
from chaos.strikes import PROCESS_SECS, Striker
from chaos.venue import UNREACHABLE

log = structlog.get_logger(__name__)

POLL_SECS = 0.1
STEP_SECS = 25.0
"""An order has to come to the step of a strike within this time; else it strikes without one."""
RECOVERY_SECS = 120.0
BLOCK_SECS = 90.0
"""With the kill switch set, an order must have been asked for, and blocked, within this time."""
ALERT_SECS = 60.0
CHECKS, CHECK_PAUSE_SECS = 20, 1.0


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was put in force; ``at_step``: an order was where it should be."""

    strike: Strike
    at_step: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed. ``recovery_secs`` from the last fault's end; None: never."""

    seed: int
    struck: tuple[Struck, ...]
    halts: tuple[str, ...]
    recovery_secs: float | None
    violations: tuple[Violation, ...]
    orders: int
    secs: float


def run_seed(
    platform: RunningPlatform, records: Records, seed: int, strikes: Sequence[Strike]
) -> Outcome:
    """Put the faults in force, lift them, and see whether the platform is sound afterwards."""
    began_ms, began, before = _now_ms(), time.monotonic(), _order_count(records)
    striker = Striker(platform)
    struck = [_strike(striker, records, strike) for strike in strikes]
    must_halt = [one for one in struck if one is not None and FAULTS[one.strike.fault].halts]
    if must_halt:
        _wait(lambda: bool(records.halts()), HALT_SECS)
    halted_ms = _now_ms()
    while striker.due(at_once=bool(must_halt)):
        time.sleep(POLL_SECS)
    _wait(lambda: _done(platform.admin.lift), RECOVERY_SECS)
    ended = time.monotonic()
    halts: list[str] = []
    recovered = _recovered(platform, records, halts)
    recovery_secs = round(time.monotonic() - ended, 1) if recovered else None
    violations = _violations(records)
    if not recovered:
        violations.append(Violation("not_recovered", f"not at target after {RECOVERY_SECS:g} s"))
    violations += [Violation("not_halted", str(s.strike)) for s in must_halt if not halts]
    switched = any(halt.startswith("kill switch") for halt in halts)
    if switched and not _wait(lambda: records.has_blocked(halted_ms), BLOCK_SECS):
        violations.append(Violation("switch_not_felt", "no order was blocked by the kill switch"))
    if halts:
        if not _wait(lambda: records.has_alert(began_ms), ALERT_SECS):
            violations.append(Violation("halt_without_alert", "; ".join(halts)))
        _wait(lambda: _gone_on(platform, records), RECOVERY_SECS)
    return Outcome(
        seed=seed,
        struck=tuple(one for one in struck if one is not None),
        halts=tuple(halts),
        recovery_secs=recovery_secs,
        violations=tuple(violations),
        orders=_order_count(records) - before,
        secs=round(time.monotonic() - began, 1),
    )


def _strike(striker: Striker, records: Records, strike: Strike) -> Struck | None:
    """Strike once an order is at the step; None if there was nothing to strike at."""
    fault = FAULTS[strike.fault]

    def wait(condition: Callable[[], bool], secs: float) -> bool:
        def met() -> bool:
            striker.platform.require_alive()
            striker.due()
            return condition()

        return _wait(met, secs)

    wait(lambda: False, strike.pause_secs)
    if fault.halts:  # alone: what halted it must be this
        wait(lambda: not striker.due(), RECOVERY_SECS)
    if not wait(lambda: striker.has_process(fault), PROCESS_SECS):
        return None
    deadline = time.monotonic() + STEP_SECS
    while True:
        left = deadline - time.monotonic()
        try:
            with armed(strike.step, records.engine, records.admin) as reached:
                at_step = wait(reached, left)
                return Struck(strike, at_step) if striker.strike(fault, strike.lasts_secs) else None
        except UNREACHABLE as error:
            log.info("not_armed", step=strike.step, error=str(error))
            if left < 0:
                return None
            wait(lambda: False, POLL_SECS)


def _recovered(platform: RunningPlatform, records: Records, halts: list[str]) -> bool:
    """Wait until every symbol was at its target, or it is halted and nothing is open."""
    symbols = set(platform.plan.settings.reconciliation_engine.symbols)
    since_ms = _now_ms()

    def recovered() -> bool:
        platform.require_alive()
        halts[:] = records.halts()
        return symbols <= records.at_target(since_ms) or bool(halts and not records.open_states())

    return _wait(recovered, RECOVERY_SECS)


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


def _gone_on(platform: RunningPlatform, records: Records) -> bool:
    """Do what a person does after a halt; whether nothing is halted any more."""
    Person(platform.plan).go_on(records)
    return not records.halts()


def _order_count(records: Records) -> int:
    counts: list[int] = []
    _wait(lambda: _done(lambda: counts.append(records.order_count())), RECOVERY_SECS)
    return counts[0] if counts else 0


def _done(call: Callable[[], None]) -> bool:
    call()
    return True


def _wait(condition: Callable[[], bool], secs: float) -> bool:
    """Poll until it is true; what cannot be asked meanwhile is asked again."""
    deadline = time.monotonic() + secs
    while True:
        try:
            if condition():
                return True
        except UNREACHABLE as error:
            log.info("waiting", error=str(error))
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
