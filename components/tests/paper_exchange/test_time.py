"""Time that moves only when told: the same seed and actions give the same ledger anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action
from websockets.sync.client import connect

HOUR_MS = 3_600_000
START_MS = 500_000 * HOUR_MS - 90_000  # 90 s before an hour
# The widest instruction sets of x86 and ARM that NumPy would use; unknown names are ignored.
PLAIN_CPU = {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX"}


class Trader:
    """Sends signed actions whose nonces are the venue's own time."""

    def __init__(self, paper: Any, wallet: Any) -> None:
        self.paper, self.wallet = paper, wallet
        self.nonce = int(paper.admin("GET", "time")["now_ms"])

    def send(self, action: dict[str, Any], expires_ms: int | None = None) -> Any:
        self.nonce += 1
        signature = sign_l1_action(
            Account.from_key(self.wallet.key), action, None, self.nonce, expires_ms, True
        )
        body = {"action": action, "nonce": self.nonce, "signature": signature}
        body |= {"expiresAfter": expires_ms} if expires_ms is not None else {}
        return requests.post(f"{self.paper.url}/exchange", json=body, timeout=10).json()

    def order(self, asset: int, is_buy: bool, px: str, sz: str, **more: Any) -> Any:
        order_type = more.pop("t", {"limit": {"tif": "Ioc"}})
        wire = {"a": asset, "b": is_buy, "p": px, "s": sz, "r": more.pop("r", False)}
        wire |= {"t": order_type} | more
        return self.send({"type": "order", "orders": [wire], "grouping": "na"})


def advance(paper: Any, ms: int) -> int:
    return int(paper.admin("POST", "time", {"advance_ms": ms})["now_ms"])


@pytest.fixture
def driven(start_paper: Callable[..., Any]) -> Callable[..., Any]:
    def launch(*arguments: str, **environ: str) -> Any:
        time_options = ["--start-time", str(START_MS), "--no-rate-limit", "--seed", "11"]
        return start_paper(*time_options, *arguments, **environ)

    return launch


def trade_for_a_while(paper: Any, master: Any, other: Any) -> dict[str, Any]:
    """Orders of two accounts through two minutes, an hour's end among them."""
    first, second = Trader(paper, master), Trader(paper, other)
    for step in range(12):
        mids = paper.info("allMids")
        up, down = round(float(mids["BTC"]) * 1.01), round(float(mids["BTC"]) * 0.99)
        first.order(0, step % 3 != 0, str(up if step % 3 else down), "0.05")
        second.order(0, step % 2 == 0, str(round(float(mids["BTC"]))), "0.02",
                     t={"limit": {"tif": "Gtc"}})  # fmt: skip
        first.order(1, True, str(round(float(mids["ETH"]) * 0.9999)), "0.5",
                    t={"limit": {"tif": "Alo"}})  # fmt: skip
        trigger = {"trigger": {"isMarket": True, "triggerPx": str(down), "tpsl": "sl"}}
        first.order(0, False, str(down), "0.01", r=True, t=trigger)
        advance(paper, 10_300)
    ledger: dict[str, Any] = paper.admin("GET", "ledger")
    return ledger


def test_two_processes_end_with_the_same_ledger_hash(
    driven: Callable[..., Any], master: Any, other: Any
) -> None:
    usual = trade_for_a_while(driven(), master, other)
    plain = trade_for_a_while(driven(**PLAIN_CPU), master, other)
    assert len(usual["fills"]) > 20
    assert usual["hash"] == plain["hash"]
    funding = [Decimal(a["funding"]) for a in usual["accounts"].values()]
    assert any(funding)
    assert {Decimal(a["identityGap"]) for a in usual["accounts"].values()} == {Decimal(0)}


def test_funding_is_paid_and_told_when_the_hour_ends(
    driven: Callable[..., Any], master: Any
) -> None:
    paper = driven()
    trader = Trader(paper, master)
    mid = float(paper.info("allMids")["BTC"])
    assert "filled" in json.dumps(trader.order(0, True, str(round(mid * 1.01)), "0.5"))
    with connect(paper.ws_url) as socket:
        for kind in ("userFundings", "userEvents"):
            subscription = {"type": kind, "user": master.address}
            socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))
        advance(paper, 100_000)
        told: set[str] = set()
        while not {"user", "userFundings"} <= told:
            text = socket.recv(timeout=5)
            frame = {} if text == "Websocket connection established." else json.loads(text)
            if not frame.get("data", {}).get("isSnapshot"):
                told.add(frame.get("channel", ""))
    (payment,) = paper.info("userFunding", user=master.address, startTime=START_MS)
    rates = paper.info("fundingHistory", coin="BTC", startTime=START_MS)
    assert [rate["time"] // HOUR_MS for rate in rates] == [500_000]
    assert payment["delta"]["fundingRate"] == rates[0]["fundingRate"]
    state = paper.info("clearinghouseState", user=master.address)
    position = state["assetPositions"][0]["position"]
    assert Decimal(position["cumFunding"]["sinceOpen"]) == -Decimal(payment["delta"]["usdc"])


def test_dead_man_switch_and_expiry_follow_the_driven_clock(
    driven: Callable[..., Any], master: Any
) -> None:
    paper = driven("--switch", "schedule_cancel_volume=0")
    trader = Trader(paper, master)
    reply = trader.order(0, True, "70000", "0.01", t={"limit": {"tif": "Gtc"}})
    oid = reply["response"]["data"]["statuses"][0]["resting"]["oid"]
    now = paper.admin("GET", "time")["now_ms"]
    assert trader.send({"type": "scheduleCancel", "time": now + 10_000})["status"] == "ok"
    advance(paper, 9_900)
    assert paper.info("openOrders", user=master.address)
    now = advance(paper, 200)
    assert paper.info("openOrders", user=master.address) == []
    status = paper.info("orderStatus", user=master.address, oid=oid)
    assert status["order"]["status"] == "scheduledCancel"
    assert trader.send({"type": "noop"}, now)["status"] == "ok"
    assert trader.send({"type": "noop"}, now - 1)["response"] == "Action already expired"


def test_a_driven_state_goes_on_from_its_own_time(
    driven: Callable[..., Any], tmp_path: Any
) -> None:
    state = str(tmp_path / "paper.db")
    first = driven("--state", state)
    now = advance(first, 60_000)
    price = first.info("allMids")["BTC"]
    first.stop()
    again = driven("--state", state)
    assert again.admin("GET", "time") == {"now_ms": now, "driven": True}
    assert again.info("allMids")["BTC"] == price


def test_what_admin_time_refuses(driven: Callable[..., Any], paper: Any) -> None:
    assert paper.admin("GET", "time")["driven"] is False
    headers = {"Authorization": "Bearer paper-admin"}
    for venue, body, message in [
        (paper, {"advance_ms": 5}, "this venue follows the wall clock"),
        (paper, {"advance_ms": -1}, "advance_ms must be 0 to 86400000, found -1"),
        (paper, {"advance_ms": "5"}, "advance_ms must be whole milliseconds"),
        (paper, None, "advance_ms must be whole milliseconds"),
    ]:
        reply = requests.post(f"{venue.url}/admin/time", json=body, headers=headers, timeout=5)
        assert reply.status_code == 400
        assert message in reply.json()["error"]
