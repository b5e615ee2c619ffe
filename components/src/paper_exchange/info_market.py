"""Public ``/info`` requests: markets, prices, books, candles, funding."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import islice
from typing import Any

from paper_exchange.book import impact_price
from paper_exchange.candles import INTERVALS_MS
from paper_exchange.decimals import ZERO, wire
from paper_exchange.exchange import Exchange
from paper_exchange.margin import hourly_funding_rate
from paper_exchange.market import Market
from paper_exchange.prices import STEP_MS
from paper_exchange.universe import Asset

DAY_MS = 86_400_000
# A time in ms (or an oid) far beyond any real one, of which Python can still tell the month.
MAX_NUMBER = 200_000_000_000_000
BOOK_LEVELS = 20
MAX_ITEMS = 500
MAX_HISTORY = 20_000
LARGE_IMPACT_USD, IMPACT_USD = 20_000, 6_000
USDC_ID = "0x6d1e7cde53ba9467b783cb7c530ce054"
PURR_ID = "0xc1fb593aeffbeb02f85e0308e9956a90"


class InfoError(ValueError):
    """A request that does not deserialise: HTTP 422."""


def need(body: dict[str, Any], name: str, kind: type) -> Any:
    """A required field of a JSON type; whole numbers are cut at `MAX_NUMBER`.

    Raises:
        InfoError: missing, of another type, or a negative number.
    """
    value: Any = body.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InfoError(f"field {name} must be {kind.__name__}")
    if not isinstance(value, int):
        return value
    if value < 0:
        raise InfoError(f"field {name} must not be negative")
    return min(value, MAX_NUMBER)


def optional_int(body: dict[str, Any], name: str, default: int) -> int:
    return default if body.get(name) is None else int(need(body, name, int))


def dex_name(exchange: Exchange, body: dict[str, Any]) -> str:
    """The dex a request names (default: the first).

    Raises:
        InfoError: unknown dex.
    """
    name = "" if body.get("dex") is None else need(body, "dex", str)
    if exchange.venue.universe.dex(name) is None:
        raise InfoError(f"unknown dex {name!r}")
    return str(name)


def market_of(exchange: Exchange, coin: object) -> Market | None:
    return exchange.venue.markets.get(coin) if isinstance(coin, str) else None


# --- universe -----------------------------------------------------------------------------


def meta(exchange: Exchange, body: dict[str, Any]) -> Any:
    dex = exchange.venue.universe.dex(dex_name(exchange, body))
    return dex.meta() if dex is not None else None


def asset_ctx(exchange: Exchange, asset: Asset) -> dict[str, Any]:
    """One entry of ``metaAndAssetCtxs``."""
    market = exchange.venue.markets[asset.name]
    now_ms = exchange.feed.time_ms
    base, usd = market.candles.volume_since(now_ms - DAY_MS)
    previous = market.candles.price_before(now_ms - DAY_MS) or market.fair_px
    notional = LARGE_IMPACT_USD if asset.name in ("BTC", "ETH") else IMPACT_USD
    impact = [
        impact_price(asset, market.quote, is_ask, market.seed, notional) for is_ask in (False, True)
    ]
    premium = market.premium
    return {
        "funding": wire(hourly_funding_rate(premium)),
        "openInterest": wire(Decimal(market.open_interest)),
        "prevDayPx": wire(market.price(market.round_units(previous))),
        "dayNtlVlm": wire(Decimal(f"{usd:.6f}")),
        "premium": wire(premium),
        "oraclePx": wire(market.oracle),
        "markPx": wire(market.mark),
        "midPx": wire(market.mid),
        "impactPxs": [wire(px) for px in impact],
        "dayBaseVlm": wire(Decimal(f"{base:.{asset.sz_decimals}f}")),
    }


def meta_and_asset_ctxs(exchange: Exchange, body: dict[str, Any]) -> Any:
    dex = exchange.venue.universe.dex(dex_name(exchange, body))
    if dex is None:
        return None
    return [dex.meta(), [asset_ctx(exchange, asset) for asset in dex.assets]]


def spot_meta(exchange: Exchange, body: dict[str, Any]) -> Any:
    def token(index: int, name: str, decimals: int, wei: int, token_id: str) -> dict[str, Any]:
        return {
            "name": name,
            "szDecimals": decimals,
            "weiDecimals": wei,
            "index": index,
            "tokenId": token_id,
            "isCanonical": True,
            "evmContract": None,
            "fullName": None,
            "deployerTradingFeeShare": "0.0",
        }

    return {
        "universe": [
            {"tokens": [1, 0], "name": "PURR/USDC", "index": 0, "isCanonical": True},
        ],
        "tokens": [
            token(0, "USDC", 8, 8, USDC_ID),
            token(1, "PURR", 0, 5, PURR_ID),
        ],
    }


def spot_ctxs(exchange: Exchange) -> list[dict[str, Any]]:
    asset = exchange.venue.universe.spot
    market = exchange.venue.markets[asset.name]
    now_ms = exchange.feed.time_ms
    base, usd = market.candles.volume_since(now_ms - DAY_MS)
    previous = market.candles.price_before(now_ms - DAY_MS) or market.fair_px
    return [
        {
            "prevDayPx": wire(market.price(market.round_units(previous))),
            "dayNtlVlm": wire(Decimal(f"{usd:.6f}")),
            "markPx": wire(market.mark),
            "midPx": wire(market.mid),
            "circulatingSupply": "596400647.8014800549",
            "coin": asset.name,
            "totalSupply": "596400654.3242599964",
            "dayBaseVlm": wire(Decimal(f"{base:.0f}")),
        }
    ]


def spot_meta_and_asset_ctxs(exchange: Exchange, body: dict[str, Any]) -> Any:
    return [spot_meta(exchange, body), spot_ctxs(exchange)]


def perp_dexs(exchange: Exchange, body: dict[str, Any]) -> Any:
    builders = [
        {
            "name": dex.name,
            "fullName": dex.full_name,
            "deployer": "0x" + "11" * 20,
            "oracleUpdater": None,
            "feeRecipient": "0x" + "22" * 20,
            "assetToStreamingOiCap": [[asset.name, "25000000.0"] for asset in dex.assets],
            "subDeployers": [],
            "deployerFeeScale": "1.0",
            "lastDeployerFeeScaleChangeTime": "1970-01-01T00:00:00",
            "assetToFundingMultiplier": [],
        }
        for dex in exchange.venue.universe.dexes[1:]
    ]
    return [None, *builders]


def exchange_status(exchange: Exchange, body: dict[str, Any]) -> Any:
    return {"time": exchange.clock.now_ms(), "specialStatuses": None}


# --- prices -------------------------------------------------------------------------------


def mids(exchange: Exchange, dex: str) -> dict[str, str]:
    """Mid of every coin of a dex; the first also shows the spot pair."""
    venue = exchange.venue
    assets = list(venue.dex_assets(dex))
    if dex == "":
        assets.append(venue.universe.spot)
    return {asset.name: wire(venue.markets[asset.name].mid) for asset in assets}


def all_mids(exchange: Exchange, body: dict[str, Any]) -> Any:
    return mids(exchange, dex_name(exchange, body))


def l2_book(exchange: Exchange, body: dict[str, Any]) -> Any:
    """Book of a coin; null for an unknown one, as on the venue."""
    market = market_of(exchange, need(body, "coin", str))
    if market is None:
        return None
    figures, mantissa = body.get("nSigFigs"), body.get("mantissa")
    if figures is not None and figures not in (2, 3, 4, 5):
        raise InfoError("nSigFigs must be 2 to 5")
    if mantissa is not None and (figures != 5 or mantissa not in (1, 2, 5)):
        raise InfoError("mantissa must be 1, 2 or 5 and needs nSigFigs 5")
    return {
        "coin": market.asset.name,
        "time": exchange.clock.now_ms(),
        "levels": [
            book_side(exchange, market, is_ask, figures, mantissa) for is_ask in (False, True)
        ],
    }


def book_side(
    exchange: Exchange,
    market: Market,
    is_ask: bool,
    figures: int | None = None,
    mantissa: int | None = None,
    limit: int = BOOK_LEVELS,
) -> list[dict[str, Any]]:
    """Up to ``limit`` levels of one side, users' orders included, best first."""
    levels: dict[Decimal, tuple[Decimal, int]] = {}
    # Rounding joins levels, so only without it is the number needed known.
    synthetic = islice(market.levels(is_ask), limit if figures is None else None)
    entries = [(market.price(v.px), market.size(v.size), v.n_orders) for v in synthetic]
    entries.extend(
        (order.limit_px, order.size, 1)
        for order in exchange.venue.open_orders.get(market.asset.name, {}).values()
        if order.rests and order.is_buy != is_ask
    )
    for px, size, count in sorted(entries, reverse=not is_ask):
        key = px if figures is None else _rounded(px, figures, mantissa or 1, is_ask)
        total, n_orders = levels.get(key, (ZERO, 0))
        if key not in levels and len(levels) == limit:
            break
        levels[key] = (total + size, n_orders + count)
    return [{"px": wire(px), "sz": wire(sz), "n": n} for px, (sz, n) in levels.items()]


