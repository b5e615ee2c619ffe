"""Price-time matching: takers against the book, resting orders against a moving market."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from paper_exchange.decimals import ZERO
from paper_exchange.orders import Fill, Order
from paper_exchange.settlement import (
    REDUCE_ONLY_CANCELED,
    cancel_by_venue,
    drop_useless_reduce_only,
    finish_maker,
    reducible,
    trade_between,
    trade_synthetic,
)
from paper_exchange.state import Venue

SELF_TRADE_CANCELED = "selfTradeCanceled"
MARGIN_CANCELED = "marginCanceled"


@dataclass(slots=True)
class Execution:
    """What a taker got: coins, average price, the fills."""

    fills: list[Fill]

    @property
    def size(self) -> Decimal:
        return sum((f.size for f in self.fills), ZERO)

    @property
    def average_px(self) -> Decimal:
        """Average price, printed with at most eight significant figures."""
        notional = sum((f.size * f.px for f in self.fills), ZERO)
        average = notional / self.size
        places = max(0, 7 - average.adjusted())
        return average.quantize(Decimal(1).scaleb(-places), rounding=ROUND_FLOOR)


def crosses(venue: Venue, order: Order) -> bool:
    """True if the order would trade at once."""
    return next(_opposite(venue, order), None) is not None


def best_prices(venue: Venue, coin: str) -> tuple[int, int]:
    """Best bid and ask in units, users' orders included."""
    market = venue.markets[coin]
    bid, ask = market.quote.bid, market.quote.ask
    for order in venue.open_orders.get(coin, {}).values():
        if order.rests and order.is_buy:
            bid = max(bid, market.units(order.limit_px))
        elif order.rests:
            ask = min(ask, market.units(order.limit_px))
    return bid, ask


def _opposite(venue: Venue, taker: Order) -> Iterator[tuple[int, int, int, Order | None]]:
    """What a taker may trade with, best first: (price, lots, key, resting order or None).

    At one price users' orders come before the synthetic depth, older ones first.
    """
    market = venue.markets[taker.coin]
    limit = market.units(taker.limit_px)
    sign = 1 if taker.is_buy else -1
    makers = sorted(
        (sign * market.units(o.limit_px), o.oid, o)
        for o in venue.open_orders.get(taker.coin, {}).values()
        if o.rests and o.is_buy != taker.is_buy and o.oid != taker.oid
    )
    users = ((px, oid, sign * px, market.lots(o.size), o) for px, oid, o in makers)
    depth = (
        (sign * level.px, 1 << 62, level.px, level.size, None)
        for level in market.levels(is_ask=taker.is_buy)
    )
    for _, key, px, lots, order in heapq.merge(users, depth, key=lambda entry: entry[:2]):
        if sign * px > sign * limit:
            return
        yield px, lots, key, order


def take(
    venue: Venue, taker: Order, now_ms: int, tx: str, liquidation: dict[str, Any] | None = None
) -> Execution:
    """Trade a taker against the book up to its limit; resting orders of its owner are cancelled.

    ``liquidation`` marks the fills of a liquidation and frees them of fees.
    """
    market = venue.markets[taker.coin]
    remaining = market.lots(taker.size)
    if taker.reduce_only:
        remaining = min(remaining, market.lots(reducible(venue, taker)))
    if venue.fill_fraction is not None:
        remaining = int(remaining * venue.fill_fraction)
    fills: list[Fill] = []
    for px, lots, _, maker in list(_bounded(venue, taker, remaining)):
        if remaining == 0:
            break
        if maker is not None and maker.user == taker.user:
            cancel_by_venue(venue, maker, SELF_TRADE_CANCELED, now_ms)
            continue
        offered = lots if maker is None else min(lots, _maker_lots(venue, maker, now_ms))
        if offered == 0:
            continue
        traded = min(offered, remaining)
        remaining -= traded
        if maker is None:
            market.consume(taker.is_buy, px, traded)
            fills.append(trade_synthetic(venue, taker, px, traded, True, now_ms, tx, liquidation))
        else:
            fills.append(trade_between(venue, taker, maker, px, traded, now_ms, tx, liquidation))
            drop_useless_reduce_only(venue, maker.user, maker.coin, now_ms)
    if fills:
        drop_useless_reduce_only(venue, taker.user, taker.coin, now_ms, taker)
    return Execution(fills)


def _bounded(venue: Venue, taker: Order, lots: int) -> Iterator[tuple[int, int, int, Order | None]]:
    """`_opposite`, cut after enough synthetic depth to fill ``lots``."""
    for entry in _opposite(venue, taker):
        yield entry
        if entry[3] is None:
            lots -= entry[1]
            if lots <= 0:
                return


def _maker_lots(venue: Venue, maker: Order, now_ms: int) -> int:
    """Lots a resting order may still trade; cancels it when it may not trade at all."""
    lots = venue.markets[maker.coin].lots(maker.size)
    if maker.reduce_only:
        lots = min(lots, venue.markets[maker.coin].lots(reducible(venue, maker)))
        if lots == 0:
            cancel_by_venue(venue, maker, REDUCE_ONLY_CANCELED, now_ms)
        return lots
    account = venue.accounts[maker.user]
    dex = venue.universe.by_coin[maker.coin].dex
    if venue.available(account, dex) < 0 and reducible(venue, maker) < maker.size:
        cancel_by_venue(venue, maker, MARGIN_CANCELED, now_ms)
        return 0
    return lots


def match_resting(venue: Venue, coin: str, now_ms: int) -> list[Order]:
    """Fill resting orders that the synthetic market moved through; returns those that filled up.

    An order trades at its own price as maker, for the depth that stands at its price or better.
    """
    market = venue.markets[coin]
    quote = market.quote
    touched = [
        o
        for o in venue.open_orders.get(coin, {}).values()
        if o.rests
        and (
            market.units(o.limit_px) >= quote.ask
            if o.is_buy
            else market.units(o.limit_px) <= quote.bid
        )
    ]
    filled: list[Order] = []
    sides = {True: 1, False: -1}
    for order in sorted(touched, key=lambda o: (-sides[o.is_buy] * o.limit_px, o.oid)):
        limit, tx = market.units(order.limit_px), venue.new_tx()
        for level in list(market.levels(is_ask=order.is_buy)):
            beyond = level.px > limit if order.is_buy else level.px < limit
            lots = 0 if beyond or not order.is_open else _maker_lots(venue, order, now_ms)
            if lots == 0:
                break
            traded = min(lots, level.size)
            market.consume(order.is_buy, level.px, traded)
            trade_synthetic(venue, order, limit, traded, False, now_ms, tx)
            finish_maker(venue, order, now_ms)
        if order.size == 0:
            filled.append(order)
        drop_useless_reduce_only(venue, order.user, coin, now_ms, order)
    return filled
