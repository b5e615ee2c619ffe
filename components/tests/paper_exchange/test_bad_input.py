"""Whatever arrives, the venue answers in its own words and goes on; its log stays clean."""

from __future__ import annotations

import json
import socket as sockets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from paper_exchange.canonical import _L1_ACTIONS, _USER_SIGNED
from paper_exchange.gate import MAX_BODY_BYTES
from paper_exchange.info import HANDLERS
from paper_exchange.topics import TOPICS

UNPROCESSABLE = "Failed to deserialize the JSON body into the target type"
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63, 2**64 - 1, 2**64, 253_402_300_800_000]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["BTC", "xyz", "xyz:XYZ100", "PURR/USDC", "1m", "1M", "0x" + "1" * 40, "0x" + "f" * 32,
         "Gtc", "Ioc", "1e5", "1" * 20 + "." + "9" * 18, "-0", "NaN", "\u0000", "tp", "na"]
    ),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
INFO_FIELDS = ("user", "coin", "dex", "oid", "startTime", "endTime", "nSigFigs", "mantissa",
               "builder", "spacingMs", "count", "coins")  # fmt: skip


def with_some_fields(kinds: list[str], names: tuple[str, ...], **extra: Any) -> Any:
    """Objects of a known type whose fields are sometimes right and mostly wrong."""
    fields = dict.fromkeys(names, JSON) | extra
    return st.builds(
        lambda kind, body: {"type": kind, **body},
        st.one_of(st.sampled_from(kinds), JSON),
        st.fixed_dictionaries({}, optional=fields),
    )


REQUEST = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("coin", "interval", "startTime", "endTime"), JSON)
)
KNOWN_REQUEST = st.fixed_dictionaries(
    {"coin": st.just("BTC"), "interval": st.sampled_from(["1m", "1w", "1M"]), "startTime": SCALARS},
    optional={"endTime": SCALARS},
)
INFO_BODY = with_some_fields(
    sorted(HANDLERS), INFO_FIELDS, req=st.one_of(JSON, REQUEST, KNOWN_REQUEST)
)
SUBSCRIPTION = with_some_fields(
    sorted(TOPICS), ("user", "coin", "dex", "interval", "nSigFigs", "mantissa")
)
WIRE = st.fixed_dictionaries(
    {
        "a": st.one_of(st.integers(0, 3), SCALARS),
        "b": st.booleans(),
        "p": st.one_of(st.sampled_from(["80000", "2500", "1" * 20 + "." + "9" * 18]), SCALARS),
        "s": st.one_of(st.sampled_from(["0.01", "9" * 20, "0." + "0" * 17 + "1"]), SCALARS),
        "r": st.booleans(),
        "t": st.one_of(
            st.sampled_from(
                [
                    {"limit": {"tif": "Gtc"}},
                    {"limit": {"tif": "Ioc"}},
                    {"trigger": {"isMarket": True, "triggerPx": "9" * 20, "tpsl": "sl"}},
                ]
            ),
            JSON,
        ),
    },
    optional={"c": st.one_of(st.just("0x" + "a" * 32), JSON)},
)
ACTION = st.one_of(
    with_some_fields(
        [*sorted(_L1_ACTIONS), *sorted(_USER_SIGNED), "twapOrder"],
        ("asset", "isCross", "leverage", "ntli", "isBuy", "time", "oid", "amount", "destination",
         "hyperliquidChain", "signatureChainId", "nonce", "code", "name", "usd", "cancels"),
        orders=st.lists(WIRE, max_size=3), order=WIRE,
        modifies=st.lists(st.fixed_dictionaries({"oid": SCALARS, "order": WIRE}), max_size=2),
        grouping=st.one_of(st.sampled_from(["na", "normalTpsl", "positionTpsl"]), JSON),
    ),
    JSON,
)  # fmt: skip
USER_SIGNED = st.fixed_dictionaries(
    {
        "type": st.sampled_from(sorted(_USER_SIGNED)),
        "hyperliquidChain": st.sampled_from(["Mainnet", "Testnet"]),
        "signatureChainId": st.sampled_from(["0x66eee", "0x0", "-1", "0x" + "f" * 70, "zz"]),
        "destination": st.one_of(st.just("0x" + "5" * 40), st.text(max_size=5)),
        "amount": st.one_of(st.just("1"), st.text(max_size=5)),
        "time": st.one_of(st.just(5), SCALARS),
        "nonce": st.one_of(st.just(5), SCALARS),
        "toPerp": st.booleans(),
        "agentAddress": st.just("0x" + "6" * 40),
        "agentName": st.text(max_size=9),
        "maxFeeRate": st.text(max_size=5),
        "builder": st.just("0x" + "7" * 40),
        "token": st.text(max_size=5),
        "sourceDex": st.text(max_size=5),
        "destinationDex": st.text(max_size=5),
        "fromSubAccount": st.text(max_size=5),
    }
)
SIGNATURE = st.one_of(
    st.just({"r": "0x" + "1" * 64, "s": "0x" + "2" * 64, "v": 27}),
    st.fixed_dictionaries({"r": SCALARS, "s": SCALARS, "v": SCALARS}),
    JSON,
)
EXCHANGE_BODY = st.fixed_dictionaries(
    {"action": st.one_of(ACTION, USER_SIGNED), "nonce": SCALARS, "signature": SIGNATURE},
    optional={"vaultAddress": JSON, "expiresAfter": SCALARS},
)


