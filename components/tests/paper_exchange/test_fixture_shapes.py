"""Our payloads have the keys and types of recorded ones, recursively."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from websockets.sync.client import ClientConnection, connect

# Keys that recordings of some accounts or times lack, or that only they have.
OPTIONAL = {
    "cloid",
    "reduceOnly",
    "onlyIsolated",
    "marginMode",
    "growthMode",
    "lastGrowthModeChangeTime",
    "isDelisted",
    "liquidation",
    "builderFee",
    "rawUsd",
    "maxTradeSzs",
    "nRequestsSurplus",
    "deployerTradingFeeShare",
    "children",
    "origSz",
}
NULLABLE = {"liquidationPx", "cloid", "tif", "premium", "midPx", "impactPxs", "evmContract",
            "fullName", "oracleUpdater", "feeRecipient", "nSamples", "twapId"}  # fmt: skip


def shape_problems(ours: Any, recorded: Any, path: str = "$", key: str = "") -> list[str]:
    """Differences in keys and JSON types; numbers in strings must be numbers in strings."""
    if (ours is None or recorded is None) and key in NULLABLE:
        return []
    if isinstance(ours, dict) and isinstance(recorded, dict):
        problems = [
            f"{path}: key {name} only {'ours' if name in ours else 'recorded'}"
            for name in set(ours) ^ set(recorded)
            if name not in OPTIONAL
        ]
        for name in set(ours) & set(recorded):
            problems += shape_problems(ours[name], recorded[name], f"{path}.{name}", name)
        return problems
    if isinstance(ours, list) and isinstance(recorded, list):
        if not recorded or not ours:
            return []
        # Entry by entry; longer lists of ours are compared with the last recorded entry.
        pairs = [(entry, recorded[min(i, len(recorded) - 1)]) for i, entry in enumerate(ours[:5])]
        return [p for i, (a, b) in enumerate(pairs) for p in shape_problems(a, b, f"{path}[{i}]")]
    if type(ours) is not type(recorded):
        return [f"{path}: {type(ours).__name__} ours, {type(recorded).__name__} recorded"]
    if isinstance(ours, str) and is_number(ours) != is_number(recorded):
        return [f"{path}: {ours!r} ours, {recorded!r} recorded"]
    return []


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.startswith("0x")


@pytest.fixture(scope="module")
def busy(paper: Any, master: Any) -> Any:
    """The first account with positions, orders, fills and a spot balance."""
    client = Exchange(Account.from_key(master.key), paper.url)
    client.update_leverage(10, "HYPE", is_cross=False)
    client.market_open("HYPE", True, 2.0)
    client.market_open("BTC", False, 0.01)
    client.order("ETH", True, 0.05, 2500.0, {"limit": {"tif": "Gtc"}})
    trigger = {"trigger": {"isMarket": True, "triggerPx": 20.0, "tpsl": "sl"}}
    client.order("HYPE", False, 2.0, 18.0, trigger, reduce_only=True)
    client.usd_class_transfer(20.0, False)
    return master


CASES: list[tuple[str, dict[str, Any]]] = [
    ("all_mids_2025_12", {"type": "allMids"}),
    ("meta_2025_12", {"type": "meta"}),
    ("meta_and_asset_ctxs_2026_02", {"type": "metaAndAssetCtxs"}),
    ("meta_and_asset_ctxs_dex_xyz_2026_02", {"type": "metaAndAssetCtxs", "dex": "xyz"}),
    ("spot_meta_2025_08", {"type": "spotMeta"}),
    ("spot_meta_and_asset_ctxs_2025_08", {"type": "spotMetaAndAssetCtxs"}),
    ("perp_dexs", {"type": "perpDexs"}),
    ("l2_book", {"type": "l2Book", "coin": "BTC"}),
    (
        "candle_snapshot_1h",
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "1h", "startTime": 0}},
    ),
    ("funding_history_no_end", {"type": "fundingHistory", "coin": "BTC", "startTime": 0}),
    ("clearinghouse_state_isolated_position", {"type": "clearinghouseState"}),
    ("clearinghouse_state_empty_account", {"type": "clearinghouseState", "user": "0x" + "9" * 40}),
    ("spot_clearinghouse_state", {"type": "spotClearinghouseState"}),
    ("open_orders", {"type": "openOrders"}),
    ("frontend_open_orders", {"type": "frontendOpenOrders"}),
    ("historical_orders", {"type": "historicalOrders"}),
    ("user_fills_by_time", {"type": "userFillsByTime", "startTime": 0}),
    ("user_non_funding_ledger_updates", {"type": "userNonFundingLedgerUpdates", "startTime": 0}),
    ("user_rate_limit", {"type": "userRateLimit"}),
    ("active_asset_data", {"type": "activeAssetData", "coin": "BTC"}),
    ("extra_agents", {"type": "extraAgents"}),
    ("order_status_unknown_oid", {"type": "orderStatus", "oid": 1}),
    ("portfolio", {"type": "portfolio"}),
    ("perp_dex_limits", {"type": "perpDexLimits", "dex": "xyz"}),
    ("perp_dex_status", {"type": "perpDexStatus", "dex": "xyz"}),
    ("user_twap_slice_fills_empty", {"type": "userTwapSliceFills"}),
    ("candle_snapshot_1d_spot_trimmed",
     {"type": "candleSnapshot", "req": {"coin": "PURR/USDC", "interval": "1d", "startTime": 0}}),
]  # fmt: skip

STREAMS: list[tuple[str, dict[str, Any]]] = [
    ("all_mids_trimmed", {"type": "allMids"}),
    ("bbo_hype", {"type": "bbo", "coin": "HYPE"}),
    ("candle_hype_1d", {"type": "candle", "coin": "HYPE", "interval": "1d"}),
    ("l2book_hype_trimmed", {"type": "l2Book", "coin": "HYPE"}),
    ("trades_hype", {"type": "trades", "coin": "HYPE"}),
    ("order_updates_open", {"type": "orderUpdates"}),
    ("user_events_fill_spot", {"type": "userEvents"}),
    ("all_dexs_asset_ctxs", {"type": "allDexsAssetCtxs"}),
]


def recorded(data_dir: Path, name: str) -> Any:
    path = data_dir / "hyperliquid_fixtures" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "request_body"), CASES, ids=[name for name, _ in CASES])
def test_info_replies_look_like_recorded_ones(
    paper: Any, busy: Any, data_dir: Path, name: str, request_body: dict[str, Any]
) -> None:
    fields = {"user": busy.address} | request_body
    reply = paper.info(fields.pop("type"), **fields)
    fixture = recorded(data_dir, f"info/{name}")["response"]
    if name == "user_non_funding_ledger_updates":
        by_type = {entry["delta"]["type"]: entry for entry in fixture}
        assert reply
        for entry in reply:
            assert shape_problems(entry, by_type[entry["delta"]["type"]]) == []
        return
    if name.startswith("all_mids"):
        # Here the keys are coins, of which the recording has more.
        fixture = {coin: fixture[coin] for coin in reply}
    assert shape_problems(reply, fixture) == []


def message_of(socket: ClientConnection, channel: str) -> Any:
    while True:
        text = socket.recv(timeout=15)
        frame = json.loads(text) if text != "Websocket connection established." else {}
        if frame.get("channel") == channel and frame["data"] != []:
            return frame


@pytest.mark.parametrize(("name", "subscription"), STREAMS, ids=[name for name, _ in STREAMS])
def test_messages_look_like_recorded_ones(
    paper: Any, busy: Any, data_dir: Path, name: str, subscription: dict[str, Any]
) -> None:
    fixture = recorded(data_dir, f"ws/{name}")
    if subscription["type"] in ("orderUpdates", "userEvents"):
        subscription = subscription | {"user": busy.address}
    with connect(paper.ws_url, max_size=None) as socket:
        socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))
        ack = message_of(socket, "subscriptionResponse")
        client = Exchange(Account.from_key(busy.key), paper.url)
        if "user" in subscription:
            client.market_open("HYPE", True, 1.0)
        message = message_of(socket, fixture["message"]["channel"])
    if "subscription_response" in fixture:
        expected = fixture["subscription_response"]
        assert set(ack["data"]["subscription"]) == set(expected["data"]["subscription"])
    kept = fixture["message"]
    if name.startswith("all_mids"):
        mids = kept["data"]["mids"]
        kept["data"]["mids"] = dict.fromkeys(message["data"]["mids"], mids["BTC"])
    assert shape_problems(message, kept) == []


def test_filled_order_status_looks_like_a_recorded_one(
    paper: Any, busy: Any, data_dir: Path
) -> None:
    oid = paper.info("userFills", user=busy.address)[0]["oid"]
    reply = paper.info("orderStatus", user=busy.address, oid=oid)
    fixture = recorded(data_dir, "info/order_status_filled_buy")["response"]
    assert shape_problems(reply, fixture) == []
    assert (reply["order"]["status"], reply["order"]["order"]["sz"]) == ("filled", "0.0")


def test_exchange_replies_look_like_recorded_ones(paper: Any, busy: Any, data_dir: Path) -> None:
    client = Exchange(Account.from_key(busy.key), paper.url)
    resting = client.order("ETH", True, 0.05, 2500.0, {"limit": {"tif": "Gtc"}})
    oid = resting["response"]["data"]["statuses"][0]["resting"]["oid"]
    too_small = client.order("ETH", True, 0.001, 2500.0, {"limit": {"tif": "Gtc"}})
    pairs = {
        "order_resting": resting,
        "order_rejected_min_value": too_small,
        "cancel_success": client.cancel("ETH", oid),
        "cancel_twice_error": client.cancel("ETH", oid),
    }  # fmt: skip
    for name, reply in pairs.items():
        fixture = recorded(data_dir, f"exchange/{name}")["response"]
        ours = json.loads(json.dumps(reply).replace("asset=1", "asset=173"))
        assert shape_problems(ours, fixture) == [], name
        if "error" in name or "rejected" in name:
            assert ours == fixture


def test_the_checker_sees_missing_keys_and_wrong_types() -> None:
    assert shape_problems({"a": "1.0"}, {"a": "1.0", "b": 1}) == ["$: key b only recorded"]
    assert shape_problems({"a": 1}, {"a": "1.0"}) == ["$.a: int ours, str recorded"]
    assert shape_problems([{"a": "x"}], [{"a": "1.0"}]) == ["$[0].a: 'x' ours, '1.0' recorded"]
