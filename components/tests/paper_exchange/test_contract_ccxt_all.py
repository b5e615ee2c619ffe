"""Unmodified ccxt, sync, async and pro: the rest of what a trader calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt
import ccxt.async_support
import ccxt.pro
import pytest

BTC, ETH, SOL, XYZ = "BTC/USDC:USDC", "ETH/USDC:USDC", "SOL/USDC:USDC", "XYZ-XYZ100/USDC:USDC"
QUIET = {"approvedBuilderFee": True, "refSet": True, "enableUnifiedMargin": False}
QUIET["builderFee"] = False


@pytest.fixture(scope="module")
def paper(start_module_paper: Callable[..., Any]) -> Any:
    """A venue that lets everybody use the dead man's switch."""
    return start_module_paper("--no-rate-limit", "--switch", "schedule_cancel_volume=0")


def settings_for(paper: Any, wallet: Any) -> dict[str, Any]:
    api = {"public": paper.url, "private": paper.url, "ws": {"public": paper.ws_url}}
    return {
        "walletAddress": wallet.address,
        "privateKey": wallet.key,
        "urls": {"api": api},
        "enableRateLimit": False,
        "options": dict(QUIET),
    }


@pytest.fixture
def client(paper: Any, master: Any) -> Any:
    return ccxt.hyperliquid(settings_for(paper, master))


# --- sync ---------------------------------------------------------------------------------


def test_public_reads(client: Any) -> None:
    assert len(client.fetch_currencies() or {}) >= 0
    tickers = client.fetch_tickers()
    assert {BTC, ETH, XYZ} <= set(tickers)
    rates = client.fetch_funding_rate_history(BTC, limit=10)
    assert len(rates) >= 10
    assert client.fetch_funding_rate(BTC)["fundingRate"] is not None
    assert client.fetch_open_interest(BTC)["openInterestAmount"] > 0
    assert set(client.fetch_open_interests([BTC, ETH])) == {BTC, ETH}
    hourly = client.fetch_ohlcv(ETH, "1h", limit=24)
    assert hourly[1][0] - hourly[0][0] == 3_600_000


def test_account_reads(client: Any) -> None:
    balance = client.fetch_balance()
    assert balance["USDC"]["total"] > 90_000
    assert client.fetch_balance({"type": "spot"})["info"] == {"balances": []}
    fee = client.fetch_trading_fee(BTC)
    assert (fee["taker"], fee["maker"]) == (0.00045, 0.00015)
    assert client.fetch_ledger()[-1]["amount"] > 0
    assert client.fetch_deposits()[0]["amount"] == 100_000
    assert client.fetch_withdrawals() == []
    assert client.fetch_funding_history(BTC) == []
    assert client.fetch_positions([BTC]) == []


def test_order_kinds(client: Any) -> None:
    last = client.fetch_ticker(ETH)["last"]
    low, high = round(last * 0.9), round(last * 1.1)
    post_only = client.create_order(ETH, "limit", "buy", 0.01, low, {"postOnly": True})
    assert client.fetch_order(post_only["id"], ETH)["info"]["order"]["tif"] == "Alo"
    ioc = client.create_order(ETH, "limit", "buy", 0.02, high, {"timeInForce": "IOC"})
    assert client.fetch_order(ioc["id"], ETH)["status"] == "closed"
    reduce = client.create_order(ETH, "limit", "sell", 0.02, high, {"reduceOnly": True})
    target = {"takeProfitPrice": high, "reduceOnly": True}
    take_profit = client.create_order(ETH, "market", "sell", 0.02, last, target)
    stop = {"triggerPrice": low, "reduceOnly": True}
    stop_limit = client.create_order(ETH, "limit", "sell", 0.02, low, stop)
    kinds = {o["id"]: o["info"]["orderType"] for o in client.fetch_open_orders(ETH)}
    assert kinds[reduce["id"]] == "Limit"
    assert kinds[take_profit["id"]] == "Take Profit Market"
    assert kinds[stop_limit["id"]] == "Stop Limit"
    client.cancel_orders([post_only["id"], reduce["id"]], ETH)
    client.create_order(ETH, "market", "sell", 0.02, last, {"reduceOnly": True})
    # The triggers were reduce-only, so they ended with the position.
    assert client.fetch_open_orders(ETH) == []
    assert {o["id"] for o in client.fetch_canceled_orders(ETH)} >= {post_only["id"], reduce["id"]}
    assert ioc["id"] in {o["id"] for o in client.fetch_closed_orders(ETH)}
    assert len(client.fetch_orders(ETH)) >= 5


