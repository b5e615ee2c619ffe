"""Round trips from fills."""

from __future__ import annotations

from decimal import Decimal

from shared.risk.round_trips import TripFill, advance

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
