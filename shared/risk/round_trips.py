"""Closed round trips of one symbol, from its fills: what was made from flat to flat. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class LargeLoss:
    """A closed round trip that lost more than is allowed: what, and of what, in USD."""

    symbol: str
    lost_usd: Decimal
    limit_usd: Decimal
    account_value: Decimal | None

    @property
    def reason(self) -> str:
        """One sentence for whoever decides to go on."""
        if self.account_value is None:
            return f"a round trip lost {self.lost_usd:.2f} USD of an account of unknown value"
        share = self.lost_usd / self.account_value
        return (
            f"a round trip lost {self.lost_usd:.2f} USD ({share:.2%} of the account); "
            f"allowed are {self.limit_usd:.2f} USD"
        )


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


def large_loss(
    symbol: str, closed_usd: Sequence[Decimal], account_value: Decimal | None, limit: Decimal
) -> LargeLoss | None:
    """The worst of a symbol's closed round trips, if it lost more than ``limit`` allows.

    ``limit`` is a share of ``account_value`` (USD); 0 switches the rule off. While the account's
    value is not known (None, or not positive), any loss is too large.
    """
    lost_usd = -min(closed_usd, default=ZERO)
    if limit == 0 or lost_usd <= 0:
        return None
    known = account_value is not None and account_value > 0
    value = account_value if known else None
    limit_usd = ZERO if value is None else limit * value
    return None if lost_usd <= limit_usd else LargeLoss(symbol, lost_usd, limit_usd, value)
