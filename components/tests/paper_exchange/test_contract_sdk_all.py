"""The unmodified official SDK: every query, every subscription, the rest of the actions."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

GTC = {"limit": {"tif": "Gtc"}}


@pytest.fixture(scope="module")
def paper(start_module_paper: Callable[..., Any]) -> Any:
    return start_module_paper("--no-rate-limit", "--switch", "schedule_cancel_volume=0")


@pytest.fixture
def info(paper: Any) -> Info:
    return Info(paper.url, skip_ws=True, perp_dexs=["", "xyz"])


@pytest.fixture
def exchange(paper: Any, other: Any) -> Exchange:
    return Exchange(Account.from_key(other.key), paper.url, perp_dexs=["", "xyz"])


def test_every_query_of_a_trader_is_answered(info: Info, other: Any) -> None:
    user, start = other.address, int(time.time() * 1000) - 3_600_000
    assert set(info.all_mids()) >= {"BTC", "ETH", "SOL", "HYPE"}
    assert info.all_mids("xyz").keys() == {"xyz:XYZ100"}
    assert info.meta()["universe"][0]["name"] == "BTC"
    assert len(info.meta_and_asset_ctxs()[1]) == len(info.meta()["universe"])
    assert info.spot_meta()["tokens"][0]["name"] == "USDC"
    assert info.spot_meta_and_asset_ctxs()[1][0]["coin"] == "PURR/USDC"
    assert info.perp_dexs()[1]["name"] == "xyz"
    assert len(info.l2_snapshot("ETH")["levels"][0]) == 20
    assert len(info.candles_snapshot("BTC", "15m", start, start + 3_600_000)) in (4, 5)
    assert info.funding_history("BTC", start - 7_200_000)
    assert info.user_state(user)["withdrawable"] == "100000.0"
    assert info.user_state(user, "xyz")["assetPositions"] == []
    assert info.spot_user_state(user) == {"balances": []}
    assert info.open_orders(user) == info.frontend_open_orders(user) == []
    assert info.user_fills(user) == info.user_fills_by_time(user, start) == []
    assert info.user_funding_history(user, start) == []
    assert info.user_fees(user)["userCrossRate"] == "0.00045"
    assert info.historical_orders(user) == info.user_twap_slice_fills(user) == []
    assert info.user_non_funding_ledger_updates(user, start)[0]["delta"]["type"] == "deposit"
    assert info.user_rate_limit(user)["nRequestsCap"] == 10_000
    assert info.user_role(user) == {"role": "user"}
    assert dict(info.portfolio(user))["allTime"]["accountValueHistory"][-1][1] == "100000.0"
    assert info.user_vault_equities(user) == info.extra_agents(user) == []
    assert info.query_sub_accounts(user) is None
    assert info.query_user_to_multi_sig_signers(user) is None
    assert info.query_user_abstraction_state(user) == "default"
    assert info.query_referral_state(user)["referredBy"] is None
    assert info.user_staking_summary(user)["delegated"] == "0.0"
    assert info.user_staking_delegations(user) == info.user_staking_rewards(user) == []


def test_what_is_not_supported_says_so(exchange: Exchange) -> None:
    sent = exchange.spot_transfer(1.0, "0x" + "1" * 40, "PURR:0xc1fb593aeffbeb02f85e0308e9956a90")
    assert sent["response"] == "spotSend is not supported by the paper exchange."
    moved = exchange.vault_usd_transfer("0x" + "2" * 40, True, 5)
    assert moved["response"] == "vaultTransfer is not supported by the paper exchange."
    created = exchange.create_sub_account("desk")
    assert created["response"] == "createSubAccount is not supported by the paper exchange."


def test_scheduled_cancel_is_set_moved_and_unset(exchange: Exchange, other: Any) -> None:
    now = int(time.time() * 1000)
    assert exchange.schedule_cancel(now + 60_000)["status"] == "ok"
    early = exchange.schedule_cancel(now + 1_000)
    assert early["response"] == "Scheduled cancel time must be at least 5 seconds in the future."
    assert exchange.schedule_cancel(None)["status"] == "ok"


def test_money_moves_between_accounts(
    exchange: Exchange, info: Info, other: Any, master: Any
) -> None:
    assert exchange.usd_transfer(12.5, master.address)["status"] == "ok"
    assert info.user_state(other.address)["withdrawable"] == "99987.5"
    assert info.user_state(master.address)["withdrawable"] == "100012.5"


@pytest.fixture
def streaming(paper: Any) -> Iterator[Info]:
    info = Info(paper.url, perp_dexs=["", "xyz"])
    yield info
    info.disconnect_websocket()


def test_every_subscription_delivers(
    streaming: Info, exchange: Exchange, other: Any, paper: Any
) -> None:
    user = other.address
    subscriptions: list[dict[str, Any]] = [
        {"type": "allMids"},
        {"type": "l2Book", "coin": "ETH"},
        {"type": "trades", "coin": "ETH"},
        {"type": "bbo", "coin": "ETH"},
        {"type": "candle", "coin": "ETH", "interval": "1m"},
        {"type": "activeAssetCtx", "coin": "ETH"},
        {"type": "activeAssetData", "user": user, "coin": "ETH"},
        {"type": "userEvents", "user": user},
        {"type": "userFills", "user": user},
        {"type": "orderUpdates", "user": user},
        {"type": "userFundings", "user": user},
        {"type": "userNonFundingLedgerUpdates", "user": user},
        {"type": "webData2", "user": user},
    ]
    heard: dict[str, queue.Queue[Any]] = {}
    for subscription in subscriptions:
        kind = subscription["type"]
        heard[kind] = queue.Queue()
        streaming.subscribe(subscription, heard[kind].put)
    for kind in ("userFills", "userFundings", "userNonFundingLedgerUpdates"):
        assert heard[kind].get(timeout=10)["data"]["isSnapshot"] is True
    cloid = Cloid.from_int(4242)
    exchange.market_open("ETH", True, 0.05, cloid=cloid)
    exchange.usd_class_transfer(3.0, False)
    for kind in subscriptions:
        if kind["type"] != "userFundings":
            assert heard[kind["type"]].get(timeout=20)["data"]
    exchange.market_close("ETH")
    exchange.usd_class_transfer(3.0, True)


def test_agents_are_approved_named_and_replaced(exchange: Exchange, info: Info, other: Any) -> None:
    names = ["one", "two", "three"]
    keys = {name: exchange.approve_agent(name)[1] for name in names}
    assert sorted(agent["name"] for agent in info.extra_agents(other.address)) == sorted(names)
    refused, _ = exchange.approve_agent("four")
    assert refused == {"status": "err", "response": "Too many extra agents."}
    unnamed, key = exchange.approve_agent()
    assert unnamed["status"] == "ok"
    for secret in (key, keys["two"]):
        delegate = Exchange(Account.from_key(secret), exchange.base_url)
        delegate.account_address = other.address
        reply = delegate.order("ETH", True, 0.05, 2000.0, GTC)
        oid = reply["response"]["data"]["statuses"][0]["resting"]["oid"]
        assert delegate.cancel("ETH", oid)["status"] == "ok"
