"""The gateway's background work: lease, recovery, open orders, account, fills."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from order_gateway.account import AccountView
from order_gateway.account_mode import AccountModeCheck
from order_gateway.audit_writer import AuditWriter
from order_gateway.dead_man import DeadManSwitch
from order_gateway.emergency_exits import EmergencyExits
from order_gateway.errors import GatewayError
from order_gateway.exits import Exits
from order_gateway.fill_hints import FillHints
from order_gateway.fills import SHORT_OVERLAP_MS, FillsConsumer
from order_gateway.guard import RiskGuard
from order_gateway.journal import Journal
from order_gateway.lease_keeper import RENEW_SECS, LeaseKeeper
from order_gateway.leverage import LeverageSetter
from order_gateway.markets import Markets
from order_gateway.nonces import NonceAllocator
from order_gateway.readiness import Readiness
from order_gateway.resolver import Resolver
from order_gateway.risk_gate import MINUTE_MS, RiskGate
from order_gateway.service import OrderService
from shared.exchange.errors import VenueError
from shared.exchange_manager import ExchangeManager
from shared.observation import Known
from shared.orders.states import OrderState

log = structlog.get_logger(__name__)

ACCOUNT_INTERVAL_SECS = 2.0
MARKETS_INTERVAL_SECS = 30.0
MODE_INTERVAL_SECS = 1.0
"""How often is looked whether the account's mode is to be asked for."""
FILLS_SPACING_SECS = 1.0
"""However many hints come, the fills are not read more often than this."""
HINTS_TOGETHER_SECS = 0.3
"""An order hints twice, by its reply and by the stream; so do the others of one look."""
RETRY_SECS = 1.0
RECENT_ORDERS = 1_000
JOIN_SECS = 15.0
EXPECTED_FAILURES = (VenueError, SQLAlchemyError, RedisError, GatewayError)
"""What may go wrong in a round and is worth another one; anything else ends the process."""


