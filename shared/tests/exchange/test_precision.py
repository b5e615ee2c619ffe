"""Order filters against the documented rules, the recorded universe and properties."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.exchange.precision import (
    SPOT_PRICE_DECIMALS,
    FilterViolation,
    OrderFilters,
    plain,
    to_wire,
)

# Prices of the venue's documentation and of issue threads: (price, size decimals, valid).
DOCUMENTED_PRICES = [
    ("1234.5", 0, True),
    ("1234.56", 0, False),
    ("0.001234", 0, True),
    ("0.0012345", 0, False),
    ("0.01234", 1, True),
    ("0.012345", 1, False),
    ("123456", 0, True),
    ("12345.6", 0, False),
    ("83757", 5, True),
    ("83757.5", 5, False),
    ("9999.9", 5, True),
    ("9999.95", 5, False),
    ("100000.1", 5, False),
    ("123457", 5, True),
    ("1.23450", 0, True),
    ("0.000001", 0, True),
    ("0.0000001", 0, False),
    ("0", 0, False),
    ("-1", 0, False),
    ("NaN", 0, False),
    ("Infinity", 0, False),
]

sz_decimals = st.integers(0, 6)
prices = st.decimals("0.00001", "10000000", allow_nan=False, allow_infinity=False, places=9)
sizes = st.decimals("0.0000001", "1000000", allow_nan=False, allow_infinity=False, places=9)
sides = st.sampled_from(["buy", "sell"])


@pytest.mark.parametrize(("price", "decimals", "valid"), DOCUMENTED_PRICES)
def test_documented_prices(price: str, decimals: int, valid: bool) -> None:
    filters = OrderFilters(decimals)
    if valid:
        filters.check_price(Decimal(price))
    else:
        with pytest.raises(FilterViolation):
            filters.check_price(Decimal(price))


def test_every_vector_of_the_venue(vectors: dict[str, object]) -> None:
    for case in vectors["price_validity"]:  # type: ignore[attr-defined]
        spot = case["market"] == "spot"
        filters = (
            OrderFilters(case["szDecimals"], SPOT_PRICE_DECIMALS)
            if spot
            else OrderFilters(case["szDecimals"])
        )
        assert _accepts(filters.check_price, case["price"]) is case["valid"], case
    for case in vectors["size_validity"]:  # type: ignore[attr-defined]
        filters = OrderFilters(case["szDecimals"])
        assert _accepts(filters.check_size, case["size"]) is case["valid"], case
    for case in vectors["min_notional"]:  # type: ignore[attr-defined]
        check = partial(OrderFilters(5).check_notional, Decimal(case["price"]))
        assert _accepts(check, case["size"]) is case["accepted"], case


def test_wire_form_equals_the_official_one(vectors: dict[str, object]) -> None:
    for case in vectors["float_to_wire"]:  # type: ignore[attr-defined]
        if case["input"] == 0:
            continue  # no action carries a zero; the official form of it even has a sign
        # Twelve decimals are without the noise of binary fractions.
        exact = Decimal(repr(case["input"])).quantize(Decimal("1e-12"))
        if case["expected"] == "ValueError":
            with pytest.raises(ValueError, match="decimals"):
                to_wire(exact)
        else:
            assert to_wire(exact) == case["expected"], case


@given(price=prices, decimals=sz_decimals, side=sides)
def test_rounded_price_is_valid_near_and_never_worse(
    price: Decimal, decimals: int, side: str
) -> None:
    filters = OrderFilters(decimals)
    assume(price >= filters.tick(price))
    rounded = filters.round_price(price, side)  # type: ignore[arg-type]
    filters.check_price(rounded)
    assert rounded <= price if side == "buy" else rounded >= price
    assert abs(rounded - price) < filters.tick(price)


@given(price=prices, decimals=sz_decimals, side=sides)
def test_a_valid_price_is_left_alone(price: Decimal, decimals: int, side: str) -> None:
    filters = OrderFilters(decimals)
    assume(price >= filters.tick(price))
    valid = filters.round_price(price, side)  # type: ignore[arg-type]
    assert filters.round_price(valid, side) == valid  # type: ignore[arg-type]


@given(size=sizes, decimals=sz_decimals)
def test_rounded_size_is_a_lot_and_never_larger(size: Decimal, decimals: int) -> None:
    filters = OrderFilters(decimals)
    assume(size >= filters.lot)
    rounded = filters.round_size(size)
    filters.check_size(rounded)
    assert size - filters.lot < rounded <= size


@given(price=prices, decimals=sz_decimals, side=sides, bps=st.integers(0, 1000))
def test_slippage_bound_is_valid_and_never_beyond_the_slippage(
    price: Decimal, decimals: int, side: str, bps: int
) -> None:
    filters = OrderFilters(decimals)
    assume(price >= 10 * filters.tick(price))
    bound = filters.slippage_bound(price, side, Decimal(bps))  # type: ignore[arg-type]
    filters.check_price(bound)
    allowed = price * Decimal(bps) / 10_000
    assert bound - price <= allowed if side == "buy" else price - bound <= allowed


@given(st.decimals("0", "10000000", allow_nan=False, allow_infinity=False, places=8))
def test_wire_form_is_exact_and_canonical(value: Decimal) -> None:
    text = to_wire(value)
    assert Decimal(text) == value
    assert "E" not in text.upper()
    assert not (("." in text) and text.endswith("0"))


@given(price=prices, decimals=sz_decimals)
def test_validity_agrees_with_the_rule_as_the_venue_words_it(price: Decimal, decimals: int) -> None:
    """5 significant figures and 6 - szDecimals decimals, whole numbers always."""
    normal = price.normalize()
    digits = len(normal.as_tuple().digits)
    exponent = normal.as_tuple().exponent
    assert isinstance(exponent, int)
    whole = exponent >= 0
    by_the_words = whole or (digits <= 5 and -exponent <= max(0, 6 - decimals))
    assert _accepts(OrderFilters(decimals).check_price, str(price)) is by_the_words


def test_size_below_one_lot_is_refused_with_the_smallest_size() -> None:
    with pytest.raises(FilterViolation, match=r"smallest size is 0\.001"):
        OrderFilters(3).round_size(Decimal("0.0009"))


def test_small_order_is_refused_unless_it_closes_a_whole_position() -> None:
    filters = OrderFilters(5)
    with pytest.raises(FilterViolation, match="min_notional"):
        filters.check_notional(Decimal(83000), Decimal("0.00012"))
    filters.check_notional(Decimal(83000), Decimal("0.00012"), closes_whole_position=True)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
def test_wire_form_refuses_what_is_not_a_number(bad: str) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        to_wire(Decimal(bad))


def test_wire_form_refuses_to_lose_digits() -> None:
    with pytest.raises(ValueError, match="9 decimals"):
        to_wire(Decimal("0.123456789"))


@pytest.mark.parametrize("bad", [-1, 9])
def test_impossible_size_decimals_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="allowed are 0 to 8"):
        OrderFilters(bad)


def test_plain_prints_no_exponent() -> None:
    assert [plain(Decimal(t)) for t in ("1E+3", "1.500", "0.00", "-0", "1E-7")] == [
        "1000",
        "1.5",
        "0",
        "0",
        "0.0000001",
    ]


def test_recorded_universe_takes_what_we_round(data_dir: Path) -> None:
    recorded = json.loads(
        (data_dir / "hyperliquid_fixtures/info/meta_and_asset_ctxs_2026_02.json").read_text()
    )
    meta, contexts = recorded["response"]
    checked = 0
    for asset, context in zip(meta["universe"], contexts, strict=True):
        if context["midPx"] is None:
            continue
        filters = OrderFilters(asset["szDecimals"])
        mid = Decimal(context["midPx"])
        filters.check_price(filters.slippage_bound(mid, "buy", Decimal(50)))
        filters.check_price(filters.slippage_bound(mid, "sell", Decimal(50)))
        filters.check_size(filters.round_size(Decimal(100) / mid + filters.lot))
        mark = Decimal(context["markPx"]).quantize(Decimal("1e-10"), ROUND_HALF_EVEN)
        filters.check_price(mark)
        checked += 1
    assert checked > 100


def _accepts(check: Callable[[Decimal], object], text: str) -> bool:
    try:
        check(Decimal(text))
    except FilterViolation:
        return False
    return True
