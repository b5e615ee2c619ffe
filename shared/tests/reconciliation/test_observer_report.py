"""The observer's document: round trip, and everything that makes it unusable."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.reconciliation.observer_report import (
    ObservedPosition,
    ObserverReport,
    ReportError,
    parse_report,
)

GOOD: dict[str, Any] = {
    "observer_id": "observer_1",
    "timestamp": 1_700_000_000_500,
    "venue_time": 1_700_000_000_450,
    "dexes": [""],
    "complete": True,
    "positions": {"BTC": {"size": "-0.01", "entry_price": "43000"}},
}


def test_the_documented_example_is_read() -> None:
    report = parse_report(GOOD)
    assert report.venue_ms == 1_700_000_000_450
    assert report.positions["BTC"] == ObservedPosition(Decimal("-0.01"), Decimal(43_000))


@given(
    st.dictionaries(
        st.text("ABCxyz:", min_size=1, max_size=8),
        st.tuples(
            st.decimals(-(10**9), 10**9, places=8), st.decimals("0.00000001", 10**6, places=8)
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read_back_exactly(held: dict[str, tuple[Decimal, Decimal]]) -> None:
    report = ObserverReport(
        "a", 1_000, 900, frozenset({"", "xyz"}), {s: ObservedPosition(*v) for s, v in held.items()}
    )
    assert parse_report(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"complete": False}, "complete"),
        ({"complete": None}, "complete"),
        ({"complete": 1}, "complete"),
        ({"dexes": []}, "dexes"),
        ({"dexes": "x"}, "dexes"),
        ({"observer_id": ""}, "observer_id"),
        ({"venue_time": "now"}, "venue_time"),
        ({"venue_time": 0}, "venue_time"),
        ({"venue_time": 1.5}, "venue_time"),
        ({"timestamp": True}, "timestamp"),
        ({"positions": None}, "positions"),
        ({"positions": []}, "positions"),
        ({"positions": {"BTC": {"size": 1.0, "entry_price": "1"}}}, "positions.BTC.size"),
        ({"positions": {"BTC": {"size": "NaN", "entry_price": "1"}}}, "positions.BTC.size"),
        ({"positions": {"BTC": {"size": "1e5", "entry_price": "1"}}}, "positions.BTC.size"),
        ({"positions": {"BTC": {"size": "1"}}}, "positions.BTC.entry_price"),
        ({"positions": {"BTC": "1"}}, "positions.BTC"),
    ],
)
def test_anything_else_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ReportError, match=named):
        parse_report({**GOOD, **change})


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_field_is_needed(name: str) -> None:
    with pytest.raises(ReportError):
        parse_report({k: v for k, v in GOOD.items() if k != name})


@pytest.mark.parametrize("raw", [None, [], "x", 3])
def test_a_document_is_an_object(raw: object) -> None:
    with pytest.raises(ReportError):
        parse_report(raw)
