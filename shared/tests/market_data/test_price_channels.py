"""What frames of each channel tell, and which price counts when two of them speak."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest

from shared.exchange.errors import DecodeError
from shared.exchange.payloads import Asset
from shared.market_data.price_channels import (
    OLD_TRADE_MS,
    QUIET_MS,
    Mark,
    Mids,
    News,
    Price,
    PriceChannel,
    PriceChannels,
    VenueComplaint,
)

NOW = 1_700_000_000_000
OFFSET_MS = -3_000
ASSETS = {
    symbol: Asset(symbol, index, 5, 40, only_isolated=False, delisted=False)
    for index, symbol in enumerate(("BTC", "xyz:GOLD"))
}


def channels(channel: PriceChannel) -> PriceChannels:
    return PriceChannels(channel, ASSETS)


def read(reader: PriceChannels, channel: str, data: object, at_ms: int = NOW) -> News | None:
    return reader.read(json.dumps({"channel": channel, "data": data}), at_ms, OFFSET_MS)


def mids(**prices: str) -> dict[str, Any]:
    return {"mids": prices}


def bbo(bid: str | None, ask: str | None, coin: str = "BTC") -> dict[str, Any]:
    sides = [None if px is None else {"px": px, "sz": "1", "n": 1} for px in (bid, ask)]
    return {"coin": coin, "time": NOW, "bbo": sides}


def trade(px: str, age_ms: int = 0, tid: int = 1, coin: str = "BTC") -> dict[str, Any]:
    at_ms = NOW + OFFSET_MS - age_ms
    return {"coin": coin, "side": "B", "px": px, "sz": "1", "time": at_ms, "tid": tid}


def context(mid: str | None) -> dict[str, Any]:
    ctx = {"funding": "0.0", "oraclePx": "99", "markPx": "98", "midPx": mid}
    return {"coin": "BTC", "ctx": ctx}


def test_each_channel_is_subscribed_per_coin_beside_all_mids_of_every_dex() -> None:
    both = [{"type": "allMids"}, {"type": "allMids", "dex": "xyz"}]
    marks = [{"type": "activeAssetCtx", "coin": coin} for coin in ASSETS]
    assert channels("allMids").subscriptions() == both + marks
    for channel in ("bbo", "trades"):
        own = [{"type": channel, "coin": coin} for coin in ASSETS]
        assert channels(channel).subscriptions() == both + own + marks  # type: ignore[arg-type]


def test_the_mid_of_a_book_is_the_middle_of_its_best_prices() -> None:
    reader = channels("bbo")
    assert read(reader, "bbo", bbo("100.1", "100.2")) == Price("BTC", Decimal("100.15"))
    assert read(reader, "bbo", bbo("100", "100")) == Price("BTC", Decimal(100))
    assert read(reader, "bbo", bbo(None, "100")) is None
    assert read(reader, "bbo", bbo("100", None)) is None
    assert read(reader, "bbo", bbo("5", "6", "DOGE")) is None


def test_the_newest_of_several_trades_counts_and_an_old_one_does_not() -> None:
    reader = channels("trades")
    several = [
        trade("101", 10),
        trade("103", 0, tid=9),
        trade("102", 0, tid=8),
        trade("7", coin="X"),
    ]
    assert read(reader, "trades", several) == Price("BTC", Decimal(103))
    assert read(reader, "trades", [trade("90", OLD_TRADE_MS + 1)]) is None
    assert read(reader, "trades", [trade("90", OLD_TRADE_MS)]) == Price("BTC", Decimal(90))
    assert read(reader, "trades", []) is None


def test_all_mids_speak_for_a_coin_whose_own_channel_is_quiet() -> None:
    reader = channels("bbo")
    prices = {"BTC": "100", "xyz:GOLD": "50", "DOGE": "1"}
    ours = {"BTC": Decimal(100), "xyz:GOLD": Decimal(50)}
    assert read(reader, "allMids", mids(**prices)) == Mids(ours, frozenset(ours))
    read(reader, "bbo", bbo("100", "102"))
    for at_ms, quiet in ((NOW + QUIET_MS, {"xyz:GOLD"}), (NOW + QUIET_MS + 1, set(ours))):
        assert read(reader, "allMids", mids(**prices), at_ms) == Mids(ours, frozenset(quiet))


def test_a_channel_that_repeats_itself_counts_as_quiet() -> None:
    reader = channels("bbo")
    for at_ms in (NOW, NOW + QUIET_MS + 1):
        read(reader, "bbo", bbo("100", "102"), at_ms)
    news = read(reader, "allMids", mids(BTC="105"), NOW + QUIET_MS + 1)
    assert isinstance(news, Mids)
    assert news.quiet == {"BTC"}
    read(reader, "bbo", bbo("101", "102"), NOW + QUIET_MS + 2)
    news = read(reader, "allMids", mids(BTC="105"), NOW + QUIET_MS + 3)
    assert isinstance(news, Mids)
    assert news.quiet == frozenset()


def test_a_context_tells_a_mid_only_while_no_channel_has() -> None:
    reader = channels("allMids")
    assert read(reader, "activeAssetCtx", context("97")) == Mark("BTC", Decimal(98), Decimal(97))
    read(reader, "allMids", mids(BTC="100"))
    assert read(reader, "activeAssetCtx", context("97")) == Mark("BTC", Decimal(98), None)
    reader.clear()
    assert read(reader, "activeAssetCtx", context("97")) == Mark("BTC", Decimal(98), Decimal(97))


def test_other_frames_say_nothing_and_complaints_are_passed_on() -> None:
    reader = channels("trades")
    assert read(reader, "pong", None) is None
    assert read(reader, "subscriptionResponse", {}) is None
    assert read(reader, "error", "Invalid subscription") == VenueComplaint("Invalid subscription")


@pytest.mark.parametrize(
    ("channel", "data"),
    [
        ("bbo", bbo("101", "100")),
        ("bbo", bbo("0", "1")),
        ("bbo", bbo("-1", "1")),
        ("bbo", bbo("NaN", "1")),
        ("bbo", {"coin": "BTC", "bbo": [None]}),
        ("bbo", {"coin": "BTC"}),
        ("bbo", []),
        ("trades", {"coin": "BTC"}),
        ("trades", [trade("0")]),
        ("trades", [trade("Infinity")]),
        ("trades", [{"coin": "BTC", "px": "1"}]),
        ("allMids", {"mids": {"BTC": 5}}),
        ("allMids", {"mids": {"BTC": "NaN"}}),
        ("allMids", None),
        ("activeAssetCtx", {"coin": "BTC", "ctx": {"markPx": "1"}}),
    ],
)
def test_what_the_venue_never_sends_is_refused(channel: str, data: object) -> None:
    with pytest.raises(DecodeError):
        read(channels("bbo"), channel, data)


@pytest.mark.parametrize("text", ["", "{", "\x00", "[1]", '"x"', "null", "1e999", '{"channel":'])
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises((DecodeError, orjson.JSONDecodeError)):
        channels("allMids").read(text, NOW, 0)
