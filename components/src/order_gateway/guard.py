"""The risk manager's own actions: kill switch, the day's baseline, pauses. State in MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Engine

from order_gateway.account import AccountView, account_facts
from order_gateway.errors import Conflict
from order_gateway.risk_gate import utc_day
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.payloads import AccountSnapshot, Fill
from shared.exchange.precision import plain
from shared.observation import Known
from shared.risk.audit import AuditError, AuditTrail
from shared.risk.checks import daily_loss
from shared.risk.limits import DayBaseline, KillSwitch, RiskLimits
from shared.storage.risk_state import RiskState, RiskStateStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RiskStatus:
    """What ``GET /risk`` shows."""

    state: RiskState
    limits: RiskLimits
    account: AccountSnapshot | None
    account_as_of_ms: int | None
    daily_loss: Decimal | None


class RiskGuard:
    """Watches the account and holds the switches; every change of state is audited."""

    def __init__(
        self,
        engine: Engine,
        account: AccountView,
        limits: RiskLimits,
        audit: AuditTrail,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._account = account
        self._limits = limits
        self._audit = audit
        self._clock_ms = clock_ms

    def status(self) -> RiskStatus:
        """State, limits and the account as last read."""
        state = self._load()
        reading = self._account.latest()
        account = None
        as_of_ms = None
        loss = None
        if isinstance(reading, Known):
            account, as_of_ms = reading.value, reading.as_of_ms
            if state.baseline is not None:
                loss = daily_loss(account_facts(account), state.baseline)
        return RiskStatus(state, self._limits, account, as_of_ms, loss)

    def set_kill_switch(self, *, reason: str, actor: str) -> KillSwitch:
        """Forbid new exposure from now on; setting it twice keeps the first reason."""
        return self._switch(True, reason, actor)

    def lift_kill_switch(self, *, reason: str, actor: str) -> KillSwitch:
        """Allow new exposure again; only a person does this, with a reason."""
        if not self._load().kill_switch.engaged:
            raise Conflict("the kill switch is not set")
        return self._switch(False, reason, actor)

    def watch(self) -> bool:
        """Read the account, keep the day's baseline, and set the switch on too large a loss.

        Returns whether the switch was set by this call.
        """
        reading = self._account.refresh()
        if not isinstance(reading, Known):
            return False
        now_ms = self._clock_ms()
        state = self._load()
        if state.baseline is None or state.baseline.day != utc_day(now_ms):
            self._start_day(reading.value.account_value, now_ms)
            return False
        loss = daily_loss(account_facts(reading.value), state.baseline)
        if state.kill_switch.engaged or loss < self._limits.max_daily_loss:
            return False
        reason = f"daily loss {loss:.2%} reached the limit of {self._limits.max_daily_loss:.2%}"
        self._switch(True, reason, "risk_manager")
        return True

    def external_fills(self, fills: Sequence[Fill]) -> None:
        """Report trades of the account that no intent asked for."""
        for fill in fills:
            fields = {
                "symbol": fill.symbol,
                "side": fill.side,
                "size": plain(fill.size),
                "price": plain(fill.price),
                "dir": fill.direction,
                "tid": fill.tid,
                "time_ms": fill.time_ms,
            }
            log.error("external_fill", **fields)
            self._write("external_fill", fields)

    def _start_day(self, account_value: Decimal, now_ms: int) -> None:
        baseline = DayBaseline(utc_day(now_ms), account_value)
        with UnitOfWork(self._engine) as uow:
            RiskStateStore(uow.conn).set_baseline(baseline, now_ms, "first reading of the UTC day")
            uow.commit()
        self._write("day_started", {"day": baseline.day, "account_value": plain(account_value)})

    def _switch(self, engaged: bool, reason: str, actor: str) -> KillSwitch:
        now_ms = self._clock_ms()

        def work() -> KillSwitch:
            with UnitOfWork(self._engine) as uow:
                store = RiskStateStore(uow.conn)
                before = store.load().kill_switch
                if before.engaged and engaged:
                    return before
                store.set_kill_switch(engaged, reason=reason, actor=actor, now_ms=now_ms)
                uow.commit()
                return store.load().kill_switch

        switch = retry_deadlocks(work)
        log.error(
            "kill_switch_set" if engaged else "kill_switch_lifted", reason=reason, actor=actor
        )
        event = "kill_switch_set" if engaged else "kill_switch_lifted"
        self._write(event, {"reason": reason, "actor": actor}, sync=True)
        return switch

    def _load(self) -> RiskState:
        with UnitOfWork(self._engine) as uow:
            return RiskStateStore(uow.conn).load()

    def _write(self, event: str, fields: dict[str, Any], *, sync: bool = False) -> None:
        try:
            self._audit.append(event, self._clock_ms(), fields, sync=sync)
        except AuditError as error:
            log.error("audit_trail_failed", reason=str(error))  # noqa: TRY400
