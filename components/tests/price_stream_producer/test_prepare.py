"""What a producer subscribes to: configured symbols that the venue lists and trades."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from decimal import Decimal

import pytest
import redis
from prometheus_client import REGISTRY

from price_stream_producer import prepare
from shared.config import Secrets, load_settings
from shared.market_data.quotes import Quote
from shared.storage.streams import PriceStore
from shared.testing.http_server import LocalServer, Reply, Request

NOW = 1_700_000_000_000
SYMBOLS = ("BTC", "OLD", "NOCOIN")


def listing(request: Request) -> Reply:
    assert request.json()["type"] == "metaAndAssetCtxs"
    names = [("BTC", False), ("OLD", True), ("ETH", False)]
    universe = [
        {"name": name, "szDecimals": 2, "maxLeverage": 5, "marginTableId": 5}
        | ({"isDelisted": True} if delisted else {})
        for name, delisted in names
    ]
    context = {
        "funding": "0.0", "openInterest": "1.0", "prevDayPx": "9", "dayNtlVlm": "1",
        "dayBaseVlm": "1", "premium": "0", "oraclePx": "10", "markPx": "10", "midPx": "10",
        "impactPxs": ["9", "11"],
    }  # fmt: skip
    meta = {"universe": universe, "marginTables": [], "collateralToken": 0}
    return Reply.json([meta, [context] * len(names)])


@pytest.fixture
def environ(service_environ: Mapping[str, str]) -> dict[str, str]:
    symbols = {"T3__reconciliation_engine__symbols": json.dumps(SYMBOLS)}
    return dict(service_environ) | symbols


def rejected(symbol: str) -> float:
    labels = {"symbol": symbol, "reason": "not_listed"}
    return REGISTRY.get_sample_value("t3_prices_rejected_total", labels) or 0.0


def test_unknown_and_delisted_symbols_are_counted_and_left_out(
    environ: dict[str, str], secrets: Secrets, redis_client: redis.Redis
) -> None:
    before = {symbol: rejected(symbol) for symbol in SYMBOLS}
    with LocalServer(listing) as venue:
        settings = load_settings(environ=environ | {"T3__paper_exchange__url": venue.url})
        manager, _, assets = prepare(settings, secrets, threading.Event())
        manager.close()
    assert list(assets) == ["BTC"]
    assert {s: rejected(s) - before[s] for s in SYMBOLS} == {"BTC": 0, "OLD": 1, "NOCOIN": 1}


def test_a_restarted_producer_measures_its_first_price_by_the_last_one(
    environ: dict[str, str], secrets: Secrets, redis_client: redis.Redis
) -> None:
    store = PriceStore(redis_client)
    store.publish([Quote("BTC", Decimal(10), Decimal(10), NOW, NOW, "ws")])
    with LocalServer(listing) as venue:
        settings = load_settings(environ=environ | {"T3__paper_exchange__url": venue.url})
        manager, intake, _ = prepare(settings, secrets, threading.Event())
        manager.close()
    half = Quote("BTC", Decimal(5), Decimal(10), NOW + 1_000, NOW + 1_000, "ws")
    assert intake.accept([half]) == []
    assert store.latest(["BTC"])["BTC"].mid == 10
