"""The synthetic order book: quotes and depth as a pure function of the fair price.

Prices are integers in units of the market's finest tick (1 / `Asset.price_scale` dollars), sizes
integers in lots (10^-szDecimals coins). The same (seed, coin, price) always has the same size, so
two reads of an unchanged market show the same book.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from paper_exchange.decimals import snap_down, snap_up, tick_units
from paper_exchange.universe import Asset

DEPTH_LEVELS = 60
LEVEL_GAP_BPS = 0.25
DEPTH_GROWTH = 0.35
_MASK = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Quote:
    """Best prices in units; the published mid is their average."""

    bid: int
    ask: int


@dataclass(frozen=True, slots=True)
class Level:
    """One synthetic price level: price in units, size in lots, number of orders."""

    px: int
    size: int
    n_orders: int


def mix(*values: int) -> int:
    """A 64-bit hash of integers (splitmix64 finaliser), the same on every machine."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def coin_key(coin: str) -> int:
    """Number that stands for a coin in `mix`."""
    return zlib.crc32(coin.encode())


def quote_around(fair_px: float, asset: Asset) -> Quote:
    """Best bid and ask around a fair price: valid ticks, at least one tick apart."""
    scale = asset.price_scale
    units = max(1.0, fair_px * scale)
    tick = tick_units(int(units), scale)
    ticks_wide = max(1, round(units * asset.spread_bps / 10_000 / tick))
    bid = snap_down(max(1, math.floor(units - (ticks_wide - 1) * tick / 2)), scale)
    return Quote(bid, snap_up(bid + ticks_wide * tick, scale))


def depth(asset: Asset, quote: Quote, is_ask: bool, seed: int) -> Iterator[Level]:
    """Levels of one side from the best price outwards, about 4.5 % of the price deep.

    Gaps and sizes grow with the distance from the best price.
    """
    scale = asset.price_scale
    best = quote.ask if is_ask else quote.bid
    lots_per_usd = scale / best * 10**asset.sz_decimals
    key, previous = coin_key(asset.name), 0
    for index in range(DEPTH_LEVELS):
        gap = max(index, round(best * index * (index + 1) / 2 * LEVEL_GAP_BPS / 10_000))
        px = snap_up(best + gap, scale) if is_ask else snap_down(best - gap, scale)
        if px <= 0:
            return
        if px == previous:
            continue
        previous = px
        draw = mix(seed, key, int(is_ask), px)
        usd = asset.depth_usd * (1 + DEPTH_GROWTH * index) * (0.4 + 1.2 * (draw & 0xFFFF) / 65_536)
        yield Level(px, max(1, int(usd * lots_per_usd)), 1 + (draw >> 16) % 6)


def to_price(units: int, asset: Asset) -> Decimal:
    """Dollars of a price in units."""
    return Decimal(units).scaleb(-asset.price_decimals)


def to_size(lots: int, asset: Asset) -> Decimal:
    """Coins of a size in lots."""
    return Decimal(lots).scaleb(-asset.sz_decimals)


def mid_price(quote: Quote, asset: Asset) -> Decimal:
    """Average of bid and ask, exact (half a tick is a valid mid, not a valid order price)."""
    return Decimal(quote.bid + quote.ask).scaleb(-asset.price_decimals) / 2


def impact_price(asset: Asset, quote: Quote, is_ask: bool, seed: int, notional_usd: int) -> Decimal:
    """Average price of a market order of ``notional_usd`` on one side."""
    lots, cost = 0, 0
    need = float(notional_usd) * 10**asset.sz_decimals * asset.price_scale
    for level in depth(asset, quote, is_ask, seed):
        take = min(level.size, math.ceil((need - cost) / level.px))
        lots, cost = lots + take, cost + take * level.px
        if cost >= need:
            break
    average = cost / lots if lots else float(quote.ask if is_ask else quote.bid)
    units = math.ceil(average) if is_ask else math.floor(average)
    scale = asset.price_scale
    return to_price(snap_up(units, scale) if is_ask else snap_down(units, scale), asset)
