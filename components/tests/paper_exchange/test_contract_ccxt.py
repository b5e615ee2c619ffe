"""Unmodified ccxt against a running venue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ccxt
import pytest

BTC = "BTC/USDC:USDC"
CLOID = "0x" + "a" * 32
# Keeps ccxt from approving a builder fee and a referral on its own.
QUIET = {"approvedBuilderFee": True, "refSet": True, "enableUnifiedMargin": False}
QUIET["builderFee"] = False


@pytest.fixture
def client(paper: Any, master: Any) -> Any:
    return connect(paper, master, options=QUIET)


def connect(paper: Any, wallet: Any, **config: Any) -> Any:
    api = {"public": paper.url, "private": paper.url}
    config = {"walletAddress": wallet.address, "privateKey": wallet.key, **config}
    return ccxt.hyperliquid({**config, "urls": {"api": api}, "enableRateLimit": False})


def test_markets_tickers_book_and_candles(client: Any) -> None:
    markets = client.load_markets()
    assert markets[BTC]["id"] == "0"
    assert markets["XYZ-XYZ100/USDC:USDC"]["id"] == "110000"
    ticker = client.fetch_ticker(BTC)
    assert ticker["bid"] < ticker["last"] < ticker["ask"]
    book = client.fetch_order_book(BTC)
    assert len(book["bids"]) == len(book["asks"]) == 20
    assert book["bids"][0][0] < book["asks"][0][0]
    candles = client.fetch_ohlcv(BTC, "1m", limit=300)
    assert len(candles) >= 300
    assert all(low <= min(o, c) <= max(o, c) <= high for _, o, high, low, c, _ in candles)
    assert abs(candles[-1][4] / ticker["last"] - 1) < 0.01
    assert abs(client.fetch_time() - client.milliseconds()) < 5_000
    assert client.fetch_status()["status"] == "ok"
    assert len(client.fetch_funding_rates([BTC])) == 1


def test_limit_order_by_cloid_from_place_to_cancel(client: Any) -> None:
    order = client.create_order(BTC, "limit", "buy", 0.001, 70_000, {"clientOrderId": CLOID})
    (open_order,) = client.fetch_open_orders(BTC)
    assert (open_order["id"], open_order["clientOrderId"]) == (order["id"], CLOID)
    assert open_order["price"] == 70_000
    by_cloid = client.fetch_order(None, BTC, {"clientOrderId": CLOID})
    assert (by_cloid["id"], by_cloid["status"]) == (order["id"], "open")
    client.cancel_order(None, BTC, {"clientOrderId": CLOID})
    assert client.fetch_open_orders(BTC) == []
    assert client.fetch_order(order["id"], BTC)["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order(order["id"], BTC)


def test_market_order_position_fill_and_close(client: Any) -> None:
    client.set_leverage(5, BTC)
    price = client.fetch_ticker(BTC)["last"]
    client.create_order(BTC, "market", "buy", 0.01, price)
    (position,) = client.fetch_positions([BTC])
    assert (position["side"], position["contracts"], position["leverage"]) == ("long", 0.01, 5)
    trade = client.fetch_my_trades(BTC)[-1]
    assert (trade["side"], trade["amount"], trade["takerOrMaker"]) == ("buy", 0.01, "taker")
    assert trade["fee"]["cost"] == pytest.approx(0.01 * trade["price"] * 0.00045, rel=1e-5)
    client.create_order(BTC, "market", "sell", 0.01, price, {"reduceOnly": True})
    assert client.fetch_positions([BTC]) == []
    assert client.fetch_balance()["USDC"]["total"] < 100_000


def test_refusals_become_ccxt_errors(client: Any) -> None:
    with pytest.raises(ccxt.InvalidOrder, match="minimum value"):
        client.create_order(BTC, "limit", "buy", 0.0001, 70_000)
    with pytest.raises(ccxt.InvalidOrder, match="would have immediately matched"):
        client.create_order(BTC, "limit", "buy", 0.001, 90_000, {"postOnly": True})
    with pytest.raises(ccxt.InvalidOrder, match="Reduce only order would increase"):
        client.create_order(BTC, "limit", "sell", 0.001, 90_000, {"reduceOnly": True})
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(BTC, "limit", "buy", 100, 80_000)
    with pytest.raises(ccxt.InvalidOrder, match="could not immediately match"):
        client.create_order(BTC, "limit", "buy", 0.001, 70_000, {"timeInForce": "IOC"})
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order("999", BTC)


def test_builder_fee_that_ccxt_approves_by_itself_is_charged(paper: Any, master: Any) -> None:
    client = connect(paper, master)
    price = client.fetch_ticker(BTC)["last"]
    client.create_order(BTC, "market", "buy", 0.01, price)
    client.create_order(BTC, "market", "sell", 0.01, price, {"reduceOnly": True})
    fill = paper.info("userFills", user=master.address)[0]
    assert float(fill["builderFee"]) == pytest.approx(float(fill["px"]) * 0.01 * 1e-4, rel=1e-4)
    assert float(fill["fee"]) > 5 * float(fill["builderFee"])


def test_edit_gives_a_new_order(client: Any) -> None:
    order = client.create_order(BTC, "limit", "buy", 0.001, 70_000)
    edited = client.edit_order(order["id"], BTC, "limit", "buy", 0.002, 69_000)
    (open_order,) = client.fetch_open_orders(BTC)
    assert open_order["id"] == edited["id"] != order["id"]
    assert (open_order["amount"], open_order["price"]) == (0.002, 69_000)
    client.cancel_order(edited["id"], BTC)


def test_agent_trades_for_its_master(paper: Any, master: Any, agent: Any) -> None:
    client = connect(paper, type(master)(agent.key, master.address))
    order = client.create_order(BTC, "limit", "buy", 0.001, 70_000)
    assert paper.info("openOrders", user=master.address)[0]["oid"] == int(order["id"])
    assert paper.info("openOrders", user=agent.address) == []
    client.cancel_order(order["id"], BTC)


def test_sandbox_signs_as_testnet_and_is_accepted_by_any(paper: Any, master: Any) -> None:
    client = connect(paper, master)
    client.urls["test"] = {"public": paper.url, "private": paper.url}
    client.set_sandbox_mode(True)
    order = client.create_order(BTC, "limit", "buy", 0.001, 70_000)
    client.cancel_order(order["id"], BTC)


def test_a_mainnet_venue_refuses_testnet_signatures(
    start_paper: Callable[..., Any], master: Any
) -> None:
    venue = start_paper("--network", "mainnet")
    client = connect(venue, master)
    order = client.create_order(BTC, "limit", "buy", 0.001, 70_000)
    client.cancel_order(order["id"], BTC)
    client.urls["test"] = {"public": venue.url, "private": venue.url}
    client.set_sandbox_mode(True)
    with pytest.raises(ccxt.InvalidOrder, match=r"User or API Wallet 0x\w{40} does not exist"):
        client.create_order(BTC, "limit", "buy", 0.001, 70_000)


def test_stop_loss_rests_as_a_trigger(client: Any) -> None:
    price = client.fetch_ticker(BTC)["last"]
    client.create_order(BTC, "market", "buy", 0.01, price)
    params = {"stopLossPrice": round(price * 0.9), "reduceOnly": True}
    stop = client.create_order(BTC, "market", "sell", 0.01, price, params)
    (order,) = client.fetch_open_orders(BTC)
    assert order["info"]["orderType"] == "Stop Market"
    assert order["info"]["triggerCondition"] == f"Price below {round(price * 0.9)}"
    client.cancel_order(stop["id"], BTC)
    client.create_order(BTC, "market", "sell", 0.01, price, {"reduceOnly": True})
