"""What is left under the total cap, seen from the worst that may be held."""

from __future__ import annotations

from decimal import Decimal

from shared.observation import Known, Stale, Unknown
from shared.reconciliation.consensus import Consensus, Vote
from shared.reconciliation.exposure import room_usd, worst_usd

LIMIT = Decimal(1_000)
PRICE = Known(Decimal(10), 1)


def consensus(*sizes: str, known: str | None = None) -> Consensus:
    votes = tuple(Vote(str(n), Decimal(s), 1) for n, s in enumerate(sizes))
    position = Unknown("no majority") if known is None else Known(Decimal(known), 1)
    return Consensus("BTC", position, votes, (), (), ())


def test_a_known_position_counts_at_its_price() -> None:
    assert worst_usd(consensus("-3", "-3", "50", known="-3"), PRICE, LIMIT) == Decimal(30)


def test_of_an_unknown_position_the_largest_voice_counts() -> None:
    assert worst_usd(consensus("1", "-20"), PRICE, LIMIT) == Decimal(200)


def test_without_a_voice_the_symbol_may_hold_all_it_is_allowed() -> None:
    assert worst_usd(consensus(), PRICE, LIMIT) == LIMIT


def test_without_a_price_likewise_unless_it_is_known_to_be_flat() -> None:
    assert worst_usd(consensus("1", "1", known="1"), Unknown("no feed"), LIMIT) == LIMIT
    assert worst_usd(consensus("0", "0", known="0"), Unknown("no feed"), LIMIT) == 0
    assert worst_usd(consensus("0", "0"), Unknown("no feed"), LIMIT) == LIMIT


def test_a_stale_price_is_good_enough_for_caution() -> None:
    assert worst_usd(consensus("2", "2", known="2"), Stale(Decimal(10), 1), LIMIT) == Decimal(20)


def test_room_is_what_the_cap_leaves_and_never_negative() -> None:
    held = [Decimal(100), Decimal(300)]
    assert room_usd(Decimal(1_000), Decimal(2), held, Decimal(0)) == Decimal(1_600)
    assert room_usd(Decimal(1_000), Decimal(2), held, Decimal(1_700)) == Decimal(300)
    assert room_usd(Decimal(100), Decimal(2), held, Decimal(0)) == Decimal(0)
