"""From quotes to samples of a tick."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from shared.market_data.quotes import Quote
from shared.market_data.sampling import Context, replay_quotes, sample

TICK = 1_700_000_000_000
PRODUCTS = {"ETH": 7, "BTC": 3}
CONTEXT = Context(funding_index={"BTC": -1.25}, volatility={"ETH": 0.02})


def quote(symbol: str, received_ms: int, mid: str = "100", mark: str = "101") -> Quote:
    # The venue's clock is five seconds off: age is told by ours alone.
    return Quote(symbol, Decimal(mid), Decimal(mark), received_ms + 5_000, received_ms, "ws")


def test_samples_are_in_order_of_product_with_their_context() -> None:
    rows = sample(TICK, PRODUCTS, {"BTC": quote("BTC", TICK - 10)}, CONTEXT, 3_000)
    assert rows["product_id"].tolist() == [3, 7]
    assert rows["ok"].tolist() == [1, 0]
    assert (rows["mid"][0], rows["mark"][0]) == (100.0, 101.0)
    assert np.isnan(rows["mid"][1])
    assert rows["funding_index"].tolist() == [-1.25, 0.0]
    assert np.isnan(rows["volatility"][0])
    assert rows["volatility"][1] == 0.02


@pytest.mark.parametrize(
    ("age_ms", "ok"), [(0, 1), (3_000, 1), (3_001, 0), (60_000, 0), (-20, 1), (-3_001, 0)]
)
def test_freshness_is_told_by_age_at_the_tick(age_ms: int, ok: int) -> None:
    rows = sample(TICK, {"BTC": 3}, {"BTC": quote("BTC", TICK - age_ms)}, CONTEXT, 3_000)
    assert rows["ok"].tolist() == [ok]
    assert np.isnan(rows["mid"][0]) == (not ok)


def test_replay_gives_each_tick_the_newest_quote_up_to_it() -> None:
    quotes = [
        quote("BTC", 1_000, "1"),
        quote("ETH", 2_500, "5"),
        quote("BTC", 2_000, "2"),  # arrived in the stream out of order
        quote("BTC", 3_001, "3"),
    ]
    found = replay_quotes(quotes, [1_000, 2_000, 3_000, 4_000])
    mids = {tick: {s: int(q.mid) for s, q in by.items()} for tick, by in found.items()}
    assert mids == {
        1_000: {"BTC": 1},
        2_000: {"BTC": 2},
        3_000: {"BTC": 2, "ETH": 5},
        4_000: {"BTC": 3, "ETH": 5},
    }
