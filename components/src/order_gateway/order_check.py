"""Whether an order may go out, and in which size and at which limit: filters, then risk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from order_gateway.account import AccountView
from order_gateway.audit_writer import AuditWriter
from order_gateway.errors import InvalidOrder, NotReady, RiskBlocked
from order_gateway.markets import Market, Markets
from order_gateway.prices import PriceReader
from order_gateway.risk_gate import RiskGate
from shared import instruments
from shared.exchange.precision import FilterViolation, plain
from shared.observation import Known, Observation, Stale
from shared.orders.intents import OrderRequest
from shared.risk.checks import Blocked
from shared.risk.limits import OrderFacts
from shared.storage.risk_state import RiskState


@dataclass(frozen=True, slots=True)
class PreparedOrder:
    """A request as the venue would take it, and the price that it is judged against."""

    request: OrderRequest
    market: Market
    reference: Observation[Decimal]
    facts: OrderFacts


class OrderCheck:
    """Rounds orders to what the venue takes and asks the risk rules; each decision is audited."""

    def __init__(
        self,
        *,
        markets: Markets,
        prices: PriceReader,
        account: AccountView,
        risk: RiskGate,
        audit: AuditWriter,
        max_slippage_bps: Decimal,
        clock_ms: Callable[[], int],
    ) -> None:
        self._markets = markets
        self._prices = prices
        self._account = account
        self._risk = risk
        self._audit = audit
        self._max_slippage_bps = max_slippage_bps
        self._clock_ms = clock_ms

    def prepare(self, request: OrderRequest) -> PreparedOrder:
        """Round to what the venue takes: sizes down, prices never worse.

        Raises ``InvalidOrder`` with the filter that is broken, and ``RiskBlocked`` where a market
        order has no fresh price to take its limit from.
        """
        market = self._markets.require(request.symbol, leaving=request.reduce_only)
        reference = self._prices.reference(
            request.symbol, self._clock_ms(), exit_order=request.reduce_only
        )
        try:
            size = market.filters.round_size(request.size)
            price = self._limit_price(request, market, reference)
            market.filters.check_notional(
                price, size, closes_whole_position=self._may_close_all(request, size)
            )
        except FilterViolation as error:
            raise InvalidOrder(error.rule, error.value, error.limit) from error
        facts = OrderFacts(
            symbol=request.symbol,
            side=request.side,
            size=size,
            limit_price=price,
            reduce_only=request.reduce_only,
            leverage=market.leverage,
        )
        return PreparedOrder(request, market, reference, facts)

    def allow(self, order: PreparedOrder, state: RiskState) -> None:
        """Ask the risk rules and audit their decision; raises ``RiskBlocked`` or ``NotReady``.

        An allowed opening order holds its exposure until the risk gate is told to release it.
        """
        intent_id, facts = order.request.intent_id, order.facts
        decision = self._risk.decide(intent_id, facts, order.reference, state)
        if isinstance(decision, Blocked):
            raise self.blocked(order, decision)
        if not self._audit.write("order_allowed", _fields(order)) and not facts.reduce_only:
            self._risk.release(intent_id, traded=False)
            raise NotReady("the audit trail cannot be written; only exits are taken")

    def blocked(self, order: PreparedOrder, objection: Blocked) -> RiskBlocked:
        """Audit and count an objection; returns it as the refusal to raise."""
        rule = {"rule": objection.rule, "value": objection.value, "limit": objection.limit}
        self._audit.write("order_blocked", {**_fields(order), **rule})
        instruments.record_risk_block(objection.rule)
        return RiskBlocked(objection.rule, objection.value, objection.limit)

    def _limit_price(
        self, request: OrderRequest, market: Market, reference: Observation[Decimal]
    ) -> Decimal:
        if request.price is not None:
            return market.filters.round_price(request.price, request.side)
        if isinstance(reference, Known):
            return market.filters.slippage_bound(
                reference.value, request.side, self._max_slippage_bps
            )
        why = "the feed's price is too old" if isinstance(reference, Stale) else reference.reason
        limit = f"at most {self._risk.limits.max_price_age_ms / 1000:g} s old"
        raise RiskBlocked("price_age", why, limit)

    def _may_close_all(self, request: OrderRequest, size: Decimal) -> bool:
        """Whether a reduce-only order may be exempt from the minimum notional.

        While the position is not known the venue decides; an exit is never refused here.
        """
        if not request.reduce_only:
            return False
        account = self._account.latest()
        if not isinstance(account, Known):
            return True
        position = account.value.positions.get(request.symbol)
        return position is None or size >= abs(position.size)


def _fields(order: PreparedOrder) -> dict[str, object]:
    """The order as the audit trail has it."""
    facts = order.facts
    return {
        "intent_id": order.request.intent_id,
        "symbol": facts.symbol,
        "side": facts.side,
        "size": plain(facts.size),
        "limit_price": plain(facts.limit_price),
        "reduce_only": facts.reduce_only,
        "origin": order.request.origin,
    }
