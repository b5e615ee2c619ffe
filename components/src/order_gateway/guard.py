"""The risk manager's own actions: kill switch, the day's loss, pauses. State in MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from order_gateway.account import AccountView, account_facts
from order_gateway.audit_writer import AuditWriter
from order_gateway.day_keeper import DayKeeper
from order_gateway.errors import Conflict
from order_gateway.kept_switch import KeptSwitch, SwitchFile
from order_gateway.readiness import Readiness
from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.errors import VenueError
from shared.exchange.payloads import AccountSnapshot, Fill
from shared.exchange.precision import plain
from shared.observation import Known
from shared.risk.checks import daily_loss
from shared.risk.day_start import ValueReading
from shared.risk.limits import KillSwitch, RiskLimits
from shared.risk.round_trips import LargeLoss
from shared.storage.refusals import RefusalStore
from shared.storage.risk_state import RiskState, RiskStateStore

log = structlog.get_logger(__name__)

NOT_STORED = "set, and not stored yet"


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
        *,
        engine: Engine,
        account: AccountView,
        day: DayKeeper,
        limits: RiskLimits,
        audit: AuditWriter,
        readiness: Readiness,
        switch_file: SwitchFile,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._account = account
        self._limits = limits
        self._audit = audit
        self._clock_ms = clock_ms
        self._readiness = readiness
        self._day = day
        self._switch_file = switch_file
        self._unstored = switch_file.kept()
        if self._unstored is not None:
            readiness.unmet("kill_switch", NOT_STORED)

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
        """Forbid new exposure from now on; setting it twice keeps the first reason.

        While the database is away the switch holds in this process and on its disk, and nothing
        is opened until it is stored.
        """
        try:
            return self._switch(True, reason, actor)
        except SQLAlchemyError:
            self._keep_switch(KeptSwitch(reason, actor))
            return KillSwitch(True, reason, actor, self._clock_ms())

    def lift_kill_switch(self, *, reason: str, actor: str) -> KillSwitch:
        """Allow new exposure again; only a person does this, with a reason."""
        self._store_switch()
        if not self._load().kill_switch.engaged:
            raise Conflict("the kill switch is not set")
        return self._switch(False, reason, actor)

    def is_engaged(self) -> bool:
        """Whether the kill switch is set."""
        return self._load().kill_switch.engaged

    def watch(self) -> bool:
        """Read the account, keep the day's baseline, and set the switch on too large a loss.

        Returns whether the switch was set by this call. While the venue's ledger cannot be read, a
        new day does not begin and no loss sets the switch; the rule of the daily loss still holds.
        """
        self._store_switch()
        reading = self._account.refresh()
        if not isinstance(reading, Known):
            return False
        state = self._load()
        try:
            loss = self._daily_loss(state, reading.value)
        except VenueError as error:  # what is set already is still seen to
            log.warning("daily_loss_not_known", reason=str(error))
            return False
        if state.kill_switch.engaged or loss < self._limits.max_daily_loss:
            return False
        reason = f"daily loss {loss:.2%} reached the limit of {self._limits.max_daily_loss:.2%}"
        self._switch(True, reason, "risk_manager")
        return True

    def _daily_loss(self, state: RiskState, account: AccountSnapshot) -> Decimal:
        """Share of the day's start that is lost; the venue's ledger is read before it matters."""
        now = ValueReading(account.venue_ms, account.account_value)
        baseline = self._day.todays(state)
        if baseline is None:
            return daily_loss(account_facts(account), self._day.begin(now))
        loss = daily_loss(account_facts(account), baseline)
        decides = loss >= self._limits.max_daily_loss and not state.kill_switch.engaged
        if not decides and not self._day.is_due:
            return loss
        return daily_loss(account_facts(account), self._day.shift(state, baseline, now))

    def external_fills(self, fills: Sequence[Fill]) -> None:
        """Report trades that no intent asked for; their symbols were paused with the fills."""
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
            self._audit.write("external_fill", fields)

    def large_loss(self, loss: LargeLoss) -> None:
        """Report a round trip that lost too much; its symbol was paused with the fills."""
        fields = {
            "symbol": loss.symbol,
            "rule": "round_trip_loss",
            "value": plain(loss.lost_usd),
            "limit": plain(loss.limit_usd),
        }
        log.error("round_trip_loss", **fields)
        self._audit.write("round_trip_loss", fields, sync=True)

    def _keep_switch(self, switch: KeptSwitch) -> None:
        self._unstored = switch
        self._readiness.unmet("kill_switch", NOT_STORED)
        log.error("kill_switch_not_stored", reason=switch.reason, actor=switch.actor)
        try:
            self._switch_file.keep(switch)
        except OSError as error:
            log.error("kill_switch_not_kept", reason=error.strerror)  # noqa: TRY400

    def _store_switch(self) -> None:
        """Store a switch that was set while the database was away."""
        if self._unstored is None:
            return
        self._switch(True, self._unstored.reason, self._unstored.actor)
        self._switch_file.forget()
        self._unstored = None
        self._readiness.met("kill_switch")

    def resume(self, symbol: str, *, reason: str, actor: str) -> None:
        """Let a paused symbol be traded again; only a person does this, with a reason.

        The refusals in a row that may have paused it are forgotten, or the next would again.
        """
        now_ms = self._clock_ms()

        def work() -> None:
            with UnitOfWork(self._engine) as uow:
                store = RiskStateStore(uow.conn)
                if symbol not in store.load().pauses:
                    raise Conflict(f"{symbol} is not paused")
                store.set_pause(symbol, False, now_ms, reason=reason, actor=actor)
                RefusalStore(uow.conn).forget(symbol)
                uow.commit()

        retry_deadlocks(work)
        log.warning("symbol_resumed", symbol=symbol, reason=reason, actor=actor)
        self._audit.write("symbol_resumed", {"symbol": symbol, "reason": reason, "actor": actor})

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
        event = "kill_switch_set" if engaged else "kill_switch_lifted"
        # Somebody's decision, which people are told of by alerts, and no error of this process.
        log.warning(event, reason=reason, actor=actor)
        self._audit.write(event, {"reason": reason, "actor": actor}, sync=True)
        return switch

    def _load(self) -> RiskState:
        with UnitOfWork(self._engine) as uow:
            return RiskStateStore(uow.conn).load()
