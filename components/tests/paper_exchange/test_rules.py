"""Numbers: price and size rules, nonces, margin, funding, against the published vectors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_exchange.decimals import (
    canonical,
    parse_decimal,
    price_problem,
    size_is_valid,
    snap_down,
    snap_up,
    wire,
)
from paper_exchange.ledger import Account
from paper_exchange.margin import hourly_funding_rate, liquidation_price, maintenance_margin
from paper_exchange.nonces import KEPT, NonceError, NonceSet
from paper_exchange.universe import MarginTable, MarginTier, single_tier_table

NOW = 1_800_000_000_000


def test_price_vectors(vectors: Any) -> None:
    for vector in vectors["price_validity"]:
        base = 8 if vector["market"] == "spot" else 6
        problem = price_problem(Decimal(vector["price"]), base - vector["szDecimals"])
        assert (problem is None) == vector["valid"], vector


def test_size_vectors(vectors: Any) -> None:
    for vector in vectors["size_validity"]:
        assert size_is_valid(Decimal(vector["size"]), vector["szDecimals"]) == vector["valid"]


def test_funding_vectors(vectors: Any) -> None:
    for vector in vectors["funding_hourly"]:
        rate = hourly_funding_rate(Decimal(vector["premium"]))
        assert abs(rate - Decimal(vector["hourly_rate"])) <= Decimal("1e-10"), vector


def test_maintenance_vectors(vectors: Any) -> None:
    for vector in vectors["maintenance_margin"]:
        tiers = vector.get("tiers") or [["0", vector["maxLeverage"]]]
        table = MarginTable(0, "", tuple(MarginTier(Decimal(b), x) for b, x in tiers))
        margin = maintenance_margin(table, Decimal(vector["positionValue"]))
        assert margin == Decimal(vector["maintenanceMargin"])


def test_liquidation_vectors(vectors: Any) -> None:
    for vector in vectors["liquidation_price"]:
        mark, size = Decimal(str(vector["markPx"])), Decimal(str(vector["size"]))
        table = single_tier_table(vector["maxLeverage"])
        price = liquidation_price(
            table,
            mark,
            size * vector["side"],
            Decimal(str(vector["margin_or_account_value"])),
            maintenance_margin(table, mark * size),
        )
        assert price is not None
        assert abs(price - Decimal(str(vector["liquidationPx"]))) < Decimal("1e-5")


@given(units=st.integers(1, 10**9), scale=st.sampled_from([1, 10, 100, 10**4, 10**6]))
def test_snapped_prices_are_valid_and_close(units: int, scale: int) -> None:
    decimals = len(str(scale)) - 1
    low, high = snap_down(units, scale), snap_up(units, scale)
    assert low <= units <= high
    for value in (low, high):
        if value:
            assert price_problem(Decimal(value).scaleb(-decimals), decimals) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=0, max_value=10**12))
def test_wire_and_canonical_round_trip(value: Decimal) -> None:
    assert parse_decimal(wire(value)) == value
    assert parse_decimal(canonical(value)) == value
    assert "e" not in wire(value).lower()


def test_wire_marks_whole_numbers_and_canonical_does_not() -> None:
    assert (wire(Decimal(83757)), canonical(Decimal("83757.0"))) == ("83757.0", "83757")
    assert (wire(Decimal("-0.0")), canonical(Decimal("1E+3"))) == ("0.0", "1000")


def test_nonces_are_used_once_and_within_the_window() -> None:
    nonces = NonceSet()
    nonces.check(NOW, NOW)
    nonces.add(NOW)
    with pytest.raises(NonceError, match=f"duplicate nonce {NOW}"):
        nonces.check(NOW, NOW)
    with pytest.raises(NonceError, match="nonce too low"):
        nonces.check(NOW - 2 * 86_400_000, NOW)
    with pytest.raises(NonceError, match="nonce too high"):
        nonces.check(NOW + 86_400_000, NOW)
    nonces.check(NOW - 1, NOW)


def test_a_full_nonce_set_refuses_what_lies_below_it() -> None:
    nonces = NonceSet(range(NOW, NOW + KEPT))
    with pytest.raises(NonceError, match=f"nonce too low {NOW - 1} < {NOW}"):
        nonces.check(NOW - 1, NOW)
    assert nonces.add(NOW + KEPT) == NOW
    assert len(nonces) == KEPT
    with pytest.raises(NonceError, match="nonce too low"):
        nonces.check(NOW + 1 - 1, NOW)


def test_fee_tiers_follow_fourteen_days_of_volume() -> None:
    account = Account("0x" + "00" * 20)
    day = NOW // 86_400_000
    assert account.fee_rates(NOW) == (Decimal("0.00045"), Decimal("0.00015"))
    account.daily_volume = {day: Decimal(3_000_000), day - 13: Decimal(2_000_001)}
    assert account.fee_rates(NOW) == (Decimal("0.0004"), Decimal("0.00012"))
    account.daily_volume = {day: Decimal(3_000_000), day - 14: Decimal(2_000_001)}
    assert account.fee_rates(NOW) == (Decimal("0.00045"), Decimal("0.00015"))
