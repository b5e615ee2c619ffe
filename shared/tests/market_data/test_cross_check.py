"""What counts as frozen, poll by poll."""

from __future__ import annotations

from decimal import Decimal

from shared.market_data.cross_check import CrossCheck

OLD, NEW, NEWER = Decimal(100), Decimal(101), Decimal(102)


def poll(check: CrossCheck, mid: Decimal, at_ms: int) -> set[tuple[str, str]]:
    return check.polled({"BTC": mid}, at_ms)


def test_two_polls_that_differ_from_a_standing_price_freeze_it() -> None:
    check = CrossCheck()
    assert check.heard("allMids", "BTC", OLD, 0)
    assert poll(check, NEW, 1_000) == set()
    assert check.heard("allMids", "BTC", OLD, 1_500)
    assert poll(check, NEWER, 2_000) == {("allMids", "BTC")}
    assert not check.heard("allMids", "BTC", OLD, 2_500)
    assert poll(check, NEWER, 3_000) == set()  # told once
    assert check.frozen == {("allMids", "BTC")}


def test_a_stream_that_moves_between_polls_is_only_a_little_behind() -> None:
    check = CrossCheck()
    for step in range(5):
        check.heard("allMids", "BTC", Decimal(100 + step), step * 1_000)
        assert poll(check, Decimal(101 + step), step * 1_000 + 500) == set()
    assert check.frozen == set()


def test_a_quiet_market_is_not_frozen() -> None:
    check = CrossCheck()
    check.heard("allMids", "BTC", OLD, 0)
    assert all(poll(check, OLD, at_ms) == set() for at_ms in range(1_000, 9_000, 1_000))
    assert check.heard("allMids", "BTC", OLD, 9_000)


def test_a_new_price_or_agreement_thaws() -> None:
    check = CrossCheck()
    check.heard("allMids", "BTC", OLD, 0)
    poll(check, NEW, 1_000)
    poll(check, NEW, 2_000)
    assert check.heard("allMids", "BTC", NEW, 2_100)
    check.heard("allMids", "BTC", OLD, 2_200)
    poll(check, NEW, 3_000)
    poll(check, NEW, 4_000)
    assert not check.heard("allMids", "BTC", OLD, 4_100)
    poll(check, OLD, 5_000)
    assert check.heard("allMids", "BTC", OLD, 5_100)


def test_channels_are_judged_one_by_one() -> None:
    check = CrossCheck()
    check.heard("allMids", "BTC", OLD, 0)
    check.heard("activeAssetCtx", "BTC", NEW, 900)
    poll(check, NEW, 1_000)
    poll(check, NEW, 2_000)
    assert check.frozen == {("allMids", "BTC")}
    assert check.heard("activeAssetCtx", "BTC", NEW, 2_100)


def test_a_symbol_the_poll_does_not_name_is_left_alone() -> None:
    check = CrossCheck()
    check.heard("allMids", "BTC", OLD, 0)
    assert check.polled({}, 1_000) == check.polled({}, 2_000) == set()
