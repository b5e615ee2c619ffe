"""The unmodified official SDK against a running venue."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.signing import sign_l1_action, sign_user_signed_action
from hyperliquid.utils.types import Cloid

GTC = {"limit": {"tif": "Gtc"}}
IOC = {"limit": {"tif": "Ioc"}}
ALO = {"limit": {"tif": "Alo"}}


@pytest.fixture
def info(paper: Any) -> Info:
    return Info(paper.url, skip_ws=True, perp_dexs=["", "xyz"])


@pytest.fixture
def exchange(paper: Any, other: Any) -> Exchange:
    return connect(paper, other)


def connect(paper: Any, wallet: Any) -> Exchange:
    return Exchange(
        Account.from_key(wallet.key),
        paper.url,
        account_address=wallet.address,
        perp_dexs=["", "xyz"],
    )


def statuses(reply: Any) -> Any:
    assert reply["status"] == "ok", reply
    return reply["response"]["data"]["statuses"]


def test_place_query_and_cancel_by_cloid(exchange: Exchange, info: Info, other: Any) -> None:
    cloid = Cloid.from_int(77)
    (status,) = statuses(exchange.order("ETH", True, 0.05, 2500.0, GTC, cloid=cloid))
    assert status["resting"]["cloid"] == cloid.to_raw()
    found = info.query_order_by_cloid(other.address, cloid)
    assert found["order"]["status"] == "open"
    assert found["order"]["order"]["oid"] == status["resting"]["oid"]
    assert statuses(exchange.cancel_by_cloid("ETH", cloid)) == ["success"]
    assert info.query_order_by_cloid(other.address, cloid)["order"]["status"] == "canceled"
    assert info.query_order_by_oid(other.address, 1) == {"status": "unknownOid"}


def test_market_open_and_close(exchange: Exchange, info: Info, other: Any) -> None:
    cloid = Cloid.from_int(78)
    (opened,) = statuses(exchange.market_open("ETH", True, 0.05, cloid=cloid))
    assert opened["filled"]["totalSz"] == "0.05"
    (fill, *_) = info.user_fills(other.address)
    assert (fill["cloid"], fill["dir"], fill["crossed"]) == (cloid.to_raw(), "Open Long", True)
    state = info.user_state(other.address)
    (position,) = [p["position"] for p in state["assetPositions"]]
    assert position["szi"] == "0.05"
    (closed,) = statuses(exchange.market_close("ETH"))
    assert closed["filled"]["totalSz"] == "0.05"
    assert info.user_state(other.address)["assetPositions"] == []
    fills = info.user_fills_by_time(other.address, fill["time"])
    assert [f["dir"] for f in fills] == ["Open Long", "Close Long"]


def test_batch_keeps_the_place_of_each_status(exchange: Exchange) -> None:
    def request(price: float, size: float, kind: Any) -> Any:
        return {
            "coin": "ETH",
            "is_buy": True,
            "sz": size,
            "limit_px": price,
            "order_type": kind,
            "reduce_only": False,
        }

    reply = exchange.bulk_orders(
        [request(2500.0, 0.05, GTC), request(2500.0, 0.001, GTC), request(2500.0, 0.05, ALO)]
    )
    first, second, third = statuses(reply)
    assert second == {"error": "Order must have minimum value of $10. asset=1"}
    oids = [first["resting"]["oid"], third["resting"]["oid"]]
    assert statuses(exchange.bulk_cancel([{"coin": "ETH", "oid": oid} for oid in oids])) == [
        "success",
        "success",
    ]


def test_modify_leverage_and_isolated_margin(exchange: Exchange, info: Info, other: Any) -> None:
    assert exchange.update_leverage(3, "SOL", False)["status"] == "ok"
    statuses(exchange.market_open("SOL", False, 2.0))
    assert exchange.update_isolated_margin(10.0, "SOL")["status"] == "ok"
    (position,) = [p["position"] for p in info.user_state(other.address)["assetPositions"]]
    assert position["leverage"]["type"] == "isolated"
    assert float(position["liquidationPx"]) > 127
    statuses(exchange.market_close("SOL"))
    (status,) = statuses(exchange.order("SOL", True, 1.0, 100.0, GTC))
    oid = status["resting"]["oid"]
    reply = exchange.modify_order(oid, "SOL", True, 1.0, 101.0, GTC)
    (modified,) = statuses(reply)
    assert modified["resting"]["oid"] != oid
    statuses(exchange.cancel("SOL", modified["resting"]["oid"]))


def test_builder_dex_needs_its_own_collateral(exchange: Exchange, info: Info, other: Any) -> None:
    (status,) = statuses(exchange.market_open("xyz:XYZ100", True, 0.01))
    assert status == {"error": "Insufficient margin to place order. asset=110000"}
    assert exchange.send_asset(other.address, "", "xyz", "USDC", 500.0)["status"] == "ok"
    assert info.user_state(other.address, "xyz")["withdrawable"] == "500.0"
    (status,) = statuses(exchange.market_open("xyz:XYZ100", True, 0.01))
    assert status["filled"]["totalSz"] == "0.01"
    (position,) = [p["position"] for p in info.user_state(other.address, "xyz")["assetPositions"]]
    assert (position["coin"], position["leverage"]["type"]) == ("xyz:XYZ100", "isolated")
    statuses(exchange.market_close("xyz:XYZ100"))


def test_class_transfer_withdraw_and_ledger(exchange: Exchange, info: Info, other: Any) -> None:
    started = int(time.time() * 1000)
    assert exchange.usd_class_transfer(50.0, False)["status"] == "ok"
    balances = info.spot_user_state(other.address)["balances"]
    assert balances[0]["total"] == "50.0"
    assert exchange.usd_class_transfer(50.0, True)["status"] == "ok"
    updates = info.user_non_funding_ledger_updates(other.address, started)
    assert [u["delta"]["toPerp"] for u in updates] == [False, True]
    too_much = exchange.withdraw_from_bridge(10_000_000.0, other.address)
    assert too_much == {"status": "err", "response": "Insufficient balance for withdrawal."}


def test_approved_agent_may_trade_until_replaced(paper: Any, info: Info, other: Any) -> None:
    reply, key = connect(paper, other).approve_agent("desk")
    assert reply["status"] == "ok"
    agent = Account.from_key(key)
    assert info.user_role(agent.address) == {"role": "agent", "data": {"user": other.address}}
    assert [a["name"] for a in info.extra_agents(other.address)] == ["desk"]
    delegate = Exchange(agent, paper.url, account_address=other.address)
    (status,) = statuses(delegate.order("ETH", True, 0.05, 2500.0, GTC))
    statuses(delegate.cancel("ETH", status["resting"]["oid"]))
    connect(paper, other).approve_agent("desk")
    refused = delegate.order("ETH", True, 0.05, 2500.0, GTC)
    assert refused["status"] == "err"
    assert "does not exist" in refused["response"]


def test_wrong_key_is_named_by_its_address(paper: Any) -> None:
    stranger = Account.from_key("0x" + "77" * 32)
    reply = Exchange(stranger, paper.url).order("ETH", True, 0.05, 2500.0, GTC)
    assert reply["status"] == "err"
    assert reply["response"].startswith("User or API Wallet 0x")
    assert reply["response"].endswith(" does not exist.")
    transfer = Exchange(stranger, paper.url).usd_class_transfer(1.0, True)
    assert transfer["response"] == (
        f"Must deposit before performing actions. User: {stranger.address.lower()}"
    )


def signed(other: Any, nonce: int, expires: int | None = None) -> dict[str, Any]:
    action = {"type": "noop"}
    wallet = Account.from_key(other.key)
    signature = sign_l1_action(wallet, action, None, nonce, expires, False)
    return {
        "action": action,
        "nonce": nonce,
        "signature": signature,
        "vaultAddress": None,
        "expiresAfter": expires,
    }


def post(paper: Any, body: Any) -> Any:
    return requests.post(f"{paper.url}/exchange", json=body, timeout=10)


def test_replayed_old_and_future_nonces_are_refused(paper: Any, other: Any) -> None:
    now = int(time.time() * 1000)
    body = signed(other, now)
    assert post(paper, body).json()["status"] == "ok"
    assert post(paper, body).json() == {
        "status": "err",
        "response": f"Invalid nonce: duplicate nonce {now}",
    }
    old = post(paper, signed(other, now - 3 * 86_400_000)).json()
    assert old["response"].startswith(f"Invalid nonce: nonce too low {now - 3 * 86_400_000} < ")
    assert post(paper, signed(other, now + 2 * 86_400_000)).json()["status"] == "err"


def test_expired_action_is_refused_and_a_live_one_is_not(paper: Any, other: Any) -> None:
    now = int(time.time() * 1000)
    expired = post(paper, signed(other, now + 1, now - 1)).json()
    assert expired == {"status": "err", "response": "Action already expired"}
    assert post(paper, signed(other, now + 2, now + 60_000)).json()["status"] == "ok"


def test_vaults_are_refused_clearly(paper: Any, other: Any) -> None:
    nonce, vault = int(time.time() * 1000), "0x" + "99" * 20
    wallet = Account.from_key(other.key)
    signature = sign_l1_action(wallet, {"type": "noop"}, vault, nonce, None, False)
    body = {"action": {"type": "noop"}, "nonce": nonce, "signature": signature}
    reply = post(paper, body | {"vaultAddress": vault.removeprefix("0x")}).json()
    assert "not supported by the paper exchange" in reply["response"]


def test_an_agent_may_not_sign_for_the_user(paper: Any, agent: Any) -> None:
    action = {"type": "usdClassTransfer", "amount": "1", "toPerp": True}
    nonce = int(time.time() * 1000)
    action["nonce"] = nonce
    types = [
        {"name": "hyperliquidChain", "type": "string"},
        {"name": "amount", "type": "string"},
        {"name": "toPerp", "type": "bool"},
        {"name": "nonce", "type": "uint64"},
    ]
    signature = sign_user_signed_action(
        Account.from_key(agent.key),
        action,
        types,
        "HyperliquidTransaction:UsdClassTransfer",
        False,
    )
    reply = post(paper, {"action": action, "nonce": nonce, "signature": signature}).json()
    assert reply["response"] == f"Must deposit before performing actions. User: {agent.address}"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("info", {"type": "warp"}),
        ("info", {}),
        ("info", []),
        ("info", {"type": "openOrders", "user": "0x12"}),
        ("info", {"type": "l2Book"}),
        ("info", {"type": "allMids", "dex": "nope"}),
        ("exchange", {"action": {"type": "warp"}, "nonce": 1, "signature": {}}),
        ("exchange", {"action": {"type": "noop"}, "nonce": "1", "signature": {}}),
    ],
)
def test_what_does_not_deserialise_is_422(paper: Any, path: str, body: Any) -> None:
    reply = requests.post(f"{paper.url}/{path}", json=body, timeout=10)
    assert reply.status_code == 422
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.text == "Failed to deserialize the JSON body into the target type"


def test_malformed_signature_cannot_be_recovered(paper: Any) -> None:
    body = {"action": {"type": "noop"}, "nonce": 1, "signature": {"r": "0x0", "s": "0x0", "v": 27}}
    assert post(paper, body).json() == {"status": "err", "response": "Unable to recover signer."}