def _rounded(px: Decimal, figures: int, mantissa: int, is_ask: bool) -> Decimal:
    step = Decimal(mantissa).scaleb(px.adjusted() - figures + 1)
    rounding = ROUND_CEILING if is_ask else ROUND_FLOOR
    return (px / step).to_integral_value(rounding) * step


def candle_snapshot(exchange: Exchange, body: dict[str, Any]) -> Any:
    request = need(body, "req", dict)
    market = market_of(exchange, need(request, "coin", str))
    interval = need(request, "interval", str)
    if interval not in INTERVALS_MS:
        raise InfoError(f"unknown interval {interval!r}")
    if market is None:
        return []
    start = need(request, "startTime", int)
    end = optional_int(request, "endTime", exchange.feed.time_ms)
    asset = market.asset
    bars = market.candles.window(interval, start, end)
    return [bar.payload(asset.name, interval, asset.sz_decimals) for bar in bars]


def recent_trades(exchange: Exchange, body: dict[str, Any]) -> Any:
    market = market_of(exchange, need(body, "coin", str))
    return [] if market is None else list(market.tape)[::-1][:10]


def funding_history(exchange: Exchange, body: dict[str, Any]) -> Any:
    coin, start = need(body, "coin", str), need(body, "startTime", int)
    end = optional_int(body, "endTime", exchange.clock.now_ms())
    rates = exchange.venue.funding_rates.get(coin, ())
    return [entry for entry in rates if start <= entry["time"] <= end][:MAX_ITEMS]


def paper_history(exchange: Exchange, body: dict[str, Any]) -> Any:
    """Paper only: mids at exact multiples of ``spacingMs`` up to now, oldest first."""
    spacing, count = need(body, "spacingMs", int), need(body, "count", int)
    if spacing < STEP_MS or not 1 <= count <= MAX_HISTORY:
        raise InfoError(f"spacingMs must be at least {STEP_MS}, count 1 to {MAX_HISTORY}")
    known = list(exchange.venue.markets)
    coins = known if body.get("coins") is None else need(body, "coins", list)
    unknown = [coin for coin in coins if coin not in known]
    if unknown:
        raise InfoError(f"unknown coins: {unknown}")
    exchange.advance()
    end = min(optional_int(body, "endTime", exchange.clock.wall_ms()), exchange.clock.wall_ms())
    times = exchange.feed.history_times(spacing, count, end)
    return {"spacingMs": spacing, "times": times, "prices": exchange.feed.mids(times, coins)}