def test_batches_edits_and_attached_stops(client: Any) -> None:
    last = client.fetch_ticker(SOL)["last"]
    low = round(last * 0.8)
    orders = [
        {"symbol": SOL, "type": "limit", "side": "buy", "amount": 1, "price": low - i}
        for i in range(3)
    ]
    placed = client.create_orders(orders)
    assert len(client.fetch_open_orders(SOL)) == 3
    edited = client.edit_order(placed[0]["id"], SOL, "limit", "buy", 2, low - 5)
    assert client.fetch_order(edited["id"], SOL)["amount"] == 2
    ids = [o["id"] for o in client.fetch_open_orders(SOL)]
    client.cancel_orders(ids, SOL)
    children = {
        "stopLoss": {"triggerPrice": round(last * 0.7)},
        "takeProfit": {"triggerPrice": round(last * 1.3)},
    }
    client.create_order(SOL, "limit", "buy", 1, low, children)
    (parent,) = [o for o in client.fetch_open_orders(SOL) if not o["info"]["isTrigger"]]
    assert len(parent["info"]["children"]) == 2
    client.cancel_order(parent["id"], SOL)
    assert client.fetch_open_orders(SOL) == []


def test_leverage_isolated_margin_and_modes(client: Any) -> None:
    client.set_margin_mode("isolated", SOL, {"leverage": 4})
    last = client.fetch_ticker(SOL)["last"]
    client.create_order(SOL, "market", "buy", 3, last)
    before = client.fetch_position(SOL)
    assert (before["marginMode"], before["leverage"]) == ("isolated", 4)
    client.add_margin(SOL, 25)
    after = client.fetch_position(SOL)
    assert after["collateral"] > before["collateral"]
    assert after["liquidationPrice"] < before["liquidationPrice"]
    client.reduce_margin(SOL, 20)
    with pytest.raises(ccxt.ExchangeError, match="Cannot switch leverage type"):
        client.set_margin_mode("cross", SOL, {"leverage": 4})
    client.create_order(SOL, "market", "sell", 3, last, {"reduceOnly": True})
    client.set_leverage(10, SOL)


def test_transfers_and_builder_dex(client: Any, paper: Any, master: Any) -> None:
    client.transfer("USDC", 40, "swap", "spot")
    assert client.fetch_balance({"type": "spot"})["USDC"]["total"] == 40
    client.transfer("USDC", 40, "spot", "swap")
    assert paper.info("clearinghouseState", user=master.address, dex="xyz")["assetPositions"] == []
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(XYZ, "market", "buy", 0.01, client.fetch_ticker(XYZ)["last"])


def test_dead_mans_switch(client: Any, paper: Any, master: Any) -> None:
    client.create_order(BTC, "limit", "buy", 0.001, 70_000)
    client.cancel_all_orders_after(6_000)
    assert len(client.fetch_open_orders(BTC)) == 1
    (order,) = client.fetch_open_orders(BTC)
    client.cancel_order(order["id"], BTC)


# --- async and pro ------------------------------------------------------------------------


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 60)

    asyncio.run(bounded())


