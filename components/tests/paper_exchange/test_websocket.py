"""The WebSocket: raw frames, the SDK's manager, ccxt.pro."""

from __future__ import annotations

import asyncio
import json
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import ccxt.pro
import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.signing import sign_l1_action
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

BTC = "BTC/USDC:USDC"
GTC = {"limit": {"tif": "Gtc"}}


class Wire:
    """A raw connection that finds frames by channel."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        assert self.socket.recv(timeout=5) == "Websocket connection established."

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def subscribe(self, **subscription: Any) -> Any:
        self.send(method="subscribe", subscription=subscription)
        return self.next("subscriptionResponse")

    def next(self, channel: str, timeout: float = 5) -> Any:
        """Data of the next frame of a channel; other channels are passed over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            frame = json.loads(self.socket.recv(timeout=max(0.01, deadline - time.monotonic())))
            if frame["channel"] == channel:
                return frame.get("data")
        raise TimeoutError(channel)


@pytest.fixture
def wire(paper: Any) -> Iterator[Wire]:
    with connect(socket_url(paper)) as socket:
        yield Wire(socket)


def socket_url(paper: Any) -> str:
    return "ws" + str(paper.url)[4:] + "/ws"


def test_ping_acks_and_errors(wire: Wire) -> None:
    wire.send(method="ping")
    assert wire.next("pong") is None
    ack = wire.subscribe(type="l2Book", coin="BTC")
    assert ack == {
        "method": "subscribe",
        "subscription": {"type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None},
    }
    book = wire.next("l2Book")
    assert (book["coin"], len(book["levels"])) == ("BTC", 2)
    wire.send(method="subscribe", subscription={"type": "l2Book", "coin": "BTC"})
    assert wire.next("error").startswith("Already subscribed: {")
    wire.send(method="unsubscribe", subscription={"type": "l2Book", "coin": "BTC"}, id=3)
    assert wire.next("subscriptionResponse")["method"] == "unsubscribe"
    wire.send(method="unsubscribe", subscription={"type": "l2Book", "coin": "BTC"})
    assert wire.next("error").startswith("Already unsubscribed: {")
    wire.send(method="subscribe", subscription={"type": "l2Book", "coin": "NOPE"})
    assert wire.next("error").startswith("Invalid subscription {")
    wire.socket.send("not json")
    assert wire.next("error").startswith("Error parsing JSON into valid websocket request: not")


def test_public_channels_carry_the_rest_shapes(wire: Wire, paper: Any) -> None:
    wire.subscribe(type="allMids")
    assert set(wire.next("allMids")) == {"mids"}
    wire.subscribe(type="allMids", dex="xyz")
    assert wire.next("allMids").keys() >= {"mids"}
    wire.subscribe(type="bbo", coin="ETH")
    bbo = wire.next("bbo")
    assert [set(level) for level in bbo["bbo"]] == [{"px", "sz", "n"}] * 2
    wire.subscribe(type="candle", coin="ETH", interval="1m")
    recorded = paper.info("candleSnapshot", req={"coin": "ETH", "interval": "1m", "startTime": 0})
    assert set(wire.next("candle")) == set(recorded[0])
    wire.subscribe(type="activeAssetCtx", coin="ETH")
    assert wire.next("activeAssetCtx")["ctx"]["markPx"]
    wire.subscribe(type="activeAssetCtx", coin="PURR/USDC")
    assert wire.next("activeSpotAssetCtx")["coin"] == "PURR/USDC"
    wire.subscribe(type="trades", coin="BTC")
    trades = wire.next("trades", timeout=15)
    while not trades:
        trades = wire.next("trades", timeout=15)
    assert set(trades[0]) == {"coin", "side", "px", "sz", "time", "hash", "tid", "users"}


def test_mids_move_several_times_a_second(wire: Wire) -> None:
    wire.subscribe(type="allMids")
    started = time.monotonic()
    for _ in range(12):
        wire.next("allMids")
    assert time.monotonic() - started < 5


def test_one_order_is_told_on_every_user_channel(wire: Wire, paper: Any, other: Any) -> None:
    user = other.address.upper().replace("0X", "0x")
    for kind in ("orderUpdates", "userEvents", "userFills", "clearinghouseState", "webData2"):
        ack = wire.subscribe(type=kind, user=user)
        assert ack["subscription"]["user"] == other.address
    snapshot = wire.next("webData2")
    assert snapshot["user"] == other.address
    client = Exchange(Account.from_key(other.key), paper.url)
    reply = client.market_open("BTC", True, 0.01)
    oid = reply["response"]["data"]["statuses"][0]["filled"]["oid"]
    updates, events, fills, state = None, None, None, None
    while not (updates and events and fills and state):
        frame = json.loads(wire.socket.recv(timeout=5))
        data = frame["data"]
        if frame["channel"] == "orderUpdates":
            updates = data
        elif frame["channel"] == "user":
            events = data
        elif frame["channel"] == "userFills" and not data.get("isSnapshot"):
            fills = data
        elif frame["channel"] == "clearinghouseState":
            positions = data["clearinghouseState"]["assetPositions"]
            state = positions or None
    assert [(u["order"]["oid"], u["status"]) for u in updates] == [(oid, "filled")]
    assert [f["oid"] for f in events["fills"]] == [f["oid"] for f in fills["fills"]]
    assert fills["user"] == other.address
    assert state[0]["position"]["szi"] == "0.01"
    client.market_close("BTC")


def test_post_runs_info_and_actions(wire: Wire, other: Any) -> None:
    request: dict[str, Any] = {"type": "info", "payload": {"type": "l2Book", "coin": "BTC"}}
    wire.send(method="post", id=1, request=request)
    reply = wire.next("post")
    assert (reply["id"], reply["response"]["payload"]["data"]["coin"]) == (1, "BTC")
    nonce, action = int(time.time() * 1000), {"type": "noop"}
    signature = sign_l1_action(Account.from_key(other.key), action, None, nonce, None, True)
    payload = {"action": action, "nonce": nonce, "signature": signature}
    wire.send(method="post", id=2, request={"type": "action", "payload": payload})
    assert wire.next("post")["response"] == {
        "type": "action",
        "payload": {"status": "ok", "response": {"type": "default"}},
    }
    wire.send(method="post", id=3, request={"type": "info", "payload": {"type": "warp"}})
    assert wire.next("post")["response"]["type"] == "error"


def test_sdk_manager_receives_its_subscriptions(paper: Any, other: Any) -> None:
    info = Info(paper.url)
    heard: queue.Queue[Any] = queue.Queue()
    try:
        info.subscribe({"type": "userEvents", "user": other.address}, heard.put)
        info.subscribe({"type": "orderUpdates", "user": other.address}, heard.put)
        time.sleep(0.5)
        client = Exchange(Account.from_key(other.key), paper.url)
        reply = client.order("ETH", True, 0.05, 2500.0, GTC)
        oid = reply["response"]["data"]["statuses"][0]["resting"]["oid"]
        assert heard.get(timeout=5)["data"][0]["order"]["oid"] == oid
        client.cancel("ETH", oid)
        assert heard.get(timeout=5)["data"][0]["status"] == "canceled"
    finally:
        info.disconnect_websocket()


def test_ccxt_pro_watches_and_trades(paper: Any, other: Any) -> None:
    async def scenario() -> None:
        socket = {"public": "ws" + paper.url[4:] + "/ws"}
        client = ccxt.pro.hyperliquid(
            {
                "walletAddress": other.address,
                "privateKey": other.key,
                "urls": {"api": {"public": paper.url, "private": paper.url, "ws": socket}},
                "enableRateLimit": False,
            }
        )
        try:
            ticker = await asyncio.wait_for(client.watch_ticker(BTC), 10)
            assert ticker["last"] > 0
            book = await asyncio.wait_for(client.watch_order_book(BTC), 10)
            assert book["bids"][0][0] < book["asks"][0][0]
            candles = await asyncio.wait_for(client.watch_ohlcv(BTC, "1m"), 10)
            assert candles[-1][4] > 0
            assert await asyncio.wait_for(client.watch_trades(BTC), 30)
            balance = await asyncio.wait_for(client.watch_balance(), 10)
            assert balance["USDC"]["total"] > 0
            watching = asyncio.create_task(client.watch_orders(BTC))
            await asyncio.sleep(0.3)
            order = await client.create_order_ws(BTC, "limit", "buy", 0.001, 70_000)
            (seen,) = await asyncio.wait_for(watching, 10)
            assert (seen["id"], seen["status"]) == (order["id"], "open")
            await client.cancel_order_ws(order["id"], BTC)
        finally:
            await client.close()

    asyncio.run(scenario())


def test_connections_are_limited_per_client(start_paper: Callable[..., Any]) -> None:
    venue = start_paper()
    with ExitStack() as stack:
        for _ in range(10):
            Wire(stack.enter_context(connect(socket_url(venue))))
        with pytest.raises(InvalidStatus, match="403"):
            stack.enter_context(connect(socket_url(venue)))
