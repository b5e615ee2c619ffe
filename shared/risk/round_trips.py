"""Closed round trips of one symbol, from its fills: what was made from flat to flat. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class TripFill:
    """One execution: ``start_position`` and ``signed_size`` in coins, money in USD."""

    start_position: Decimal
    signed_size: Decimal
    closed_pnl: Decimal
    fee: Decimal


@dataclass(frozen=True, slots=True)
class TripProgress:
    """``open_usd``: made so far by the trip under way. ``closed_usd``: by each that ended."""

    open_usd: Decimal
    closed_usd: tuple[Decimal, ...]


def advance(open_usd: Decimal, fills: list[TripFill]) -> TripProgress:
    """Carry a symbol's round trip through ``fills``, oldest first.

    A trip ends when the position reaches zero or changes sign; a fill that turns the position
    over ends one trip and starts the next, its fee split by size.
    """
    closed: list[Decimal] = []
    for fill in fills:
        after = fill.start_position + fill.signed_size
        turned = fill.start_position * after < 0
        ended = fill.start_position != 0 and (after == 0 or turned)
        closing_share = abs(fill.start_position / fill.signed_size) if turned else Decimal(1)
        open_usd += fill.closed_pnl - fill.fee * closing_share
        if ended:
            closed.append(open_usd)
            open_usd = -fill.fee * (1 - closing_share) if turned else ZERO
    return TripProgress(open_usd, tuple(closed))
