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
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.signing import sign_l1_action
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
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


def l2_post(number: int) -> dict[str, Any]:
    request = {"type": "info", "payload": {"type": "l2Book", "coin": "BTC"}}
    return {"method": "post", "id": number, "request": request}


def test_posts_are_charged_like_http_requests(start_paper: Callable[..., Any]) -> None:
    venue = start_paper()
    with connect(socket_url(venue)) as socket:
        wire = Wire(socket)
        replies = []
        for number in range(62):
            payload = {"type": "meta"}
            wire.send(method="post", id=number, request={"type": "info", "payload": payload})
            replies.append(wire.next("post")["response"])
    assert [r["type"] for r in replies[:58]] == ["info"] * 58
    assert replies[-1] == {"type": "error", "payload": "429 Too Many Requests"}
    assert requests.post(f"{venue.url}/info", json={"type": "meta"}, timeout=5).status_code == 429


@pytest.fixture
def faulty(paper: Any) -> Iterator[Any]:
    yield paper
    paper.admin("DELETE", "faults")


def test_posts_suffer_the_faults_of_http(wire: Wire, faulty: Any, other: Any) -> None:
    def fault(kind: str, **params: Any) -> None:
        match = {"path": "/info", "type": "l2Book"}
        body = {"kind": kind, "count": 1, "match": match, "params": params}
        faulty.admin("POST", "faults", body)

    fault("http", status=502)
    wire.send(**l2_post(1))
    assert wire.next("post") == {
        "id": 1,
        "response": {"type": "error", "payload": "502 Bad Gateway"},
    }
    fault("delay", ms=500)
    wire.send(**l2_post(2))
    wire.send(**l2_post(3))
    assert [wire.next("post")["id"], wire.next("post")["id"]] == [3, 2]
    fault("drop_reply", hold_ms=200)
    wire.send(**l2_post(4))
    with pytest.raises(ConnectionClosed):
        wire.next("post")


def test_an_action_posted_and_reset_after_acceptance_has_been_taken(
    wire: Wire, faulty: Any, other: Any
) -> None:
    cloid = "0x" + "7c" * 16
    order = {"a": 1, "b": True, "p": "2500", "s": "0.05", "r": False, "t": GTC, "c": cloid}
    action = {"type": "order", "orders": [order], "grouping": "na"}
    nonce = int(time.time() * 1000)
    signature = sign_l1_action(Account.from_key(other.key), action, None, nonce, None, True)
    match = {"path": "/exchange", "type": "order"}
    params = {"when": "after"}
    faulty.admin("POST", "faults", {"kind": "reset", "count": 1, "match": match, "params": params})
    payload = {"action": action, "nonce": nonce, "signature": signature}
    wire.send(method="post", id=1, request={"type": "action", "payload": payload})
    with pytest.raises(ConnectionClosed):
        wire.next("post")
    assert faulty.info("orderStatus", user=other.address, oid=cloid)["status"] == "order"


def test_a_silent_connection_is_closed_and_a_ping_prevents_it(
    start_paper: Callable[..., Any],
) -> None:
    venue = start_paper("--ws-idle", "0.6")
    with connect(socket_url(venue)) as silent, connect(socket_url(venue)) as pinging:
        Wire(silent)
        wire = Wire(pinging)
        for _ in range(4):
            time.sleep(0.3)
            wire.send(method="ping")
            wire.next("pong")
        with pytest.raises(ConnectionClosedOK):
            silent.recv(timeout=5)


def test_limits_hold_for_all_connections_of_a_host_together(
    start_paper: Callable[..., Any],
) -> None:
    venue = start_paper()
    with connect(socket_url(venue)) as one, connect(socket_url(venue)) as two:
        first, second = Wire(one), Wire(two)
        for index in range(10):
            first.subscribe(type="orderUpdates", user=f"0x{index:040x}")
        second.subscribe(type="userFills", user=f"0x{3:040x}")
        second.send(method="subscribe", subscription={"type": "userFills", "user": f"0x{11:040x}"})
        assert second.next("error") == "Cannot track more than 10 total users."


def test_more_than_thirty_connections_a_minute_are_refused(
    start_paper: Callable[..., Any],
) -> None:
    venue = start_paper()
    refused = 0
    for _ in range(34):
        try:
            with connect(socket_url(venue)) as socket:
                Wire(socket)
        except InvalidStatus:
            refused += 1
    assert 1 <= refused <= 4


def test_events_are_cut_and_reordered_on_request(wire: Wire, faulty: Any, other: Any) -> None:
    wire.subscribe(type="userFills", user=other.address)
    assert wire.next("userFills")["isSnapshot"]
    client = Exchange(Account.from_key(other.key), faulty.url)
    match = {"type": "userFills"}
    faulty.admin("POST", "faults", {"kind": "ws_reorder", "count": 1, "match": match})
    client.market_open("ETH", True, 0.05)
    client.market_close("ETH")
    dirs = [wire.next("userFills")["fills"][0]["dir"] for _ in range(2)]
    assert dirs == ["Close Long", "Open Long"]
    faulty.admin("POST", "faults", {"kind": "ws_duplicate", "count": 1, "match": match})
    client.market_open("ETH", True, 0.05)
    first, second = wire.next("userFills"), wire.next("userFills")
    assert first == second
    faulty.admin("POST", "faults", {"kind": "ws_cut", "count": 1, "match": match})
    client.market_close("ETH")
    with pytest.raises(ConnectionClosed):
        wire.next("userFills")


def test_a_snapshot_can_be_stale(wire: Wire, faulty: Any, other: Any) -> None:
    match = {"path": "/ws", "type": "openOrders"}
    faulty.admin("POST", "faults", {"kind": "stale", "match": match})
    wire.subscribe(type="openOrders", user=other.address)
    before = wire.next("openOrders")
    client = Exchange(Account.from_key(other.key), faulty.url)
    status = client.order("SOL", True, 1.0, 100.0, GTC)["response"]["data"]["statuses"][0]
    assert wire.next("openOrders") != before
    wire.send(method="unsubscribe", subscription={"type": "openOrders", "user": other.address})
    wire.subscribe(type="openOrders", user=other.address)
    assert wire.next("subscriptionResponse")["method"] == "subscribe"
    assert wire.next("openOrders") == before
    client.cancel("SOL", status["resting"]["oid"])


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
