"""What counts as frozen, poll by poll."""

from __future__ import annotations

from decimal import Decimal

from shared.market_data.cross_check import CrossCheck

OLD, NEW, NEWER = Decimal(100), Decimal(101), Decimal(102)


def poll(check: CrossCheck, mid: Decimal, at_ms: int) -> set[str]:
    return check.polled({"BTC": mid}, at_ms)


def test_two_polls_that_differ_from_a_standing_price_freeze_it() -> None:
    check = CrossCheck()
    assert check.heard("BTC", OLD, 0)
    assert poll(check, NEW, 1_000) == set()
    assert check.heard("BTC", OLD, 1_500)
    assert poll(check, NEWER, 2_000) == {"BTC"}
    assert not check.heard("BTC", OLD, 2_500)
    assert poll(check, NEWER, 3_000) == set()  # told once
    assert check.frozen == {"BTC"}


def test_a_stream_that_moves_between_polls_is_only_a_little_behind() -> None:
    check = CrossCheck()
    for step in range(5):
        check.heard("BTC", Decimal(100 + step), step * 1_000)
        assert poll(check, Decimal(101 + step), step * 1_000 + 500) == set()
    assert check.frozen == set()


def test_a_quiet_market_is_not_frozen() -> None:
    check = CrossCheck()
    check.heard("BTC", OLD, 0)
    assert all(poll(check, OLD, at_ms) == set() for at_ms in range(1_000, 9_000, 1_000))
    assert check.heard("BTC", OLD, 9_000)


def test_a_new_price_or_agreement_thaws() -> None:
    check = CrossCheck()
    check.heard("BTC", OLD, 0)
    poll(check, NEW, 1_000)
    poll(check, NEW, 2_000)
    assert check.heard("BTC", NEW, 2_100)
    check.heard("BTC", OLD, 2_200)
    poll(check, NEW, 3_000)
    poll(check, NEW, 4_000)
    assert not check.heard("BTC", OLD, 4_100)
    poll(check, OLD, 5_000)
    assert check.heard("BTC", OLD, 5_100)


def test_symbols_are_judged_one_by_one() -> None:
    check = CrossCheck()
    for at_ms in (0, 1_000):
        check.heard("BTC", OLD, at_ms)
        check.heard("ETH", OLD + at_ms, at_ms)
        check.polled({"BTC": NEW, "ETH": NEW}, at_ms + 500)
    assert check.frozen == {"BTC"}


def test_a_symbol_the_poll_does_not_name_is_left_alone() -> None:
    check = CrossCheck()
    check.heard("BTC", OLD, 0)
    assert check.polled({}, 1_000) == check.polled({}, 2_000) == set()
