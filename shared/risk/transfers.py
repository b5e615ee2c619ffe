"""How much of a change of the account is transfer: pure.

An entry of the venue's ledger whose effect is not known could be any amount. The change between
the reading before it and the one after it then counts as transfer, so that it is taken neither
for profit nor for loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from shared.risk.day_start import ValueReading


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money into (positive) or out of the account at the venue's time; None: nobody knows."""

    at_ms: int
    usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Two readings one after the other, between which something unknown happened."""

    before: ValueReading
    after: ValueReading

    @property
    def usd(self) -> Decimal:
        """What the account's value changed by."""
        return self.after.usd - self.before.usd

    def holds(self, at_ms: int) -> bool:
        """Whether ``after`` shows what happened at ``at_ms`` and ``before`` does not."""
        return self.before.at_ms < at_ms <= self.after.at_ms


def net_usd(transfers: Iterable[Transfer], gaps: Iterable[Gap]) -> Decimal:
    """What came in less what went out. Each transfer that is not known lies in one of ``gaps``.

    Raises ``ValueError`` for one that does not.
    """
    apart = frozenset(gaps)
    total = sum((gap.usd for gap in apart), Decimal(0))
    for transfer in transfers:
        if any(gap.holds(transfer.at_ms) for gap in apart):
            continue
        if transfer.usd is None:
            raise ValueError(f"nothing is known of the transfer at {transfer.at_ms}")
        total += transfer.usd
    return total
