"""Leaving the market: cancel resting orders, close positions, the kill switch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

import structlog
from sqlalchemy.exc import SQLAlchemyError

from order_gateway.account import AccountView
from order_gateway.audit_writer import AuditWriter
from order_gateway.errors import Conflict, GatewayError, InvalidOrder, NotFound, NotReady
from order_gateway.journal import Journal
from order_gateway.markets import Markets
from order_gateway.resolver import Resolver
from order_gateway.sender import ActionSender
from order_gateway.service import OrderService
from order_gateway.signing_desk import SigningDesk
from shared.exchange.precision import plain
from shared.exchange.signing import cancel_by_cloid_action
from shared.observation import Known
from shared.orders.intents import OrderRequest, plan_intent_id
from shared.orders.replies import CancelVerdict
from shared.orders.states import OrderState
from shared.storage.orders import OrderRecord

log = structlog.get_logger(__name__)

CLOSE_ATTEMPTS = 3
FLATTEN_LEG = "flatten"


@dataclass(frozen=True, slots=True)
class ExitResult:
    """What came of one symbol: the orders sent, what remains, and why if something does."""

    symbol: str
    orders: tuple[OrderRecord, ...]
    remaining_size: str | None
    problem: str | None


class Exits:
    """Cancels and closes. Each cancel is audited before it is sent and judged by evidence."""

    def __init__(
        self,
        *,
        journal: Journal,
        service: OrderService,
        resolver: Resolver,
        markets: Markets,
        account: AccountView,
        desk: SigningDesk,
        sender: ActionSender,
        audit: AuditWriter,
        cancel_expiry_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._journal = journal
        self._service = service
        self._resolver = resolver
        self._markets = markets
        self._account = account
        self._desk = desk
        self._sender = sender
        self._audit = audit
        self._cancel_expiry_ms = cancel_expiry_ms
        self._clock_ms = clock_ms

    def cancel(self, cloid: str, reason: str) -> OrderRecord:
        """Cancel one order and return what became of it.

        That it is gone already is an answer. An order whose fate is UNKNOWN is cancelled at
        the venue as well, and stays UNKNOWN until the evidence settles it.
        """
        record = self._journal.by_cloid(cloid)
        if record is None:
            raise NotFound(f"no order has the client order id {cloid}")
        if not record.is_open:
            return record
        if record.state is OrderState.PENDING:
            raise Conflict(f"{record.intent_id} is being sent; ask again in a moment")
        verdict = self._send_cancel(record, reason)
        if verdict.outcome == "refused":
            raise NotReady(f"the venue refused the cancel: {verdict.reason}")
        return self._resolver.look_at(self._journal.by_cloid(cloid) or record)

    def cancel_all(self, symbols: Iterable[str] | None, reason: str) -> list[OrderRecord]:
        """Cancel every resting or unknown order (of the symbols); returns each afterwards."""
        wanted = None if symbols is None else set(symbols)
        done = []
        for record in self._journal.open_orders():
            if wanted is not None and record.symbol not in wanted:
                continue
            if record.state is OrderState.PENDING:
                continue
            try:
                done.append(self.cancel(record.cloid, reason))
            except GatewayError as error:
                log.warning("cancel_failed", intent_id=record.intent_id, reason=str(error))
                done.append(record)
        return done

    def cancel_older_than(self, ttl_ms: int) -> None:
        """Enforce the time to live of resting orders; an expiry bounds acceptance only."""
        now_ms = self._clock_ms()
        self._cancel_resting(
            lambda order: now_ms - (order.sent_ms or order.created_ms) > ttl_ms, "time to live"
        )

    def cancel_opening(self, reason: str) -> None:
        """Cancel what rests and would open: one was on its way while the others were cancelled."""
        self._cancel_resting(lambda order: not order.reduce_only, reason)

    def _cancel_resting(self, wanted: Callable[[OrderRecord], bool], reason: str) -> None:
        for record in self._journal.open_orders():
            if record.state is OrderState.RESTING and wanted(record):
                try:
                    self.cancel(record.cloid, reason)
                except GatewayError as error:
                    log.warning("cancel_failed", intent_id=record.intent_id, reason=str(error))

    def require_known(self, symbols: Iterable[str] | None) -> None:
        """Raise ``InvalidOrder`` for a coin that is neither held nor listed by the venue.

        A mistyped coin would else be found flat. ``NotReady`` if positions cannot be read.
        """
        strange = [symbol for symbol in symbols or () if symbol not in self._markets]
        held = self._positions() if strange else {}
        for symbol in strange:
            if symbol not in held:
                holding = ", ".join(sorted(held)) or "none"
                allowed = f"a coin that is held ({holding}), or a perpetual that the venue lists"
                raise InvalidOrder("symbol", symbol, allowed)

    def flatten(self, symbols: Iterable[str] | None, reason: str) -> list[ExitResult]:
        """Cancel resting orders, then close positions by reduce-only market orders.

        Positions are read from the venue, not remembered. Raises ``NotReady`` if they cannot be.
        """
        wanted = None if symbols is None else list(symbols)
        try:
            self.cancel_all(wanted, reason)
        except SQLAlchemyError as error:  # closing must not wait for the database
            log.error("cancel_all_failed", reason=type(error).__name__)  # noqa: TRY400
        held = self._positions()
        targets = sorted(held) if wanted is None else wanted
        return [self._close(symbol) for symbol in targets]

    def _close(self, symbol: str) -> ExitResult:
        orders: list[OrderRecord] = []
        problem: str | None = None
        for _ in range(CLOSE_ATTEMPTS):
            size = self._positions().get(symbol)
            if size is None:
                return ExitResult(symbol, tuple(orders), "0", None)
            epoch = self._plan_epoch(symbol)
            request = OrderRequest(
                intent_id=plan_intent_id(symbol, epoch, FLATTEN_LEG)
                if epoch is not None
                else f"{FLATTEN_LEG}:{symbol}:{self._clock_ms()}",
                symbol=symbol,
                side="sell" if size > 0 else "buy",
                size=abs(size),
                order_type="market",
                tif="Ioc",
                price=None,
                reduce_only=True,
                origin="flatten",
                plan_epoch=epoch,
                leg=FLATTEN_LEG,
            )
            try:
                order = self._service.execute(request)
            except GatewayError as error:
                problem = str(error)
                break
            orders.append(order)
            filled = order.state is OrderState.FILLED
            problem = None if filled else f"{order.intent_id} is {order.state}: {order.reason}"
            if order.is_open:
                break
        size = self._positions().get(symbol)
        if size is None:
            return ExitResult(symbol, tuple(orders), "0", None)
        return ExitResult(symbol, tuple(orders), plain(size), problem)

    def _plan_epoch(self, symbol: str) -> int | None:
        """The symbol's plan epoch; None while the database is away."""
        try:
            return self._journal.plan_epoch(symbol)
        except SQLAlchemyError:
            return None

    def _positions(self) -> dict[str, Decimal]:
        account = self._account.refresh()
        if not isinstance(account, Known):
            raise NotReady("the positions cannot be read from the venue")
        return {s: p.size for s, p in account.value.positions.items()}

    def _send_cancel(self, record: OrderRecord, reason: str) -> CancelVerdict:
        market = self._markets.require(record.symbol, leaving=True)
        action = self._desk.other(
            cancel_by_cloid_action(market.asset.index, record.cloid),
            expires_after_ms=self._clock_ms() + self._cancel_expiry_ms,
        )
        fields = {"cloid": record.cloid, "intent_id": record.intent_id, "nonce": action.nonce}
        self._audit.write("cancel", {**fields, "reason": reason})
        return self._sender.cancel(action)
