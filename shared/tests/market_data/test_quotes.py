"""The guard that keeps impossible prices out, and the intake behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import pytest
from prometheus_client import REGISTRY

from shared.exchange.payloads import Asset
from shared.market_data.intake import MarketView, QuoteIntake, tradable
from shared.market_data.quotes import REFERENCE_LIFE_MS, PriceGuard, Quote

T = 1_700_000_000_000


def quote(mid: str, mark: str | None = None, at: int = T, symbol: str = "BTC") -> Quote:
    return Quote(symbol, Decimal(mid), Decimal(mark or mid), at, at, "ws")


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("field", ["mid", "mark"])
def test_prices_that_are_not_positive_numbers_are_flagged(price: str, field: str) -> None:
    prices = {"mid": "100", "mark": "100"} | {field: price}
    assert PriceGuard(0.5).check(quote(**prices)) == "not_positive"


@pytest.mark.parametrize(
    ("mid", "fault"),
    [("149.9", None), ("50.1", None), ("150", "jump"), ("50", "jump"), ("1000", "jump")],
)
def test_a_jump_from_the_last_good_price_is_flagged(mid: str, fault: str | None) -> None:
    guard = PriceGuard(0.5)
    assert guard.check(quote("100")) is None
    assert guard.check(quote(mid, at=T + 1)) == fault


def test_a_flagged_price_is_no_reference() -> None:
    guard = PriceGuard(0.5)
    guard.check(quote("100"))
    assert guard.check(quote("200", at=T + 1)) == "jump"
    assert guard.check(quote("210", at=T + 2)) == "jump"
    assert guard.check(quote("101", at=T + 3)) is None


def test_a_mark_that_jumps_is_flagged_too() -> None:
    guard = PriceGuard(0.5)
    guard.check(quote("100", "100"))
    assert guard.check(quote("100", "300", at=T + 1)) == "jump"


def test_a_reference_grows_too_old_to_judge_by() -> None:
    guard = PriceGuard(0.5)
    guard.check(quote("100"))
    assert guard.check(quote("300", at=T + REFERENCE_LIFE_MS)) == "jump"
    assert guard.check(quote("300", at=T + REFERENCE_LIFE_MS + 1)) is None


def test_an_older_quote_never_replaces_a_newer_one() -> None:
    guard = PriceGuard(0.5)
    guard.check(quote("100", at=T))
    assert guard.check(quote("101", at=T - 1)) == "out_of_order"
    assert guard.check(quote("100", at=T)) is None  # a repeated message


@pytest.mark.parametrize("max_jump", [0, -0.1, 1.01, float("nan")])
def test_a_senseless_jump_limit_is_refused(max_jump: float) -> None:
    with pytest.raises(ValueError, match="max_jump"):
        PriceGuard(max_jump)


class Sink:
    """Remembers what was published."""

    def __init__(self, known: Sequence[Quote] = ()) -> None:
        self.batches: list[list[Quote]] = []
        self.known = {quote.symbol: quote for quote in known}

    def publish(self, quotes: Sequence[Quote]) -> None:
        self.batches.append(list(quotes))

    def latest(self, symbols: Iterable[str]) -> Mapping[str, Quote]:
        return {symbol: self.known[symbol] for symbol in symbols if symbol in self.known}


def rejected(symbol: str, reason: str) -> float:
    labels = {"symbol": symbol, "reason": reason}
    return REGISTRY.get_sample_value("t3_prices_rejected_total", labels) or 0.0


def test_bad_quotes_are_counted_and_the_good_ones_of_a_batch_published_together() -> None:
    sink = Sink()
    intake = QuoteIntake(sink, PriceGuard(0.5))
    intake.accept([quote("100", symbol="IN1"), quote("100", symbol="IN2")])
    before = rejected("IN1", "jump")
    good = intake.accept(
        [
            quote("500", symbol="IN1", at=T + 1),
            quote("101", symbol="IN2", at=T + 1),
            quote("0", symbol="IN3", at=T + 1),
        ]
    )
    assert [q.symbol for q in good] == ["IN2"]
    assert sink.batches[-1] == good
    assert rejected("IN1", "jump") == before + 1
    assert rejected("IN3", "not_positive") == 1


def test_a_restarted_producer_measures_against_what_was_published_before() -> None:
    sink = Sink([quote("100", at=T)])
    intake = QuoteIntake(sink, PriceGuard(0.5))
    intake.resume(["BTC", "ETH"])
    assert intake.accept([quote("1000", at=T + 5_000)]) == []


def test_a_view_joins_mids_and_marks_and_refuses_old_marks() -> None:
    view = MarketView(frozenset({"BTC", "ETH"}), max_mark_age_ms=1_000)
    mids = {"BTC": Decimal(100), "ETH": Decimal(10), "OTHER": Decimal(1)}
    assert view.mids_arrived(mids) == {"BTC", "ETH"}
    assert view.pairs({"BTC", "ETH"}, T) == {}  # no marks yet
    assert view.context_arrived("BTC", None, Decimal(101), T) == set()
    assert view.context_arrived("ETH", Decimal(11), Decimal(12), T) == {"ETH"}
    assert view.context_arrived("OTHER", Decimal(1), Decimal(1), T) == set()
    expected = {"BTC": (Decimal(100), Decimal(101)), "ETH": (Decimal(11), Decimal(12))}
    assert view.pairs({"BTC", "ETH"}, T + 1_000) == expected
    assert view.pairs({"BTC", "ETH"}, T + 1_001) == {}
    view.clear()
    assert view.pairs({"BTC", "ETH"}, T) == {}


def test_delisted_and_unknown_symbols_are_not_tradable() -> None:
    listed = {
        "BTC": Asset("BTC", 0, 5, 40, only_isolated=False, delisted=False),
        "OLD": Asset("OLD", 1, 1, 3, only_isolated=False, delisted=True),
    }
    assert tradable(["BTC", "OLD", "NEW"], listed) == (["BTC"], ["OLD", "NEW"])
