"""How much may still be opened: the total cap seen from what is held, not from what is wanted.

Targets respect the cap, but positions may not have followed their targets yet: a close was
refused, a symbol is not known. So opening orders share what the cap leaves over the worst that
may be held.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from shared.observation import Known, Observation, Stale
from shared.reconciliation.consensus import Consensus

ZERO = Decimal(0)


def worst_usd(
    consensus: Consensus, price: Observation[Decimal], symbol_limit_usd: Decimal
) -> Decimal:
    """Largest notional the symbol may have by what any voter said.

    Without a voice or a price it is the most that the symbol is allowed to have.
    """
    if isinstance(consensus.position, Known):
        sizes = [abs(consensus.position.value)]
    else:
        sizes = [abs(vote.size) for vote in consensus.votes if vote.size is not None]
    if not sizes:
        return symbol_limit_usd
    if max(sizes) == 0 and isinstance(consensus.position, Known):
        return ZERO
    if not isinstance(price, Known | Stale):
        return symbol_limit_usd
    return max(sizes) * price.value


def room_usd(
    account_usd: Decimal,
    max_total_exposure: Decimal,
    held_usd: Iterable[Decimal],
    reported_usd: Decimal,
) -> Decimal:
    """Notional that may be opened: the cap minus what is held, 0 or more.

    ``reported_usd`` is the venue's own total, which also covers symbols that are not ours.
    """
    held = max(sum(held_usd, ZERO), reported_usd)
    return max(account_usd * max_total_exposure - held, ZERO)
