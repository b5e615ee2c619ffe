"""The limits an order is held against, and the facts that are known when it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shared.exchange.precision import Side
from shared.observation import Observation


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """Limits of ``config.yml``.

    Shares and multiples are of the account value (0.1 = 10 %); ages in ms; deviation in basis
    points of the reference price; a cool-down or a round trip's loss of 0 is off.
    """

    max_daily_loss: Decimal
    max_round_trip_loss: Decimal
    max_open_positions: int
    max_symbol_notional: Decimal
    max_total_notional: Decimal
    max_margin_use: Decimal
    max_orders_per_minute: int
    max_price_age_ms: int
    max_price_deviation_bps: Decimal
    cool_down_ms: int


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """The order as it would be sent: size in coins, limit price in USD, after rounding."""

    symbol: str
    side: Side
    size: Decimal
    limit_price: Decimal
    reduce_only: bool
    leverage: int

    @property
    def signed_size(self) -> Decimal:
        """Size with the sign of its effect on the position."""
        return self.size if self.side == "buy" else -self.size


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """The account in USD; ``positions`` holds signed sizes in coins, absent coins are flat.

    ``notionals`` is each position's value in USD, never negative.
    """

    account_value: Decimal
    margin_used: Decimal
    positions: Mapping[str, Decimal]
    notionals: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """Whether new exposure is forbidden, since when, by whom and why."""

    engaged: bool = False
    reason: str = ""
    actor: str = ""
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class DayBaseline:
    """Account value in USD that the day's loss is measured from, transfers added since.

    ``day`` is the UTC date, ``YYYY-MM-DD``.
    """

    day: str
    account_value: Decimal


@dataclass(frozen=True, slots=True)
class RiskFacts:
    """Everything a decision may depend on, read just before it.

    ``reference_price``: the market price the order is judged against. ``in_flight_usd``:
    notional of opening orders, by symbol, that are sent but not yet in ``account``.
    ``pause_reason``: why the symbol waits for a person, empty if it does not.
    """

    now_ms: int
    kill_switch: KillSwitch
    account: Observation[AccountFacts]
    reference_price: Observation[Decimal]
    baseline: Observation[DayBaseline]
    orders_last_minute: int
    cool_down_until_ms: int = 0
    pause_reason: str = ""
    in_flight_usd: Mapping[str, Decimal] = field(default_factory=dict)