@pytest.fixture(scope="module")
def session(paper: Any) -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module", autouse=True)
def clean_log(paper: Any) -> Iterator[None]:
    """After all of it the venue still answers and has logged no error."""
    yield
    assert paper.info("exchangeStatus")["time"] > 0
    paper.expect_clean_log()


def send(session: requests.Session, url: str, body: bytes) -> requests.Response:
    headers = {"Content-Type": "application/json"}
    return session.post(url, data=body, headers=headers, timeout=10)


def check_reply(reply: requests.Response) -> None:
    """A JSON answer, or the venue's 422."""
    if reply.status_code == 422:
        assert reply.text == UNPROCESSABLE
        assert reply.headers["content-type"].startswith("text/plain")
        return
    assert reply.status_code == 200, reply.text
    reply.json()


@given(raw=st.binary(max_size=200))
@FUZZ
def test_any_bytes_are_unprocessable(session: Any, paper: Any, raw: bytes) -> None:
    for path in ("info", "exchange"):
        check_reply(send(session, f"{paper.url}/{path}", raw))


@given(body=INFO_BODY)
@settings(FUZZ, max_examples=300)
def test_any_info_request_is_answered(session: Any, paper: Any, body: Any) -> None:
    check_reply(send(session, f"{paper.url}/info", json.dumps(body).encode()))


@given(body=EXCHANGE_BODY)
@settings(FUZZ, max_examples=200)
def test_any_exchange_body_is_answered(session: Any, paper: Any, body: Any) -> None:
    check_reply(send(session, f"{paper.url}/exchange", json.dumps(body).encode()))


@given(wires=st.lists(WIRE, min_size=1, max_size=3), grouping=st.sampled_from(["na", "normalTpsl"]))
@settings(FUZZ, max_examples=100)
def test_any_signed_orders_are_answered(
    session: Any, paper: Any, other: Any, wires: Any, grouping: str
) -> None:
    action = {"type": "order", "orders": wires, "grouping": grouping}
    nonce = time.time_ns() // 1_000_000
    try:
        wallet = Account.from_key(other.key)
        signature = sign_l1_action(wallet, action, None, nonce, None, True)
    except OverflowError:  # a number that msgpack cannot hold, so nobody can sign it
        signature = {"r": "0x1", "s": "0x1", "v": 27}
    body = {"action": action, "nonce": nonce, "signature": signature}
    check_reply(send(session, f"{paper.url}/exchange", json.dumps(body).encode()))


# --- WebSocket ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wire(paper: Any) -> Iterator[ClientConnection]:
    with connect(paper.ws_url, max_size=None) as wire:
        yield wire


def post(kind: Any, payload: Any, number: Any) -> dict[str, Any]:
    return {"method": "post", "id": number, "request": {"type": kind, "payload": payload}}


FRAME = st.one_of(
    st.builds(lambda s: {"method": "subscribe", "subscription": s}, st.one_of(SUBSCRIPTION, JSON)),
    st.builds(lambda s: {"method": "unsubscribe", "subscription": s}, SUBSCRIPTION),
    st.builds(post, st.just("info"), INFO_BODY, SCALARS),
    st.builds(post, st.just("action"), EXCHANGE_BODY, SCALARS),
    st.builds(post, JSON, JSON, JSON),
    JSON,
)


@given(frame=FRAME)
@settings(FUZZ, max_examples=250)
def test_any_frame_leaves_the_connection_alive(paper: Any, wire: Any, frame: Any) -> None:
    wire.send(json.dumps(frame))
    expect_json_frames(wire)


