"""What of a change of the account is transfer, where not all of its ledger is understood."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.risk.day_start import ValueReading
from shared.risk.transfers import Gap, Transfer, net_usd


def reading(at_ms: int, usd: str) -> ValueReading:
    return ValueReading(at_ms, Decimal(usd))


def known(at_ms: int, usd: str) -> Transfer:
    return Transfer(at_ms, Decimal(usd))


def test_known_transfers_add_up() -> None:
    assert net_usd([known(1, "100"), known(2, "-30.5")], []) == Decimal("69.5")


def test_what_is_not_known_is_what_the_account_changed_by_meanwhile() -> None:
    gap = Gap(reading(10, "1000"), reading(20, "1250"))
    transfers = [known(5, "7"), Transfer(15, None), known(25, "-3")]
    assert net_usd(transfers, [gap]) == Decimal(254)


def test_a_change_counts_once_however_many_transfers_lie_in_it() -> None:
    gap = Gap(reading(10, "1000"), reading(20, "1250"))
    transfers = [Transfer(11, None), Transfer(20, None), known(15, "100")]
    assert net_usd(transfers, [gap, gap]) == Decimal(250)


@pytest.mark.parametrize("at_ms", [10, 21])
def test_a_transfer_of_which_nothing_is_known_is_never_dropped(at_ms: int) -> None:
    gap = Gap(reading(10, "1000"), reading(20, "1250"))
    with pytest.raises(ValueError, match="nothing is known"):
        net_usd([Transfer(at_ms, None)], [gap])


@given(st.lists(st.integers(-1_000, 1_000), min_size=1, max_size=20), st.data())
def test_without_trades_the_net_is_the_change_whatever_is_known(
    flows: list[int], data: st.DataObject
) -> None:
    """One transfer between each reading and the next; any of them may be of an unknown kind."""
    values = [Decimal(10_000)]
    for usd in flows:
        values.append(values[-1] + usd)
    readings = [ValueReading(10 * n, value) for n, value in enumerate(values)]
    hidden = [data.draw(st.booleans()) for _ in flows]
    transfers = [
        Transfer(10 * n + 5, None if hidden[n] else Decimal(usd)) for n, usd in enumerate(flows)
    ]
    gaps = [Gap(readings[n], readings[n + 1]) for n in range(len(flows)) if hidden[n]]
    assert net_usd(transfers, gaps) == values[-1] - values[0]
