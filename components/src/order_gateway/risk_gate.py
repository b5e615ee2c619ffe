"""Brings facts and rules together: one decision at a time, each with its exposure reserved."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from order_gateway.account import AccountView
from shared.config_sections import RiskSettings
from shared.observation import Known, Observation, Unknown
from shared.risk.checks import Allowed, Decision, validate
from shared.risk.day_start import utc_day
from shared.risk.limits import DayBaseline, OrderFacts, RiskFacts, RiskLimits
from shared.storage.orders import OrderRecord
from shared.storage.risk_state import RiskState

MINUTE_MS = 60_000


def limits_of(settings: RiskSettings) -> RiskLimits:
    """The configured limits in the units of the rules."""
    return RiskLimits(
        max_daily_loss=Decimal(str(settings.max_daily_loss)),
        max_round_trip_loss=Decimal(str(settings.max_round_trip_loss)),
        max_open_positions=settings.max_open_positions,
        max_symbol_notional=Decimal(str(settings.max_symbol_notional)),
        max_total_notional=Decimal(str(settings.max_total_notional)),
        max_margin_use=Decimal(str(settings.max_margin_use)),
        max_orders_per_minute=settings.max_orders_per_minute,
        max_price_age_ms=round(settings.max_price_age_secs * 1000),
        max_price_deviation_bps=Decimal(str(settings.max_price_deviation_bps)),
        cool_down_ms=round(settings.cool_down_secs * 1000),
    )


@dataclass(slots=True)
class _Reservation:
    symbol: str
    usd: Decimal
    resolved_ms: int | None = None


class RiskGate:
    """Decides on orders. Exposure that is on its way counts until the account shows it."""

    def __init__(
        self, limits: RiskLimits, account: AccountView, clock_ms: Callable[[], int]
    ) -> None:
        self.limits = limits
        self._account = account
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._reserved: dict[str, _Reservation] = {}
        self._sent_ms: deque[int] = deque()

    def recover(self, open_orders: Iterable[OrderRecord], sent_ms: Iterable[int]) -> None:
        """Take up the exposure and the order rate of the process before this one."""
        with self._lock:
            self._sent_ms = deque(sent_ms)
            self._reserved.clear()
            for order in open_orders:
                if not order.reduce_only:
                    usd = order.size * order.limit_price
                    self._reserved[order.intent_id] = _Reservation(order.symbol, usd)

    def decide(
        self,
        intent_id: str,
        order: OrderFacts,
        reference: Observation[Decimal],
        state: RiskState,
    ) -> Decision:
        """Allowed or Blocked. An allowed opening order holds its exposure until ``release``."""
        account = Unknown("not needed") if order.reduce_only else self._account.facts()
        with self._lock:
            now_ms = self._clock_ms()
            as_of_ms = account.as_of_ms if isinstance(account, Known) else 0
            facts = RiskFacts(
                now_ms=now_ms,
                kill_switch=state.kill_switch,
                account=account,
                reference_price=reference,
                baseline=_todays(state.baseline, now_ms),
                orders_last_minute=self._count_last_minute(now_ms),
                cool_down_until_ms=state.cool_down_until_ms.get(order.symbol, 0),
                pause_reason=state.pause_reason(order.symbol),
                in_flight_usd=self._in_flight(as_of_ms),
            )
            decision = validate(order, facts, self.limits)
            if isinstance(decision, Allowed) and not order.reduce_only:
                usd = order.size * order.limit_price
                self._reserved[intent_id] = _Reservation(order.symbol, usd)
                self._sent_ms.append(now_ms)
            return decision

    def release(self, intent_id: str, *, traded: bool) -> None:
        """The order is over: at once if nothing traded, else when the account shows it."""
        with self._lock:
            reservation = self._reserved.get(intent_id)
            if reservation is None:
                return
            if traded:
                reservation.resolved_ms = self._clock_ms()
            else:
                del self._reserved[intent_id]

    def _in_flight(self, as_of_ms: int) -> dict[str, Decimal]:
        shown = [
            intent_id
            for intent_id, r in self._reserved.items()
            if r.resolved_ms is not None and r.resolved_ms < as_of_ms
        ]
        for intent_id in shown:
            del self._reserved[intent_id]
        total: defaultdict[str, Decimal] = defaultdict(Decimal)
        for reservation in self._reserved.values():
            total[reservation.symbol] += reservation.usd
        return dict(total)

    def _count_last_minute(self, now_ms: int) -> int:
        while self._sent_ms and self._sent_ms[0] <= now_ms - MINUTE_MS:
            self._sent_ms.popleft()
        return len(self._sent_ms)


def _todays(baseline: DayBaseline | None, now_ms: int) -> Observation[DayBaseline]:
    if baseline is None or baseline.day != utc_day(now_ms):
        return Unknown("the account's value at the start of this UTC day is not known yet")
    return Known(baseline, now_ms)