@dataclass
class Runtime:
    """Threads that keep the gateway able to trade. ``on_crash`` is told of a fault in one."""

    journal: Journal
    service: OrderService
    keeper: LeaseKeeper
    nonces: NonceAllocator
    markets: Markets
    manager: ExchangeManager
    risk: RiskGate
    guard: RiskGuard
    account: AccountView
    account_mode: AccountModeCheck
    audit: AuditWriter
    fills: FillsConsumer
    fills_interval_secs: float
    hints: FillHints | None
    resolver: Resolver
    exits: Exits
    leverage: LeverageSetter
    emergency: EmergencyExits
    dead_man: DeadManSwitch
    readiness: Readiness
    symbols: tuple[str, ...]
    resolve_interval_secs: float
    resting_ttl_ms: int
    clock_ms: Callable[[], int]
    on_crash: Callable[[], None]
    traded: threading.Event
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _recovered: bool = False
    _term: int = 0

    def start(self) -> None:
        """Start the threads."""
        loops = {
            "lease": (self._lease_round, RENEW_SECS),
            "orders": (self._orders_round, self.resolve_interval_secs),
            "account": (self._account_round, ACCOUNT_INTERVAL_SECS),
            "markets": (self._markets_round, MARKETS_INTERVAL_SECS),
            "account_mode": (self.account_mode.step, MODE_INTERVAL_SECS),
        }
        for name, (work, interval_secs) in loops.items():
            self._spawn(name, self._repeat, work, interval_secs)
        self._spawn("fills", self._fills_loop)
        if self.hints is not None:
            self._spawn("fill_hints", self.hints.run, self._stop)

    def stop(self) -> None:
        """End the threads, then give the lease back."""
        self._stop.set()
        self.traded.set()
        for thread in self._threads:
            thread.join(JOIN_SECS)
        self.keeper.give_back()

    def _spawn(self, name: str, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(
            target=self._guarded, args=(name, target, *args), name=name, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _guarded(self, name: str, target: Callable[..., None], *args: object) -> None:
        try:
            target(*args)
        except Exception:
            log.exception("background_work_crashed", loop=name)
            self.on_crash()
            raise

    def _repeat(self, work: Callable[[], None], interval_secs: float) -> None:
        while not self._stop.is_set():
            self._round(work)
            self._stop.wait(interval_secs)

    def _round(self, work: Callable[[], None]) -> bool:
        """Do one round; whether it succeeded."""
        try:
            work()
        except EXPECTED_FAILURES as error:
            log.warning(
                "round_failed", work=work.__name__, error=type(error).__name__, reason=str(error)
            )
            return False
        return True

    def _lease_round(self) -> None:
        problem = self.keeper.step()
        if problem is None:
            self.readiness.met("database")
        else:
            self.readiness.unmet("database", problem)
        if self.keeper.times_taken != self._term:
            self._term = self.keeper.times_taken
            self._recovered = False
            self.readiness.unmet("recovery", "the lease was taken a moment ago")
        if not self.keeper.is_held:
            self._recovered = False
            self.readiness.unmet("recovery", "waits for the lease")
            if problem is None:
                self.readiness.unmet("lease", "another gateway holds it")
            else:
                self._take_exits()

    def _take_exits(self) -> None:
        """Started without the database: nobody can take the lease, and exits need nothing of it."""
        self.nonces.seed(self.emergency.highest_nonce())
        self.markets.load(self.manager.markets())
        self.readiness.met("markets")
        self.readiness.met("lease")

    def _orders_round(self) -> None:
        if not self.keeper.is_held:
            return
        if not self._recovered:
            self._recover()
            return
        self.emergency.import_all()
        still_open = self.resolver.step()
        self.dead_man.step(resting=any(r.state is OrderState.RESTING for r in still_open))
        self.exits.cancel_older_than(self.resting_ttl_ms)

    def _recover(self) -> None:
        """Take over what the process before this one left; orders wait until it is settled."""
        self.journal.identity()
        self.nonces.seed(max(self.journal.last_nonce(), self.emergency.highest_nonce()))
        self.readiness.met("lease")
        self.markets.load(self.manager.markets())
        self.readiness.met("markets")
        self.emergency.import_all()
        self.service.remember(self.journal.recent(symbol=None, state=None, limit=RECENT_ORDERS))
        found = self.journal.open_orders()
        self.risk.recover(found, self.journal.sent_since(self.clock_ms() - MINUTE_MS))
        if found:
            log.info("recovering", open_orders=[r.intent_id for r in found])
            self.readiness.unmet("recovery", f"{len(found)} open orders are being settled")
        self.fills.step()
        waiting = {r.intent_id for r in self.resolver.step() if r.state is not OrderState.RESTING}
        while waiting & {r.intent_id for r in found}:
            self.readiness.unmet("recovery", f"{len(waiting)} orders are not settled yet")
            if self._stop.wait(self.resolve_interval_secs) or not self.keeper.is_held:
                return
            still_open = self.resolver.step()
            waiting = {r.intent_id for r in still_open if r.state is not OrderState.RESTING}
        problems = self.leverage.ensure(self.symbols)
        if problems:
            self.readiness.unmet("leverage", "; ".join(f"{s}: {p}" for s, p in problems.items()))
            return
        self.readiness.met("leverage")
        self._recovered = True
        self.readiness.met("recovery")
        log.info("gateway_ready")

    def _markets_round(self) -> None:
        """Learn of delistings; the list itself is shared by all processes and read seldom."""
        if self._recovered:
            self.markets.load(self.manager.markets())

    def _account_round(self) -> None:
        self.audit.try_again()
        newly_set = self.guard.watch()
        reading = self.account.latest()
        if isinstance(reading, Known):
            self.readiness.met("venue")
        else:
            self.readiness.unmet("venue", "the account cannot be read")
        if not self._recovered:
            return
        if newly_set:
            self.exits.cancel_all(None, "kill switch")
        elif self.guard.is_engaged():
            self.exits.cancel_opening("kill switch")

    def _fills_loop(self) -> None:
        """Read the fills whole at every interval, and in short whenever a hint says so."""
        whole_at = float("-inf")
        while not self._stop.is_set():
            self.traded.clear()
            now = time.monotonic()
            if self._recovered:
                whole = now - whole_at >= self.fills_interval_secs
                if self._round(self._fills_whole if whole else self._fills_short) and whole:
                    whole_at = now
            self._stop.wait(FILLS_SPACING_SECS)
            due_secs = whole_at + self.fills_interval_secs - time.monotonic()
            if self.traded.wait(max(due_secs, 0.0) if self._recovered else RETRY_SECS):
                self._stop.wait(HINTS_TOGETHER_SECS)

    def _fills_whole(self) -> None:
        self.emergency.import_all()  # or their fills would look like someone else's
        self.fills.step()

    def _fills_short(self) -> None:
        self.emergency.import_all()
        self.fills.step(SHORT_OVERLAP_MS)
