"""Executions: booking a trade on both ledgers and telling everyone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from paper_exchange.decimals import ZERO, micro_trunc
from paper_exchange.ledger import DAY_MS, GROWTH_FEE_FACTOR, HIP3_FEE_FACTOR, Account, apply_trade
from paper_exchange.market import synthetic_address
from paper_exchange.orders import CANCELED, FILLED, OPEN, WAITING, Fill, Order
from paper_exchange.state import Venue
from paper_exchange.universe import Asset

BUILDER_FEE_UNIT = Decimal("0.00001")
REDUCE_ONLY_CANCELED = "reduceOnlyCanceled"
SIBLING_FILLED = "siblingFilledCanceled"


def fee_rate(account: Account, asset: Asset, crossed: bool, now_ms: int) -> Decimal:
    """Fee as a fraction of the notional, for the account's tier and the asset's dex."""
    taker, maker = account.fee_rates(now_ms)
    rate = taker if crossed else maker
    if asset.dex:
        rate *= HIP3_FEE_FACTOR
        if asset.growth_mode == "enabled":
            rate *= GROWTH_FEE_FACTOR
    return rate


def settle(
    venue: Venue,
    order: Order,
    px: Decimal,
    size: Decimal,
    crossed: bool,
    now_ms: int,
    tx: str,
    tid: int,
    liquidation: dict[str, Any] | None = None,
) -> Fill:
    """Book one execution of ``order`` on its owner's ledger and record the fill."""
    asset = venue.universe.by_coin[order.coin]
    account = venue.accounts[order.user]
    notional = px * size
    builder_fee = micro_trunc(notional * order.builder_fee_tenths_bp * BUILDER_FEE_UNIT)
    rate = ZERO if liquidation is not None else fee_rate(account, asset, crossed, now_ms)
    fee = micro_trunc(notional * rate) + builder_fee
    change = size if order.is_buy else -size
    result = apply_trade(
        account, asset.dex, venue.position_of(account, order.coin), change, px, fee
    )
    account.volume += notional
    day = now_ms // DAY_MS
    account.daily_volume[day] = account.daily_volume.get(day, ZERO) + notional
    order.size -= size
    fill = Fill(
        user=order.user,
        coin=order.coin,
        px=px,
        size=size,
        is_buy=order.is_buy,
        time_ms=now_ms,
        start_position=result.start_position,
        direction=result.direction,
        closed_pnl=result.closed_pnl,
        hash=tx,
        oid=order.oid,
        crossed=crossed,
        fee=fee,
        builder_fee=builder_fee,
        tid=tid,
        cloid=order.cloid,
        liquidation=liquidation,
    )
    venue.record_fill(fill)
    venue.touch(account)
    venue.changes.orders[order.oid] = order
    return fill


def trade_synthetic(
    venue: Venue,
    order: Order,
    px: int,
    lots: int,
    crossed: bool,
    now_ms: int,
    tx: str,
    liquidation: dict[str, Any] | None = None,
) -> Fill:
    """Execute an order against the synthetic book at ``px`` units for ``lots`` lots."""
    market = venue.markets[order.coin]
    taker_buys = order.is_buy == crossed
    tid = venue.new_tid()
    price, size = market.price(px), market.size(lots)
    fill = settle(venue, order, price, size, crossed, now_ms, tx, tid, liquidation)
    other = synthetic_address(tid)
    users = [order.user, other] if order.is_buy else [other, order.user]
    venue.changes.trades.append(market.print_trade(taker_buys, px, lots, now_ms, tid, tx, users))
    return fill


def trade_between(
    venue: Venue,
    taker: Order,
    maker: Order,
    px: int,
    lots: int,
    now_ms: int,
    tx: str,
    liquidation: dict[str, Any] | None = None,
) -> Fill:
    """Execute a taker against another user's resting order; returns the taker's fill."""
    market = venue.markets[taker.coin]
    tid = venue.new_tid()
    price, size = market.price(px), market.size(lots)
    fill = settle(venue, taker, price, size, True, now_ms, tx, tid, liquidation)
    settle(venue, maker, price, size, False, now_ms, tx, tid)
    buyer, seller = (taker.user, maker.user) if taker.is_buy else (maker.user, taker.user)
    venue.changes.trades.append(
        market.print_trade(taker.is_buy, px, lots, now_ms, tid, tx, [buyer, seller])
    )
    finish_maker(venue, maker, now_ms)
    return fill


def finish_maker(venue: Venue, order: Order, now_ms: int) -> None:
    """After a resting order traded: filled when nothing is left, else open with less."""
    venue.set_status(order, FILLED if order.size == 0 else OPEN, now_ms)


def reducible(venue: Venue, order: Order) -> Decimal:
    """Coins by which a reduce-only order could still reduce its owner's position."""
    held = venue.accounts[order.user].size_of(order.coin)
    if held == 0 or (held > 0) == order.is_buy:
        return ZERO
    return abs(held)


def cancel(venue: Venue, order: Order, status: str, now_ms: int) -> None:
    """End an open order and the children that wait for it."""
    venue.set_status(order, status, now_ms)
    for oid in order.children:
        child = venue.orders.get(oid)
        if child is not None and child.status == WAITING:
            venue.set_status(child, CANCELED, now_ms)


def cancel_by_venue(venue: Venue, order: Order, status: str, now_ms: int) -> None:
    """Cancel an order that its owner did not cancel, and tell the owner so."""
    cancel(venue, order, status, now_ms)
    event = {"nonUserCancel": [{"coin": order.coin, "oid": order.oid}]}
    venue.changes.user_events.append((order.user, event))


def drop_useless_reduce_only(
    venue: Venue, user: str, coin: str, now_ms: int, after: Order | None = None
) -> None:
    """Cancel the user's reduce-only orders that no longer face a position.

    ``after`` is the order whose trade left them so; it is kept, its siblings are named as such.
    """
    for order in venue.open_of(user, coin):
        if not order.reduce_only or order.status == WAITING or order is after:
            continue
        if reducible(venue, order) == 0:
            family = after.parent_oid if after is not None else None
            is_sibling = family is not None and order.parent_oid == family
            status = SIBLING_FILLED if is_sibling else REDUCE_ONLY_CANCELED
            cancel_by_venue(venue, order, status, now_ms)
