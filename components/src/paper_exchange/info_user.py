"""``/info`` requests about one account."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

from paper_exchange.canonical import MalformedActionError, address, cloid
from paper_exchange.decimals import MICRO, ZERO, micro_trunc, wire
from paper_exchange.exchange import Exchange
from paper_exchange.info_market import InfoError, dex_name, market_of, need, optional_int
from paper_exchange.ledger import FEE_TIERS, Account, Position
from paper_exchange.margin import DexMargin, initial_margin, liquidation_price, maintenance_margin
from paper_exchange.orders import Order
from paper_exchange.state import default_position
from paper_exchange.universe import Asset

MAX_ORDERS = 2000
MAX_FILLS = 2000
MAX_ITEMS = 500
REQUESTS_FREE = 10_000
EIGHT_DIGITS = Decimal("0.00000001")
TEN_DIGITS = Decimal("0.0000000001")
NO_AGENT_NAME = ""


def user_of(body: dict[str, Any]) -> str:
    """Lower-case ``user`` of a request.

    Raises:
        InfoError: not an address.
    """
    try:
        return address(body.get("user"))
    except MalformedActionError as error:
        raise InfoError(str(error)) from error


def account_of(exchange: Exchange, body: dict[str, Any]) -> Account:
    """The account of the user; an unknown address (or an agent's) reads as empty."""
    user = user_of(body)
    return exchange.venue.accounts.get(user) or Account(user)


# --- balances and positions ---------------------------------------------------------------


def clearinghouse_state(exchange: Exchange, body: dict[str, Any]) -> Any:
    return state_payload(exchange, account_of(exchange, body), dex_name(exchange, body))


def state_payload(exchange: Exchange, account: Account, dex: str) -> dict[str, Any]:
    """``clearinghouseState`` of an account on one dex."""
    venue = exchange.venue
    margin = venue.margin(account, dex)
    held = [
        (asset, account.positions[asset.name])
        for asset in venue.dex_assets(dex)
        if account.size_of(asset.name)
    ]
    return {
        "marginSummary": _summary(
            margin.account_value, margin.notional, margin.raw_usd, margin.margin_used
        ),
        "crossMarginSummary": _summary(
            margin.cross_value,
            margin.cross_notional,
            margin.cross_raw_usd,
            margin.cross_margin_used,
        ),
        "crossMaintenanceMarginUsed": wire(micro_trunc(margin.cross_maintenance)),
        "withdrawable": wire(micro_trunc(margin.withdrawable)),
        "assetPositions": [
            {"type": "oneWay", "position": _position(exchange, asset, position, margin)}
            for asset, position in held
        ],
        "time": exchange.clock.now_ms(),
    }


def _summary(value: Decimal, notional: Decimal, raw: Decimal, used: Decimal) -> dict[str, str]:
    return {
        "accountValue": wire(value),
        "totalNtlPos": wire(notional),
        "totalRawUsd": wire(raw),
        "totalMarginUsed": wire(used),
    }


def _position(
    exchange: Exchange, asset: Asset, position: Position, margin: DexMargin
) -> dict[str, Any]:
    mark = exchange.venue.mark(asset.name)
    unrealised = position.unrealised(mark)
    notional = abs(position.size) * mark
    entry_margin = abs(position.cost) / position.leverage
    leverage: dict[str, Any] = {"type": "cross", "value": position.leverage}
    if position.is_cross:
        value, maintenance = margin.cross_value, margin.cross_maintenance
    else:
        leverage = {"type": "isolated", "value": position.leverage}
        leverage["rawUsd"] = wire(position.isolated_usd)
        value = initial_margin(position, mark)
        maintenance = maintenance_margin(asset.margin_table, notional)
    liquidation = liquidation_price(asset.margin_table, mark, position.size, value, maintenance)
    roe = (unrealised / entry_margin).quantize(TEN_DIGITS) if entry_margin else ZERO
    return {
        "coin": asset.name,
        "szi": wire(position.size),
        "leverage": leverage,
        "entryPx": wire(position.entry_px.quantize(EIGHT_DIGITS, ROUND_HALF_EVEN)),
        "positionValue": wire(notional),
        "unrealizedPnl": wire(unrealised),
        "returnOnEquity": wire(roe),
        "liquidationPx": None if liquidation is None else wire(liquidation.quantize(TEN_DIGITS)),
        "marginUsed": wire(micro_trunc(initial_margin(position, mark))),
        "maxLeverage": asset.max_leverage,
        "cumFunding": {
            "allTime": wire(position.funding_all),
            "sinceOpen": wire(position.funding_since_open),
            "sinceChange": wire(position.funding_since_change),
        },
    }


def spot_state(account: Account) -> dict[str, Any]:
    """``spotClearinghouseState``: USDC only."""
    if account.spot_usdc == 0:
        return {"balances": []}
    usdc = {"coin": "USDC", "token": 0, "total": wire(account.spot_usdc)}
    return {"balances": [usdc | {"hold": "0.0", "entryNtl": "0.0"}]}


def spot_clearinghouse_state(exchange: Exchange, body: dict[str, Any]) -> Any:
    return spot_state(account_of(exchange, body))


def active_asset_data(exchange: Exchange, body: dict[str, Any]) -> Any:
    coin = need(body, "coin", str)
    market = market_of(exchange, coin)
    asset = exchange.venue.universe.by_coin.get(coin)
    if market is None or asset is None:
        raise InfoError(f"unknown coin {coin!r}")
    return active_asset_payload(exchange, account_of(exchange, body), asset)


def active_asset_payload(exchange: Exchange, account: Account, asset: Asset) -> dict[str, Any]:
    """Leverage of a coin and what may be bought and sold with it."""
    venue = exchange.venue
    position = account.positions.get(asset.name) or default_position(asset)
    mark = venue.mark(asset.name)
    free = max(ZERO, venue.available(account, asset.dex))
    sizes, amounts = [], []
    for is_buy in (True, False):
        reducing = position.size != 0 and (position.size > 0) != is_buy
        extra = 2 * abs(position.size) if reducing else ZERO
        size = free * position.leverage / mark + extra
        sizes.append(wire(size.quantize(Decimal(1).scaleb(-asset.sz_decimals), ROUND_DOWN)))
        amounts.append(wire((free + extra * mark / position.leverage).quantize(MICRO, ROUND_DOWN)))
    kind = "cross" if position.is_cross else "isolated"
    leverage: dict[str, Any] = {"type": kind, "value": position.leverage}
    if not position.is_cross:
        leverage["rawUsd"] = wire(position.isolated_usd)
    return {
        "user": account.address,
        "coin": asset.name,
        "leverage": leverage,
        "maxTradeSzs": sizes,
        "availableToTrade": amounts,
        "markPx": wire(mark),
    }


# --- orders -------------------------------------------------------------------------------


def _open_orders(exchange: Exchange, body: dict[str, Any]) -> list[Order]:
    user, dex = user_of(body), dex_name(exchange, body)
    by_coin = exchange.venue.universe.by_coin
    return [o for o in exchange.venue.open_of(user) if by_coin[o.coin].dex == dex]


def open_orders(exchange: Exchange, body: dict[str, Any]) -> Any:
    return [order.basic() for order in _open_orders(exchange, body)]


def frontend(exchange: Exchange, order: Order) -> dict[str, Any]:
    """Frontend shape of an order with its waiting children inside."""
    orders = exchange.venue.orders
    children = [orders[oid].frontend() for oid in order.children if oid in orders]
    return order.frontend(children)


def frontend_open_orders(exchange: Exchange, body: dict[str, Any]) -> Any:
    return [frontend(exchange, order) for order in _open_orders(exchange, body)]


def order_entry(exchange: Exchange, order: Order) -> dict[str, Any]:
    """An order with its status, as ``orderStatus`` and ``historicalOrders`` show it."""
    status = "open" if order.is_open and order.status != "triggered" else order.status
    return {
        "order": frontend(exchange, order),
        "status": status,
        "statusTimestamp": order.status_ms,
    }


def order_status(exchange: Exchange, body: dict[str, Any]) -> Any:
    user, key = user_of(body), body.get("oid")
    if isinstance(key, str):
        try:
            key = cloid(key)
        except MalformedActionError as error:
            raise InfoError(str(error)) from error
    else:
        key = need(body, "oid", int)
    order = exchange.venue.find_order(user, key) or exchange.store.find_order(user, key)
    if order is None:
        return {"status": "unknownOid"}
    return {"status": "order", "order": order_entry(exchange, order)}


def historical_orders(exchange: Exchange, body: dict[str, Any]) -> Any:
    user, venue = user_of(body), exchange.venue
    ended = [venue.orders[oid] for oid in venue.order_log.get(user, ())]
    orders = sorted([*ended, *venue.open_of(user)], key=lambda o: (-o.status_ms, -o.oid))
    return [order_entry(exchange, order) for order in orders[:MAX_ORDERS]]


# --- fills, funding, ledger ---------------------------------------------------------------


def user_fills(exchange: Exchange, body: dict[str, Any]) -> Any:
    fills = exchange.venue.fills.get(user_of(body), ())
    return [fill.payload() for fill in list(fills)[: -MAX_FILLS - 1 : -1]]


def user_fills_by_time(exchange: Exchange, body: dict[str, Any]) -> Any:
    user, start = user_of(body), need(body, "startTime", int)
    end = optional_int(body, "endTime", exchange.clock.now_ms())
    fills = [f for f in exchange.venue.fills.get(user, ()) if start <= f.time_ms <= end]
    return [fill.payload() for fill in fills[:MAX_FILLS]]


def _window(exchange: Exchange, body: dict[str, Any], entries: Any) -> list[dict[str, Any]]:
    # ccxt leaves the start out when it is asked for everything.
    start = optional_int(body, "startTime", 0)
    end = optional_int(body, "endTime", exchange.clock.now_ms())
    return [entry for entry in entries if start <= entry["time"] <= end][:MAX_ITEMS]


def user_funding(exchange: Exchange, body: dict[str, Any]) -> Any:
    return _window(exchange, body, exchange.venue.fundings.get(user_of(body), ()))


def user_non_funding_ledger_updates(exchange: Exchange, body: dict[str, Any]) -> Any:
    return _window(exchange, body, exchange.venue.ledger_updates.get(user_of(body), ()))


# --- settings -----------------------------------------------------------------------------


def user_rate_limit(exchange: Exchange, body: dict[str, Any]) -> Any:
    account = account_of(exchange, body)
    return {
        "cumVlm": wire(account.volume),
        "nRequestsUsed": account.requests_used,
        "nRequestsCap": REQUESTS_FREE + int(account.volume),
        "nRequestsSurplus": 0,
    }


def user_fees(exchange: Exchange, body: dict[str, Any]) -> Any:
    taker, maker = account_of(exchange, body).fee_rates(exchange.clock.now_ms())
    tiers = [
        {
            "ntlCutoff": wire(cutoff),
            "cross": wire(cross),
            "add": wire(add),
            "spotCross": "0.0007",
            "spotAdd": "0.0004",
        }
        for cutoff, cross, add in FEE_TIERS[1:]
    ]
    schedule = {
        "cross": wire(FEE_TIERS[0][1]),
        "add": wire(FEE_TIERS[0][2]),
        "spotCross": "0.0007",
        "spotAdd": "0.0004",
        "tiers": {"vip": tiers, "mm": []},
        "referralDiscount": "0.04",
    }
    return {
        "dailyUserVlm": [],
        "feeSchedule": schedule,
        "userCrossRate": wire(taker),
        "userAddRate": wire(maker),
        "userSpotCrossRate": "0.0007",
        "userSpotAddRate": "0.0004",
        "activeReferralDiscount": "0.0",
    }


def user_role(exchange: Exchange, body: dict[str, Any]) -> Any:
    user, venue = user_of(body), exchange.venue
    if user in venue.agent_masters:
        return {"role": "agent", "data": {"user": venue.agent_masters[user]}}
    return {"role": "user" if user in venue.accounts else "missing"}


def extra_agents(exchange: Exchange, body: dict[str, Any]) -> Any:
    agents = account_of(exchange, body).agents.values()
    return [
        {"name": a.name, "address": a.address, "validUntil": a.valid_until_ms}
        for a in agents
        if a.name != NO_AGENT_NAME
    ]


def max_builder_fee(exchange: Exchange, body: dict[str, Any]) -> Any:
    try:
        builder = address(body.get("builder"))
    except MalformedActionError as error:
        raise InfoError(str(error)) from error
    return account_of(exchange, body).builder_fees.get(builder, 0)


def sub_accounts(exchange: Exchange, body: dict[str, Any]) -> Any:
    user_of(body)
    return None
