"""Faults, rate limits and the admin routes of a running venue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.utils.error import ClientError, ServerError
from hyperliquid.utils.types import Cloid
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from paper_exchange.canonical import canonicalise
from paper_exchange.faults import FaultBox, FaultError
from paper_exchange.ledger import Account as LedgerAccount
from paper_exchange.limits import (
    WeightBudget,
    address_problem,
    batch_size,
    info_weight,
    reply_weight,
)
from shared.testing.servers import wait_until

GTC = {"limit": {"tif": "Gtc"}}
NOW = 1_800_000_000_000


@pytest.fixture
def faulty(paper: Any) -> Iterator[Any]:
    yield paper
    paper.admin("DELETE", "faults")


def client_of(paper: Any, wallet: Any) -> Exchange:
    return Exchange(Account.from_key(wallet.key), paper.url, timeout=3)


def known(paper: Any, wallet: Any, cloid: Cloid) -> bool:
    reply = paper.info("orderStatus", user=wallet.address, oid=cloid.to_raw())
    return bool(reply["status"] == "order")


def fault(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "match": {"path": "/exchange", "type": "order"}, **more}


def test_delay_waits_and_then_answers(faulty: Any) -> None:
    faulty.admin("POST", "faults", {"kind": "delay", "count": 1, "params": {"ms": 400}})
    started = time.monotonic()
    faulty.info("exchangeStatus")
    assert time.monotonic() - started > 0.4
    faulty.info("exchangeStatus")
    (used,) = faulty.admin("GET", "faults")
    assert (used["hits"], used["left"]) == (1, 0)


@pytest.mark.parametrize(
    ("status", "error"), [(429, ClientError), (500, ServerError), (502, ServerError)]
)
def test_http_errors_before_acceptance_place_nothing(
    faulty: Any, other: Any, status: int, error: type[Exception]
) -> None:
    cloid = Cloid.from_int(1_000 + status)
    client = client_of(faulty, other)
    faulty.admin("POST", "faults", fault("http", count=1, params={"status": status}))
    with pytest.raises(error):
        client.order("ETH", True, 0.05, 2500.0, GTC, cloid=cloid)
    assert not known(faulty, other, cloid)


def test_reset_before_acceptance_places_nothing_and_after_it_places(
    faulty: Any, other: Any
) -> None:
    client = client_of(faulty, other)
    for when, placed in (("before", False), ("after", True)):
        cloid = Cloid.from_int(2_000 + placed)
        faulty.admin("POST", "faults", fault("reset", count=1, params={"when": when}))
        with pytest.raises(requests.ConnectionError):
            client.order("ETH", True, 0.05, 2500.0, GTC, cloid=cloid)
        assert known(faulty, other, cloid) is placed


def test_dropped_reply_leaves_the_order_in_the_book(faulty: Any, other: Any) -> None:
    cloid = Cloid.from_int(3_000)
    client = client_of(faulty, other)
    faulty.admin("POST", "faults", fault("drop_reply", count=1))
    with pytest.raises(requests.Timeout):
        client.order("ETH", True, 0.05, 2500.0, GTC, cloid=cloid)
    assert known(faulty, other, cloid)


def test_partial_fill_gives_a_fraction(faulty: Any, other: Any) -> None:
    client = client_of(faulty, other)
    faulty.admin("POST", "faults", fault("partial_fill", count=1, params={"fraction": "0.25"}))
    reply = client.market_open("ETH", True, 0.08)
    assert reply["response"]["data"]["statuses"][0]["filled"]["totalSz"] == "0.02"
    client.market_close("ETH")


def test_frozen_prices_stand_still_for_the_named_coins(faulty: Any) -> None:
    faulty.admin("POST", "faults", {"kind": "freeze", "params": {"coins": ["BTC"]}})
    time.sleep(0.2)
    first = faulty.info("allMids")
    wait_until(lambda: faulty.info("allMids")["ETH"] != first["ETH"], 30, "the others to move on")
    assert faulty.info("allMids")["BTC"] == first["BTC"]


def test_stale_replies_repeat_the_first_one(faulty: Any, other: Any) -> None:
    match = {"path": "/info", "type": "clearinghouseState"}
    faulty.admin("POST", "faults", {"kind": "stale", "match": match})
    first = faulty.info("clearinghouseState", user=other.address)
    time.sleep(0.05)
    assert faulty.info("clearinghouseState", user=other.address) == first
    faulty.admin("DELETE", "faults")
    assert faulty.info("clearinghouseState", user=other.address)["time"] > first["time"]


def test_order_status_can_come_late(faulty: Any, other: Any) -> None:
    faulty.admin("POST", "faults", {"kind": "late_order_status", "params": {"ms": 700}})
    cloid = Cloid.from_int(4_000)
    client_of(faulty, other).order("ETH", True, 0.05, 2500.0, GTC, cloid=cloid)
    assert not known(faulty, other, cloid)
    wait_until(lambda: known(faulty, other, cloid), 10, "the order to be told of")


def test_skewed_clock_shows_in_time_and_expiry(faulty: Any, other: Any) -> None:
    faulty.admin("POST", "faults", {"kind": "clock_skew", "params": {"ms": 60_000}})
    now = int(time.time() * 1000)
    assert faulty.info("exchangeStatus")["time"] - now > 50_000
    client = client_of(faulty, other)
    client.set_expires_after(now + 5_000)
    assert client.order("ETH", True, 0.05, 2500.0, GTC)["response"] == "Action already expired"


def receive_many(socket: ClientConnection, count: int, timeout: float) -> None:
    for _ in range(count):
        socket.recv(timeout=timeout)


def test_sockets_are_cut_silenced_and_fed_twice(faulty: Any) -> None:
    url = "ws" + faulty.url[4:] + "/ws"
    subscription = '{"method":"subscribe","subscription":{"type":"l2Book","coin":"BTC"}}'
    with connect(url) as socket:
        socket.send(subscription)
        for _ in range(3):
            socket.recv(timeout=3)
        faulty.admin("POST", "faults", {"kind": "ws_duplicate", "match": {"type": "l2Book"}})
        frames = [socket.recv(timeout=3) for _ in range(4)]
        assert frames[-1] == frames[-2] or frames[-2] == frames[-3]
        faulty.admin("DELETE", "faults")
        faulty.admin("POST", "faults", {"kind": "ws_silence"})
        with pytest.raises(TimeoutError):
            receive_many(socket, 6, timeout=1)
        faulty.admin("DELETE", "faults")
        socket.recv(timeout=3)
        faulty.admin("POST", "faults", {"kind": "ws_cut"})
        with pytest.raises(ConnectionClosed):
            receive_many(socket, 20, timeout=2)


def test_faults_are_seeded_counted_and_matched() -> None:
    def draws(seed: int) -> list[bool]:
        box = FaultBox(seed)
        box.add({"kind": "delay", "probability": 0.5})
        return [box.draw("delay", "/info", "meta") is not None for _ in range(50)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    box = FaultBox(1)
    box.add({"kind": "delay", "count": 2, "match": {"path": "/exchange", "type": "order"}})
    assert box.draw("delay", "/exchange", "cancel") is None
    assert box.draw("delay", "/info", "order") is None
    hits = [box.draw("delay", "/exchange", "order") is not None for _ in range(3)]
    assert hits == [True, True, False]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {"kind": "fire"},
        {"kind": "delay", "probability": 0},
        {"kind": "delay", "count": 0},
        {"kind": "delay", "params": {"minutes": 1}},
        {"kind": "delay", "params": {"ms": "1"}},
        {"kind": "http", "params": {"status": 404}},
        {"kind": "reset", "params": {"when": "sometimes"}},
        {"kind": "partial_fill", "params": {"fraction": "2"}},
        {"kind": "freeze", "params": {"coins": "BTC"}},
    ],
)
def test_malformed_faults_are_refused(raw: Any) -> None:
    with pytest.raises(FaultError):
        FaultBox(1).add(raw)


# --- admin --------------------------------------------------------------------------------


def test_admin_needs_the_token_and_does_not_exist_without_one(
    paper: Any, start_paper: Callable[..., Any], accounts_file: Any
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert (
            requests.get(f"{paper.url}/admin/ledger", headers=headers, timeout=5).status_code == 401
        )
    refused = requests.post(
        f"{paper.url}/admin/deposit",
        json={"address": "0x1", "usdc": "5"},
        headers={"Authorization": "Bearer paper-admin"},
        timeout=5,
    )
    assert (refused.status_code, "not an address" in refused.json()["error"]) == (400, True)


def test_deposit_creates_an_account_and_withdraw_respects_margin(paper: Any) -> None:
    address = "0x" + "ab" * 20
    assert paper.info("userRole", user=address) == {"role": "missing"}
    paper.admin("POST", "deposit", {"address": address, "usdc": "250.5"})
    assert paper.info("clearinghouseState", user=address)["withdrawable"] == "250.5"
    paper.admin("POST", "withdraw", {"address": address, "usdc": "50.5"})
    assert paper.info("clearinghouseState", user=address)["withdrawable"] == "200.0"


def test_ledger_shows_every_order_and_explains_every_dollar(paper: Any, other: Any) -> None:
    cloid = Cloid.from_int(9_000)
    before = paper.admin("GET", "ledger")
    client_of(paper, other).market_open("SOL", True, 1.0, cloid=cloid)
    client_of(paper, other).market_close("SOL")
    after = paper.admin("GET", "ledger")
    assert before["hash"] != after["hash"]
    assert [o["status"] for o in after["orders"] if o["cloid"] == cloid.to_raw()] == ["filled"]
    assert [f["coin"] for f in after["fills"] if f.get("cloid") == cloid.to_raw()] == ["SOL"]
    assert {Decimal(a["identityGap"]) for a in after["accounts"].values()} == {Decimal(0)}


# --- limits -------------------------------------------------------------------------------


def test_ip_weight_runs_out_with_429_and_null(start_paper: Callable[..., Any]) -> None:
    venue = start_paper()
    codes = []
    for _ in range(65):
        reply = requests.post(f"{venue.url}/info", json={"type": "meta"}, timeout=5)
        codes.append(reply.status_code)
        if reply.status_code == 429:
            assert reply.text == "null"
    assert codes.count(200) in range(58, 64)
    assert codes[-1] == 429


def test_weights_follow_the_table() -> None:
    assert (info_weight("allMids"), info_weight("userRole"), info_weight("meta")) == (2, 60, 20)
    assert reply_weight("candleSnapshot", [0] * 121) == 2
    assert reply_weight("userFills", [0] * 45) == 2
    assert reply_weight("meta", [0] * 500) == 0
    assert batch_size({"action": {"type": "cancel", "cancels": [1, 2, 3]}}) == 3
    assert batch_size(None) == 1


def test_weight_budget_refills_within_a_minute() -> None:
    budget = WeightBudget()
    assert budget.spend("a", 1_200, NOW)
    assert not budget.spend("a", 1, NOW)
    assert budget.spend("b", 1, NOW)
    assert budget.spend("a", 20, NOW + 1_000)
    budget.charge("a", 40, NOW + 1_000)
    assert not budget.spend("a", 1, NOW + 2_000)
    assert budget.spend("a", 1_100, NOW + 60_000)


def test_an_exhausted_address_gets_one_action_in_ten_seconds() -> None:
    account = LedgerAccount("0x" + "00" * 20)
    account.requests_used, account.volume = 10_100, Decimal("100.5")
    noop, cancel = canonicalise({"type": "noop"}), canonicalise({"type": "cancel", "cancels": []})
    assert address_problem(account, noop, NOW) is None
    problem = address_problem(account, noop, NOW + 1)
    assert problem == (
        "Too many cumulative requests sent (10101 > 10100) for cumulative volume traded $100.50. "
        "Place taker orders to free up 1 request per USDC traded."
    )
    assert address_problem(account, cancel, NOW + 2) is None
    assert address_problem(account, noop, NOW + 10_001) is None
