"""Round trips from fills."""

from __future__ import annotations

from decimal import Decimal

from shared.risk.round_trips import TripFill, advance, large_loss

D = Decimal


def fill(start: str, size: str, pnl: str = "0", fee: str = "1") -> TripFill:
    return TripFill(D(start), D(size), D(pnl), D(fee))


def test_a_trip_ends_flat_and_pays_its_fees() -> None:
    progress = advance(D(0), [fill("0", "2"), fill("2", "-1", "5"), fill("1", "-1", "-8")])
    assert progress.closed_usd == (D(-6),)
    assert progress.open_usd == 0


def test_an_open_trip_is_carried_on() -> None:
    first = advance(D(0), [fill("0", "-3")])
    assert (first.open_usd, first.closed_usd) == (D(-1), ())
    assert advance(first.open_usd, [fill("-3", "3", "10")]).closed_usd == (D(8),)


def test_turning_over_ends_one_trip_and_splits_the_fee() -> None:
    progress = advance(D(0), [fill("0", "1"), fill("1", "-4", "10", fee="4")])
    assert progress.closed_usd == (D(8),)  # 10 - 1 - a quarter of 4
    assert progress.open_usd == D(-3)


def test_sum_over_trips_is_the_sum_over_fills() -> None:
    fills = [fill("0", "1"), fill("1", "-3", "7", "3"), fill("-2", "2", "-4", "2")]
    progress = advance(D(0), fills)
    total = sum((f.closed_pnl - f.fee for f in fills), D(0))
    assert sum(progress.closed_usd, D(0)) + progress.open_usd == total


def test_the_worst_closed_trip_is_held_against_the_share_that_may_be_lost() -> None:
    loss = large_loss("BTC", [D("-60"), D("20")], D(1000), D("0.05"))
    assert loss is not None
    assert (loss.symbol, loss.lost_usd, loss.limit_usd) == ("BTC", D(60), D(50))
    assert loss.reason == (
        "a round trip lost 60.00 USD (6.00% of the account); allowed are 50.00 USD"
    )
    assert large_loss("BTC", [D("-50")], D(1000), D("0.05")) is None
    assert large_loss("BTC", [D("70")], D(1000), D("0.05")) is None
    assert large_loss("BTC", [], D(1000), D("0.05")) is None


def test_a_loss_of_an_account_of_unknown_value_is_too_large_and_zero_is_off() -> None:
    for value in (None, D(0), D(-3)):
        loss = large_loss("ETH", [D("-0.01")], value, D("0.05"))
        assert loss is not None
        assert "unknown value" in loss.reason
    assert large_loss("ETH", [D("-900")], D(1000), D(0)) is None