@given(raw=st.one_of(st.binary(max_size=60), st.text(max_size=60)))
@settings(FUZZ, max_examples=60)
def test_any_bytes_in_a_frame_leave_it_alive(paper: Any, wire: Any, raw: Any) -> None:
    wire.send(raw)
    expect_json_frames(wire)


def expect_json_frames(wire: ClientConnection) -> None:
    wire.send('{"method":"ping"}')
    while True:
        text = wire.recv(timeout=10)
        if text != "Websocket connection established." and json.loads(text) == {"channel": "pong"}:
            return


def subscribe_to_users(wire: ClientConnection, first: int, count: int) -> list[str]:
    """Subscribe to fills of many users; returns what came before the pong that ends it."""
    for index in range(first, first + count):
        subscription = {"type": "userFills", "user": f"0x{index:040x}"}
        wire.send(json.dumps({"method": "subscribe", "subscription": subscription}))
    wire.send('{"method":"ping"}')
    texts: list[str] = []
    while "pong" not in "".join(texts[-1:]) and "Too many websocket" not in "".join(texts[-1:]):
        texts.append(str(wire.recv(timeout=20)))
    return texts


def test_thousands_of_subscriptions_stop_at_the_limits(start_paper: Callable[..., Any]) -> None:
    venue = start_paper()
    with connect(venue.ws_url, max_queue=None) as wire:
        texts = subscribe_to_users(wire, 0, 15)
        assert sum('"channel":"subscriptionResponse"' in text for text in texts) == 10
        assert sum("Cannot track more than 10 total users." in text for text in texts) == 5
        while "Too many websocket messages." not in texts[-1]:
            texts = subscribe_to_users(wire, 100, 200)
    assert venue.info("exchangeStatus")["time"] > 0


def test_ten_thousand_subscriptions_without_limits(paper: Any) -> None:
    """Far more than the venue allows: all are acknowledged and the venue keeps its pace."""
    with connect(paper.ws_url, max_size=None) as wire:
        for first in range(0, 10_000, 500):
            texts = subscribe_to_users(wire, first, 500)
            assert sum('"channel":"subscriptionResponse"' in text for text in texts) == 500
        for _ in range(5):
            assert paper.info("allMids")


# --- size, encoding, protocol -------------------------------------------------------------


def test_a_huge_body_is_refused_and_others_are_served(paper: Any) -> None:
    address = urlsplit(paper.url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=10)
    huge = b'{"type":"meta","pad":"' + b"x" * MAX_BODY_BYTES + b'"}'
    connection.request("POST", "/info", huge, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    assert (reply.status, reply.read()) == (413, b"length limit exceeded")
    assert paper.info("meta")["universe"]


def test_a_huge_frame_closes_its_own_connection_only(paper: Any) -> None:
    with connect(paper.ws_url) as one, connect(paper.ws_url) as two:
        assert one.recv(timeout=10) == "Websocket connection established."
        # The venue may close while the frame is still on its way.
        with suppress(ConnectionClosed):
            one.send("x" * (MAX_BODY_BYTES + 10))
        with pytest.raises(ConnectionClosed):
            one.recv(timeout=10)
        expect_json_frames(two)


def test_a_body_that_never_ends_holds_up_nobody(paper: Any) -> None:
    address = urlsplit(paper.url)
    with sockets.create_connection((str(address.hostname), address.port or 0)) as slow:
        slow.sendall(b"POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert paper.info("exchangeStatus")["time"] > 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_other_encodings_are_unprocessable(session: Any, paper: Any, encoding: str) -> None:
    reply = send(session, f"{paper.url}/info", '{"type":"meta"}'.encode(encoding))
    assert (reply.status_code, reply.text) == (422, UNPROCESSABLE)


def test_deep_nesting_and_wrong_methods(session: Any, paper: Any) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert send(session, f"{paper.url}/exchange", deep).status_code == 422
    assert session.get(f"{paper.url}/info", timeout=5).status_code == 405
    assert session.post(f"{paper.url}/nowhere", json={}, timeout=5).status_code == 404


@given(body=JSON, path=st.sampled_from(["faults", "time", "deposit", "withdraw"]))
@settings(FUZZ, max_examples=120)
def test_any_admin_body_is_answered(session: Any, paper: Any, body: Any, path: str) -> None:
    reply = session.post(
        f"{paper.url}/admin/{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": "Bearer paper-admin"},
        timeout=10,
    )
    assert reply.status_code == 400
    assert reply.json()["error"]
