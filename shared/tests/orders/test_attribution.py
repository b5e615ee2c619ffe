"""Every fill, fee and payment belongs to somebody, and together they are the account."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.orders.attribution import (
    HOUSE,
    AccountFill,
    Asked,
    Book,
    apply_fill,
    apply_funding,
    apply_late_fill,
    asked_sizes,
    empty_book,
    retire,
)


def asked(sizes: dict[int, float], target: float | None = None) -> Asked:
    ids = sorted(sizes)
    return Asked(
        np.array(ids, dtype=np.int64),
        np.array([sizes[i] for i in ids]),
        sum(sizes.values()) if target is None else target,
    )


def fill(size: float, price: float, start: float, fee: float = 0.0) -> AccountFill:
    return AccountFill(size, price, fee, start)


def held(book: Book) -> dict[int, float]:
    return dict(zip(book.shares["run_id"].tolist(), book.shares["held"].tolist(), strict=True))


def pnl(book: Book, price: float) -> dict[int, float]:
    return dict(zip(book.shares["run_id"].tolist(), book.pnl(price).tolist(), strict=True))


def test_runs_hold_what_they_asked_for() -> None:
    book, split = apply_fill(empty_book(), fill(4, 100, 0, fee=1), asked({1: 10, 2: -6}))
    assert held(book) == {HOUSE: 0, 1: 10, 2: -6}
    assert pnl(book, 110) == pytest.approx({HOUSE: 0, 1: 100 - 10 / 16, 2: -60 - 6 / 16})
    assert (split.runs, split.house_usd) == (2, pytest.approx(0))


def test_a_run_that_leaves_is_out_while_the_others_stay() -> None:
    book, _ = apply_fill(empty_book(), fill(10, 100, 0), asked({1: 6, 2: 4}))
    book, _ = apply_fill(book, fill(-6, 120, 10, fee=2), asked({2: 4}))
    assert held(book) == {HOUSE: 0, 1: 0, 2: 4}
    assert pnl(book, 120) == pytest.approx({HOUSE: 0, 1: 6 * 20 - 2, 2: 4 * 20})


def test_what_rounding_and_caps_leave_is_the_houses() -> None:
    book, _ = apply_fill(empty_book(), fill(10, 100, 0), asked({1: 9.97}))
    assert held(book)[HOUSE] == pytest.approx(0.03)


def test_half_a_fill_gives_everyone_half() -> None:
    book, _ = apply_fill(empty_book(), fill(2, 100, 0), asked({1: 6, 2: -2}))
    assert held(book) == {HOUSE: 0, 1: 3, 2: -1}
    book, _ = apply_fill(book, fill(2, 102, 2), asked({1: 6, 2: -2}))
    assert held(book) == {HOUSE: 0, 1: 6, 2: -2}


def test_on_the_way_out_of_the_old_position_everyone_holds_less_of_it() -> None:
    book, _ = apply_fill(empty_book(), fill(10, 100, 0), asked({1: 6, 2: 4}))
    book, _ = apply_fill(book, fill(-5, 100, 10), asked({1: -3, 3: -2}))
    assert held(book) == {HOUSE: 0, 1: 3, 2: 2, 3: 0}
    book, _ = apply_fill(book, fill(-10, 90, 5), asked({1: -3, 3: -2}))
    assert held(book) == {HOUSE: 0, 1: -3, 2: 0, 3: -2}


def test_a_trade_by_hand_is_the_houses() -> None:
    book, _ = apply_fill(empty_book(), fill(10, 100, 0), asked({1: 10}))
    book, split = apply_fill(book, fill(-10, 90, 10, fee=3), None)
    assert held(book) == {HOUSE: -10, 1: 10}
    assert pnl(book, 95) == pytest.approx({HOUSE: -10 * 5 - 3, 1: -50})
    assert split.runs == 0


def test_what_was_there_before_is_taken_over_by_the_house() -> None:
    book, _ = apply_fill(empty_book(), fill(1, 100, 5), asked({1: 6}))
    assert held(book) == {HOUSE: 0, 1: 6}
    assert sum(pnl(book, 110).values()) == pytest.approx(60)


def test_a_fill_that_is_known_late_ends_like_one_that_was_known_in_time() -> None:
    first, second = fill(2, 100, 0, fee=1), fill(3, 110, 2, fee=2)
    in_time, _ = apply_fill(empty_book(), first, None)
    in_time, _ = apply_fill(in_time, second, asked({1: 5}))
    late, _ = apply_fill(empty_book(), second, asked({1: 5}))
    late, split = apply_late_fill(late, first, next_price=second.price)
    assert late.position == in_time.position == 5
    assert late.cash == pytest.approx(in_time.cash)
    assert (split.runs_usd, split.house_usd) == (0, -201)


def test_funding_goes_to_those_who_hold() -> None:
    book, _ = apply_fill(empty_book(), fill(4, 100, 0), asked({1: 10, 2: -6}))
    book, split = apply_funding(book, -2.0, 4)
    assert split.runs_usd == pytest.approx(-2.0)
    funding = dict(zip(book.shares["run_id"].tolist(), book.shares["funding"], strict=True))
    assert funding == pytest.approx({HOUSE: 0, 1: -5, 2: 3})


def test_ended_runs_leave_the_book_with_what_they_made() -> None:
    book, _ = apply_fill(empty_book(), fill(10, 100, 0), asked({1: 6, 2: 4}))
    book, _ = apply_fill(book, fill(-6, 120, 10), asked({2: 4}))
    book, gone = retire(book, np.array([2]))
    assert gone["run_id"].tolist() == [1]
    assert gone["cash"].tolist() == pytest.approx([120])
    assert sorted(held(book)) == [HOUSE, 2]


def test_sizes_follow_the_plans_arithmetic() -> None:
    # 100,000 USD × 1.0 × 0.5 / 100 runs at 50,000 USD, halved by a cap
    sizes = asked_sizes(np.array([40.0, -10.0]), 100_000 * 0.5 / 100, 50_000, 0.5)
    assert sizes.tolist() == pytest.approx([0.2, -0.05])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_amounts_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        apply_fill(empty_book(), fill(bad, 100, 0), None)
    with pytest.raises(ValueError, match="finite"):
        apply_fill(empty_book(), fill(1, 100, 0), asked({1: bad}))
    with pytest.raises(ValueError, match="finite"):
        apply_funding(empty_book(), bad, 1)


def test_the_house_is_not_a_run() -> None:
    with pytest.raises(ValueError, match="run id 0"):
        apply_fill(empty_book(), fill(1, 100, 0), asked({HOUSE: 1}))


PRICES = st.floats(0.01, 100_000)
SIZES = st.floats(-1_000, 1_000).filter(lambda x: x == 0 or abs(x) > 1e-4)
WISHES = st.none() | st.dictionaries(st.integers(1, 12), SIZES, max_size=12)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["fill", "close", "funding"]), SIZES, PRICES, WISHES, st.booleans()),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(EVENTS, PRICES)
def test_runs_and_house_are_the_account(events: list[Any], last_price: float) -> None:
    book, position, cash, scale = empty_book(), 0.0, 0.0, 1.0
    for kind, amount, price, wishes, reaches in events:
        if kind == "funding":
            book, _ = apply_funding(book, amount, position)
            cash += amount
            continue
        size = -position if kind == "close" else amount
        fee = abs(size) * price * 0.00045
        wish = None
        if wishes is not None:
            wish = asked(wishes, position + size if reaches else None)
        book, split = apply_fill(book, fill(size, price, position, fee), wish)
        # Runs that ask for a thousand times the fill have sums of which little is left beside the
        # house's: what is lost are their last bits.
        lost = 1e-8 + 1e-14 * abs(split.runs_usd)
        assert math.isclose(
            split.runs_usd + split.house_usd, -size * price - fee, rel_tol=1e-12, abs_tol=lost
        )
        position += size
        cash -= size * price + fee
        gross = float(np.abs(book.shares["held"]).sum()) * max(price, last_price)
        scale = max(scale, gross, abs(cash))
    total = math.fsum(book.pnl(last_price).tolist())
    # 1e-8 USD, or the last bits of the largest amount on the way (accounts above 100,000 USD)
    assert abs(total - (cash + position * last_price)) <= max(1e-8, 1e-13 * scale)
