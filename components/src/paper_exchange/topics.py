"""WebSocket subscriptions: their canonical form, snapshots and periodic messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paper_exchange import info_market as market
from paper_exchange import info_user as user
from paper_exchange.candles import INTERVALS_MS
from paper_exchange.decimals import wire
from paper_exchange.exchange import Exchange
from paper_exchange.info_market import InfoError
from paper_exchange.ledger import Account

Data = dict[str, Any] | list[Any]
Builder = Callable[[Exchange, dict[str, Any]], Data | None]

SNAPSHOT_FILLS = 500


@dataclass(frozen=True, slots=True)
class Topic:
    """One subscription type.

    ``fields`` name the parameters that identify it; ``period_ms`` is how often ``build`` is sent
    (None: only on subscribing and on changes of the account).
    """

    channel: str
    fields: tuple[str, ...]
    build: Builder | None = None
    period_ms: int | None = None
    on_account: bool = False
    on_change_only: bool = False


def _all_mids(exchange: Exchange, sub: dict[str, Any]) -> Data:
    dex = sub.get("dex")
    data: dict[str, Any] = {"mids": market.mids(exchange, dex or "")}
    return data if dex is None else data | {"dex": dex}


def _l2_book(exchange: Exchange, sub: dict[str, Any]) -> Data | None:
    book: Data | None = market.l2_book(exchange, sub)
    return book


def _bbo(exchange: Exchange, sub: dict[str, Any]) -> Data:
    live = exchange.venue.markets[sub["coin"]]
    sides = [market.book_side(exchange, live, is_ask, limit=1) for is_ask in (False, True)]
    return {
        "coin": sub["coin"],
        "time": exchange.clock.now_ms(),
        "bbo": [side[0] if side else None for side in sides],
    }


def _candle(exchange: Exchange, sub: dict[str, Any]) -> Data | None:
    live = exchange.venue.markets[sub["coin"]]
    now_ms = exchange.feed.time_ms
    bars = live.candles.window(sub["interval"], now_ms, now_ms)
    if not bars:
        return None
    return bars[-1].payload(sub["coin"], sub["interval"], live.asset.sz_decimals)


def _trades(exchange: Exchange, sub: dict[str, Any]) -> Data:
    return list(exchange.venue.markets[sub["coin"]].tape)[-10:]


def _asset_ctx(exchange: Exchange, sub: dict[str, Any]) -> Data:
    asset = exchange.venue.universe.by_coin.get(sub["coin"])
    if asset is None:
        return {"coin": sub["coin"], "ctx": market.spot_ctxs(exchange)[0]}
    return {"coin": asset.name, "ctx": market.asset_ctx(exchange, asset)}


def _account(exchange: Exchange, sub: dict[str, Any]) -> Account:
    return exchange.venue.accounts.get(sub["user"]) or Account(sub["user"])


def _user_fills(exchange: Exchange, sub: dict[str, Any]) -> Data:
    fills = user.user_fills(exchange, sub)[:SNAPSHOT_FILLS]
    return {"isSnapshot": True, "user": sub["user"], "fills": fills}


def _user_fundings(exchange: Exchange, sub: dict[str, Any]) -> Data:
    entries = list(exchange.venue.fundings.get(sub["user"], ()))[-SNAPSHOT_FILLS:]
    fundings = [funding_payload(entry) for entry in entries]
    return {"isSnapshot": True, "user": sub["user"], "fundings": fundings}


def _ledger_updates(exchange: Exchange, sub: dict[str, Any]) -> Data:
    entries = list(exchange.venue.ledger_updates.get(sub["user"], ()))[-SNAPSHOT_FILLS:]
    return {"isSnapshot": True, "user": sub["user"], "nonFundingLedgerUpdates": entries}


def _historical_orders(exchange: Exchange, sub: dict[str, Any]) -> Data:
    history = user.historical_orders(exchange, sub)[:SNAPSHOT_FILLS]
    return {"isSnapshot": True, "user": sub["user"], "orderHistory": history}


def _twap_fills(exchange: Exchange, sub: dict[str, Any]) -> Data:
    return {"isSnapshot": True, "user": sub["user"], "twapSliceFills": []}


def _twap_history(exchange: Exchange, sub: dict[str, Any]) -> Data:
    return {"isSnapshot": True, "user": sub["user"], "history": []}


def _all_dexs_asset_ctxs(exchange: Exchange, sub: dict[str, Any]) -> Data:
    dexes = exchange.venue.universe.dexes
    return {"ctxs": [[d.name, [market.asset_ctx(exchange, a) for a in d.assets]] for d in dexes]}


def funding_payload(entry: dict[str, Any]) -> dict[str, Any]:
    """The flat shape in which the WebSocket reports a funding payment."""
    delta = {key: value for key, value in entry["delta"].items() if key != "type"}
    return {"time": entry["time"]} | delta


def _clearinghouse_state(exchange: Exchange, sub: dict[str, Any]) -> Data:
    dex = sub.get("dex") or ""
    state = user.state_payload(exchange, _account(exchange, sub), dex)
    return {"dex": dex, "user": sub["user"], "clearinghouseState": state}


def _spot_state(exchange: Exchange, sub: dict[str, Any]) -> Data:
    return {"user": sub["user"], "spotState": user.spot_state(_account(exchange, sub))}


def _open_orders(exchange: Exchange, sub: dict[str, Any]) -> Data:
    orders = user.frontend_open_orders(exchange, sub)
    return {"dex": sub.get("dex") or "", "user": sub["user"], "orders": orders}


def _active_asset_data(exchange: Exchange, sub: dict[str, Any]) -> Data:
    asset = exchange.venue.universe.by_coin[sub["coin"]]
    return user.active_asset_payload(exchange, _account(exchange, sub), asset)


def _web_data2(exchange: Exchange, sub: dict[str, Any]) -> Data:
    account = _account(exchange, sub)
    meta, ctxs = market.meta_and_asset_ctxs(exchange, {})
    agent = next((a for a in account.agents.values() if not a.name), None)
    return {
        "clearinghouseState": user.state_payload(exchange, account, ""),
        "leadingVaults": [],
        "totalVaultEquity": "0.0",
        "openOrders": user.frontend_open_orders(exchange, sub),
        "agentAddress": agent.address if agent else None,
        "agentValidUntil": agent.valid_until_ms if agent else None,
        "cumLedger": wire(account.deposits - account.withdrawals),
        "meta": meta,
        "assetCtxs": ctxs,
        "serverTime": exchange.clock.now_ms(),
        "isVault": False,
        "user": account.address,
        "twapStates": [],
        "spotState": user.spot_state(account),
        "spotAssetCtxs": market.spot_ctxs(exchange),
        "perpsAtOpenInterestCap": [],
    }


TOPICS: dict[str, Topic] = {
    "allMids": Topic("allMids", ("dex",), _all_mids, 100, on_change_only=True),
    "trades": Topic("trades", ("coin",), _trades),
    "l2Book": Topic("l2Book", ("coin", "nSigFigs", "mantissa"), _l2_book, 500),
    "bbo": Topic("bbo", ("coin",), _bbo, 100, on_change_only=True),
    "candle": Topic("candle", ("coin", "interval"), _candle, 1_000, on_change_only=True),
    "activeAssetCtx": Topic("activeAssetCtx", ("coin",), _asset_ctx, 1_000),
    "orderUpdates": Topic("orderUpdates", ("user",)),
    "userEvents": Topic("user", ("user",)),
    "userFills": Topic("userFills", ("user",), _user_fills),
    "userFundings": Topic("userFundings", ("user",), _user_fundings),
    "userNonFundingLedgerUpdates": Topic("userNonFundingLedgerUpdates", ("user",), _ledger_updates),
    "userHistoricalOrders": Topic("userHistoricalOrders", ("user",), _historical_orders),
    "userTwapSliceFills": Topic("userTwapSliceFills", ("user",), _twap_fills),
    "userTwapHistory": Topic("userTwapHistory", ("user",), _twap_history),
    "allDexsAssetCtxs": Topic("allDexsAssetCtxs", (), _all_dexs_asset_ctxs, 2_000),
    "clearinghouseState": Topic(
        "clearinghouseState", ("user", "dex"), _clearinghouse_state, 1_000, on_account=True
    ),
    "spotState": Topic("spotState", ("user",), _spot_state, on_account=True),
    "openOrders": Topic("openOrders", ("user", "dex"), _open_orders, on_account=True),
    "activeAssetData": Topic(
        "activeAssetData", ("user", "coin"), _active_asset_data, 1_000, on_account=True
    ),
    "webData2": Topic("webData2", ("user",), _web_data2, 2_000, on_account=True),
}
NULLABLE = ("nSigFigs", "mantissa")


def normalise(exchange: Exchange, raw: Any) -> dict[str, Any]:
    """Canonical subscription: known type, known coin, lower-case user, only its own fields.

    Raises:
        InfoError: if it is none.
    """
    kind = raw.get("type") if isinstance(raw, dict) else None
    topic = TOPICS.get(kind) if isinstance(kind, str) else None
    if topic is None:
        raise InfoError("unknown subscription type")
    sub: dict[str, Any] = {"type": raw["type"]}
    for name in topic.fields:
        value = raw.get(name)
        if name == "user":
            sub["user"] = user.user_of(raw)
        elif name == "dex":
            market.dex_name(exchange, raw)
            if value is not None:
                sub["dex"] = value
        elif name in NULLABLE:
            sub[name] = value
        else:
            sub[name] = market.need(raw, name, str)
    _check(exchange, sub)
    return sub


def _check(exchange: Exchange, sub: dict[str, Any]) -> None:
    coin = sub.get("coin")
    perps_only = sub["type"] == "activeAssetData"
    known = exchange.venue.universe.by_coin if perps_only else exchange.venue.markets
    if coin is not None and coin not in known:
        raise InfoError(f"unknown coin {coin!r}")
    if sub["type"] == "candle" and sub["interval"] not in INTERVALS_MS:
        raise InfoError(f"unknown interval {sub['interval']!r}")
    if sub["type"] == "l2Book":
        market.l2_book(exchange, sub)


def channel_of(exchange: Exchange, sub: dict[str, Any]) -> str:
    """Channel on which a subscription's data arrives."""
    if sub["type"] == "activeAssetCtx" and sub["coin"] not in exchange.venue.universe.by_coin:
        return "activeSpotAssetCtx"
    return TOPICS[sub["type"]].channel
