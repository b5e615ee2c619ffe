"""Margin arithmetic: initial, maintenance, liquidation price, funding rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from paper_exchange.decimals import ONE, ZERO, micro_floor
from paper_exchange.ledger import Account, Position
from paper_exchange.universe import Asset, MarginTable

TRANSFER_MARGIN = Decimal("0.1")
FUNDING_INTEREST = Decimal("0.0001")
FUNDING_CLAMP = Decimal("0.0005")
FUNDING_CAP = Decimal("0.04")
RATE_QUANTUM = Decimal("0.0000000001")

MarkOf = Callable[[str], Decimal]


def tier_of(table: MarginTable, notional: Decimal) -> tuple[Decimal, Decimal]:
    """Maintenance rate and deduction of the tier that holds ``notional`` USD."""
    rate = ONE / (2 * table.tiers[0].max_leverage)
    deduction = ZERO
    for tier in table.tiers[1:]:
        if notional < tier.lower_bound_usd:
            break
        next_rate = ONE / (2 * tier.max_leverage)
        deduction += tier.lower_bound_usd * (next_rate - rate)
        rate = next_rate
    return rate, deduction


def maintenance_margin(table: MarginTable, notional: Decimal) -> Decimal:
    """``notional x rate - deduction`` of its tier, in USD."""
    rate, deduction = tier_of(table, notional)
    return notional * rate - deduction


def liquidation_price(
    table: MarginTable, mark: Decimal, size: Decimal, value: Decimal, maintenance: Decimal
) -> Decimal | None:
    """Price at which ``value`` (account value or isolated equity) falls to the maintenance margin.

    ``mark - side x (value - maintenance) / |size| / (1 - l x side)``; None when no positive price
    liquidates the position.
    """
    side = 1 if size > 0 else -1
    rate, _ = tier_of(table, abs(size) * mark)
    px = mark - side * (value - maintenance) / abs(size) / (1 - rate * side)
    return px if px > 0 else None


def hourly_funding_rate(premium: Decimal) -> Decimal:
    """Funding per hour from the hour's average premium (both as fractions)."""
    clamped = max(-FUNDING_CLAMP, min(FUNDING_CLAMP, FUNDING_INTEREST - premium))
    rate = (premium + clamped) / 8
    return max(-FUNDING_CAP, min(FUNDING_CAP, rate)).quantize(RATE_QUANTUM)


@dataclass(frozen=True, slots=True)
class DexMargin:
    """Margin figures of one account on one dex, in USD."""

    account_value: Decimal
    notional: Decimal
    raw_usd: Decimal
    margin_used: Decimal
    cross_value: Decimal
    cross_notional: Decimal
    cross_raw_usd: Decimal
    cross_margin_used: Decimal
    cross_maintenance: Decimal

    @property
    def withdrawable(self) -> Decimal:
        """What may leave: value above the initial margin and above a tenth of the notional."""
        needed = max(self.cross_margin_used, TRANSFER_MARGIN * self.cross_notional)
        return max(ZERO, self.cross_value - needed)


def initial_margin(position: Position, mark: Decimal) -> Decimal:
    """Margin a position uses: notional over leverage (cross), its own equity (isolated)."""
    if not position.is_cross:
        return position.isolated_usd + position.size * mark
    return abs(position.size) * mark / position.leverage


def dex_margin(account: Account, dex: str, assets: Iterable[Asset], mark_of: MarkOf) -> DexMargin:
    """Sum an account's open positions on one dex at the current marks."""
    cash = account.dex_cash(dex)
    notional = signed = isolated_raw = used = ZERO
    cross_notional = cross_signed = cross_used = cross_maintenance = ZERO
    for asset in assets:
        position = account.positions.get(asset.name)
        if position is None or position.size == 0:
            continue
        mark = mark_of(asset.name)
        value = position.size * mark
        margin = initial_margin(position, mark)
        notional, signed, used = notional + abs(value), signed + value, used + margin
        if position.is_cross:
            cross_notional, cross_signed = cross_notional + abs(value), cross_signed + value
            cross_used += margin
            cross_maintenance += maintenance_margin(asset.margin_table, abs(value))
        else:
            isolated_raw += position.isolated_usd
    return DexMargin(
        account_value=cash + isolated_raw + signed,
        notional=notional,
        raw_usd=cash + isolated_raw,
        margin_used=micro_floor(used),
        cross_value=cash + cross_signed,
        cross_notional=cross_notional,
        cross_raw_usd=cash,
        cross_margin_used=micro_floor(cross_used),
        cross_maintenance=cross_maintenance,
    )
