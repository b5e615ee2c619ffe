"""Accounts: cash, positions, fees and funding, exact to the last digit.

Every trade moves cash by exactly -signed size x price. So at any time, for any account,

    account value = deposits - withdrawals + realised - fees + funding + unrealised

holds exactly, with account value = cash + isolated cash + sum(size x mark).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from paper_exchange.decimals import MICRO, ZERO, micro_trunc

DEFAULT_LEVERAGE = 20
FEE_WINDOW_DAYS = 14
DAY_MS = 86_400_000

# 14-day volume above which the rates apply: (USD, taker, maker).
FEE_TIERS: tuple[tuple[Decimal, Decimal, Decimal], ...] = tuple(
    (Decimal(cutoff), Decimal(taker), Decimal(maker))
    for cutoff, taker, maker in (
        ("0", "0.00045", "0.00015"),
        ("5000000", "0.0004", "0.00012"),
        ("25000000", "0.00035", "0.00008"),
        ("100000000", "0.0003", "0.00004"),
        ("500000000", "0.00028", "0"),
        ("2000000000", "0.00026", "0"),
        ("7000000000", "0.00024", "0"),
    )
)
HIP3_FEE_FACTOR = Decimal(2)
GROWTH_FEE_FACTOR = Decimal("0.1")


@dataclass(slots=True)
class Position:
    """Signed size in coins and what it cost; ``isolated_usd`` is the position's own cash.

    ``cost`` is signed like the size: unrealised profit = size x mark - cost.
    """

    coin: str
    size: Decimal = ZERO
    cost: Decimal = ZERO
    leverage: int = DEFAULT_LEVERAGE
    is_cross: bool = True
    isolated_usd: Decimal = ZERO
    funding_all: Decimal = ZERO
    funding_since_open: Decimal = ZERO
    funding_since_change: Decimal = ZERO

    @property
    def entry_px(self) -> Decimal:
        return self.cost / self.size if self.size else ZERO

    def unrealised(self, mark: Decimal) -> Decimal:
        return self.size * mark - self.cost


@dataclass(frozen=True, slots=True)
class Agent:
    """An API wallet that may sign L1 actions for an account."""

    address: str
    name: str
    valid_until_ms: int


@dataclass(slots=True)
class Account:
    """One master account. ``cash`` is cross cash per dex; sums run since inception."""

    address: str
    cash: dict[str, Decimal] = field(default_factory=dict)
    spot_usdc: Decimal = ZERO
    positions: dict[str, Position] = field(default_factory=dict)
    deposits: Decimal = ZERO
    withdrawals: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    volume: Decimal = ZERO
    daily_volume: dict[int, Decimal] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    builder_fees: dict[str, int] = field(default_factory=dict)
    requests_used: int = 0
    last_overflow_ms: int = 0
    cancel_all_at_ms: int | None = None
    cancel_triggers: tuple[int, int] = (0, 0)
    cooldown_until_ms: int = 0

    def dex_cash(self, dex: str) -> Decimal:
        return self.cash.get(dex, ZERO)

    def add_cash(self, dex: str, amount: Decimal) -> None:
        self.cash[dex] = self.dex_cash(dex) + amount

    def size_of(self, coin: str) -> Decimal:
        position = self.positions.get(coin)
        return position.size if position else ZERO

    def fee_rates(self, now_ms: int) -> tuple[Decimal, Decimal]:
        """Taker and maker rate by the volume of the last 14 days."""
        oldest = now_ms // DAY_MS - FEE_WINDOW_DAYS
        recent = sum((v for day, v in self.daily_volume.items() if day > oldest), ZERO)
        taker, maker = FEE_TIERS[0][1:]
        for cutoff, tier_taker, tier_maker in FEE_TIERS[1:]:
            if recent > cutoff:
                taker, maker = tier_taker, tier_maker
        return taker, maker


@dataclass(frozen=True, slots=True)
class TradeResult:
    """What one trade did to a position."""

    start_position: Decimal
    closed_pnl: Decimal
    direction: str


def direction_of(start: Decimal, change: Decimal) -> str:
    """The ``dir`` of a fill: what the trade did to the position."""
    end = start + change
    if start == 0 or (start > 0) == (change > 0):
        return "Open Long" if change > 0 else "Open Short"
    if end == 0 or (end > 0) == (start > 0):
        return "Close Long" if start > 0 else "Close Short"
    return "Long > Short" if start > 0 else "Short > Long"


def apply_trade(
    account: Account, dex: str, position: Position, change: Decimal, px: Decimal, fee: Decimal
) -> TradeResult:
    """Book one trade of ``change`` coins (signed) at ``px``.

    The fee comes from the dex's cash. Isolated positions take initial margin from it when they
    grow and give back their share when they shrink.
    """
    start = position.size
    closing = start != 0 and (start > 0) != (change > 0)
    closed = min(abs(change), abs(start)) if closing else ZERO
    realised = ZERO
    if closed:
        closed_change = closed if change > 0 else -closed
        realised = _reduce(account, dex, position, closed_change, px)
    opened = change - (closed if change > 0 else -closed)
    if opened:
        _increase(account, dex, position, opened, px)
    account.realised += realised
    account.fees += fee
    account.add_cash(dex, -fee)
    if start == 0:
        position.funding_since_open = ZERO
    position.funding_since_change = ZERO
    return TradeResult(start, realised, direction_of(start, change))


def _increase(account: Account, dex: str, position: Position, change: Decimal, px: Decimal) -> None:
    notional = change * px
    position.size += change
    position.cost += notional
    if position.is_cross:
        account.add_cash(dex, -notional)
        return
    margin = micro_trunc(abs(notional) / position.leverage)
    position.isolated_usd += margin - notional
    account.add_cash(dex, -margin)


def _reduce(
    account: Account, dex: str, position: Position, change: Decimal, px: Decimal
) -> Decimal:
    """Close part of a position; returns the realised profit."""
    share = -change / position.size
    remains = position.size + change
    # The last close takes what is left of the cost, so no dust of rounding survives.
    cost = position.cost if remains == 0 else (position.cost * share).quantize(MICRO)
    realised = -change * px - cost
    if position.is_cross:
        account.add_cash(dex, -change * px)
    else:
        equity = position.isolated_usd + position.size * px
        position.isolated_usd -= change * px
        released = position.isolated_usd if remains == 0 else micro_trunc(equity * share)
        position.isolated_usd -= released
        account.add_cash(dex, released)
    position.size = remains
    position.cost -= cost
    return realised


def apply_funding(account: Account, dex: str, position: Position, payment: Decimal) -> None:
    """Add a funding payment (negative: the account pays), in USD."""
    if position.is_cross:
        account.add_cash(dex, payment)
    else:
        position.isolated_usd += payment
    account.funding += payment
    position.funding_all -= payment
    position.funding_since_open -= payment
    position.funding_since_change -= payment


def total_cash(account: Account) -> Decimal:
    """All cash: every dex, isolated positions and spot USDC."""
    isolated = sum((p.isolated_usd for p in account.positions.values()), ZERO)
    return sum(account.cash.values(), ZERO) + isolated + account.spot_usdc


def identity_gap(account: Account, marks: dict[str, Decimal]) -> Decimal:
    """Account value minus its explanation; exactly zero unless the ledger is broken."""
    value = total_cash(account)
    explained = account.deposits - account.withdrawals + account.realised
    explained += account.funding - account.fees
    for coin, position in account.positions.items():
        value += position.size * marks[coin]
        explained += position.unrealised(marks[coin])
    return value - explained