def test_async_client_trades(paper: Any, other: Any) -> None:
    async def scenario() -> None:
        client = ccxt.async_support.hyperliquid(settings_for(paper, other))
        try:
            await client.load_markets()
            ticker, book, candles, balance = await asyncio.gather(
                client.fetch_ticker(BTC),
                client.fetch_order_book(BTC),
                client.fetch_ohlcv(BTC, "5m", limit=5),
                client.fetch_balance(),
            )
            # Prices go on between two replies.
            assert ticker["last"] == pytest.approx(book["bids"][0][0], rel=0.005)
            assert candles[-1][0] - candles[-2][0] == 300_000
            assert balance["USDC"]["free"] > 0
            placed = await asyncio.gather(
                *(client.create_order(BTC, "limit", "buy", 0.001, 70_000 + i) for i in range(5))
            )
            edited = await client.edit_order(placed[0]["id"], BTC, "limit", "buy", 0.002, 69_000)
            ids = [edited["id"], *(order["id"] for order in placed[1:])]
            assert {o["id"] for o in await client.fetch_open_orders(BTC)} == set(ids)
            await client.cancel_orders(ids, BTC)
            await client.create_order(BTC, "market", "buy", 0.001, ticker["last"])
            assert (await client.fetch_positions([BTC]))[0]["contracts"] == 0.001
            close = {"reduceOnly": True}
            await client.create_order(BTC, "market", "sell", 0.001, ticker["last"], close)
            assert len(await client.fetch_my_trades(BTC)) >= 2
        finally:
            await client.close()

    run(scenario)


def test_pro_watches_everything_and_stops_watching(paper: Any, other: Any) -> None:
    async def scenario() -> None:
        client = ccxt.pro.hyperliquid(settings_for(paper, other))
        try:
            await client.load_markets()
            public = await asyncio.gather(
                client.watch_ticker(BTC),
                client.watch_tickers([BTC, ETH]),
                client.watch_order_book(ETH),
                client.watch_ohlcv(ETH, "1m"),
                client.watch_trades(BTC),
                client.watch_tickers([XYZ]),
            )
            assert public[0]["last"] > 0
            assert set(public[1]) <= {BTC, ETH}
            assert public[2]["bids"]
            assert public[3][-1][4] > 0
            assert public[4][-1]["price"] > 0
            assert XYZ in public[5]
            private = [
                asyncio.create_task(client.watch_orders(BTC)),
                asyncio.create_task(client.watch_my_trades(BTC)),
                asyncio.create_task(client.watch_positions([BTC])),
                asyncio.create_task(client.watch_balance()),
            ]
            await asyncio.sleep(0.5)
            price = public[0]["last"]
            await client.create_order_ws(BTC, "market", "buy", 0.002, price)
            orders, trades, positions, balance = await asyncio.gather(*private)
            assert orders[-1]["status"] == "closed"
            assert trades[-1]["side"] == "buy"
            while not positions or positions[0]["contracts"] != 0.002:
                positions = await client.watch_positions([BTC])
            assert balance["USDC"]["total"] > 0
            close = {"reduceOnly": True}
            await client.create_order_ws(BTC, "market", "sell", 0.002, price, close)
            for stop in (
                client.un_watch_ticker(BTC),
                client.un_watch_tickers([BTC, ETH]),
                client.un_watch_order_book(ETH),
                client.un_watch_ohlcv(ETH, "1m"),
                client.un_watch_trades(BTC),
                client.un_watch_orders(),
                client.un_watch_my_trades(),
                client.un_watch_positions(),
            ):
                await asyncio.wait_for(stop, 10)
        finally:
            await client.close()

    run(scenario)


def test_pro_places_edits_and_cancels_over_the_socket(paper: Any, other: Any) -> None:
    async def scenario() -> None:
        client = ccxt.pro.hyperliquid(settings_for(paper, other))
        try:
            order = await client.create_order_ws(BTC, "limit", "buy", 0.001, 70_000)
            edited = await client.edit_order_ws(order["id"], BTC, "limit", "buy", 0.001, 69_000)
            batch = [
                {
                    "symbol": BTC,
                    "type": "limit",
                    "side": "buy",
                    "amount": 0.001,
                    "price": 68_000 - i,
                }
                for i in range(2)
            ]
            placed = await client.create_orders_ws(batch)
            assert len(await client.fetch_open_orders(BTC)) == 3
            await client.cancel_orders_ws([edited["id"], *(o["id"] for o in placed)], BTC)
            assert await client.fetch_open_orders(BTC) == []
        finally:
            await client.close()

    run(scenario)
