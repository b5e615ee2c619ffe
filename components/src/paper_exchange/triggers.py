"""Stops, take-profits and orders that wait for a parent."""

from __future__ import annotations

from decimal import Decimal

from paper_exchange.decimals import ZERO, snap_down, snap_up
from paper_exchange.matching import take
from paper_exchange.orders import FILLED, OPEN, TRIGGERED, WAITING, Order
from paper_exchange.placement import finish_taker
from paper_exchange.settlement import (
    REDUCE_ONLY_CANCELED,
    SIBLING_FILLED,
    cancel_by_venue,
    reducible,
)
from paper_exchange.state import Venue

TRIGGER_SLIPPAGE = Decimal("0.1")


def activate_children(venue: Venue, parent: Order, now_ms: int) -> None:
    """A parent filled completely: its children begin to watch the mark price."""
    if parent.status != FILLED:
        return
    for oid in parent.children:
        child = venue.orders.get(oid)
        if child is not None and child.status == WAITING:
            venue.set_status(child, OPEN, now_ms)


def fire_triggers(venue: Venue, coin: str, now_ms: int) -> None:
    """Turn every trigger order whose price the mark has reached into a live order."""
    mark = venue.mark(coin)
    for order in list(venue.open_orders.get(coin, {}).values()):
        trigger = order.trigger
        if trigger is None or order.active or order.status != OPEN:
            continue
        if trigger.is_hit(order.is_buy, mark):
            _fire(venue, order, now_ms)


def _fire(venue: Venue, order: Order, now_ms: int) -> None:
    held = reducible(venue, order)
    if order.is_position_tpsl or (order.reduce_only and order.size == 0):
        order.size = order.orig_size = held
    if order.reduce_only and held == 0:
        cancel_by_venue(venue, order, REDUCE_ONLY_CANCELED, now_ms)
        return
    order.active = True
    venue.set_status(order, TRIGGERED, now_ms)
    if order.trigger is not None and order.trigger.is_market:
        order.tif = "Ioc"
        order.limit_px = _slipped(venue, order)
    elif order.tif is None:
        order.tif = "Gtc"
    execution = take(venue, order, now_ms, venue.new_tx())
    finish_taker(venue, order, execution, now_ms)
    if execution.size > ZERO:
        _cancel_siblings(venue, order, now_ms)


def _slipped(venue: Venue, order: Order) -> Decimal:
    """Limit of a triggered market order: at most ten percent beyond the mark."""
    market = venue.markets[order.coin]
    factor = 1 + TRIGGER_SLIPPAGE if order.is_buy else 1 - TRIGGER_SLIPPAGE
    scale = market.asset.price_scale
    units = int(venue.mark(order.coin) * factor * scale)
    return market.price(snap_down(units, scale) if order.is_buy else snap_up(units, scale))


def _cancel_siblings(venue: Venue, order: Order, now_ms: int) -> None:
    parent = venue.orders.get(order.parent_oid) if order.parent_oid is not None else None
    for oid in parent.children if parent is not None else ():
        sibling = venue.orders.get(oid)
        if sibling is not None and sibling.oid != order.oid and sibling.is_open:
            cancel_by_venue(venue, sibling, SIBLING_FILLED, now_ms)
