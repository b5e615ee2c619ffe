"""Liquidation: market orders below the maintenance margin, backstop below two thirds of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from paper_exchange.decimals import ZERO, snap_down, snap_up, wire
from paper_exchange.ledger import Account, Position
from paper_exchange.margin import initial_margin, maintenance_margin
from paper_exchange.matching import take
from paper_exchange.orders import CANCELED, FILLED, Order
from paper_exchange.settlement import cancel_by_venue, settle
from paper_exchange.state import Venue
from paper_exchange.universe import Asset

LIQUIDATED_CANCELED = "liquidatedCanceled"
LARGE_POSITION_USD = Decimal(100_000)
FIRST_SHARE = Decimal("0.2")
COOLDOWN_MS = 30_000
BACKSTOP_SHARE = Decimal(2) / 3
MARKET_SLIPPAGE = Decimal("0.1")


def liquidate_unsafe(venue: Venue, now_ms: int) -> None:
    """Liquidate every account and isolated position whose equity fell below maintenance."""
    for account in venue.accounts.values():
        if not any(p.size for p in account.positions.values()):
            continue
        for dex in venue.universe.dexes:
            _check_cross(venue, account, dex.name, now_ms)
            for asset in dex.assets:
                position = account.positions.get(asset.name)
                if position is not None and position.size and not position.is_cross:
                    _check_isolated(venue, account, asset, position, now_ms)


def _check_cross(venue: Venue, account: Account, dex: str, now_ms: int) -> None:
    margin = venue.margin(account, dex)
    if margin.cross_notional == 0 or margin.cross_value >= margin.cross_maintenance:
        return
    positions = [
        (asset, account.positions[asset.name])
        for asset in venue.dex_assets(dex)
        if account.size_of(asset.name) and account.positions[asset.name].is_cross
    ]
    if margin.cross_value < margin.cross_maintenance * BACKSTOP_SHARE:
        _backstop(venue, account, positions, margin.cross_value, now_ms)
        return
    positions.sort(key=lambda pair: -abs(pair[1].size * venue.mark(pair[0].name)))
    _sell_off(venue, account, *positions[0], now_ms)


def _check_isolated(
    venue: Venue, account: Account, asset: Asset, position: Position, now_ms: int
) -> None:
    mark = venue.mark(asset.name)
    equity = initial_margin(position, mark)
    maintenance = maintenance_margin(asset.margin_table, abs(position.size) * mark)
    if equity >= maintenance:
        return
    if equity < maintenance * BACKSTOP_SHARE:
        _backstop(venue, account, [(asset, position)], equity, now_ms)
    else:
        _sell_off(venue, account, asset, position, now_ms)


def _cancel_orders(venue: Venue, account: Account, coins: list[str], now_ms: int) -> None:
    for order in venue.open_of(account.address):
        if order.coin in coins:
            cancel_by_venue(venue, order, LIQUIDATED_CANCELED, now_ms)


def _event(venue: Venue, account: Account, coin: str, method: str) -> dict[str, Any]:
    return {
        "liquidatedUser": account.address,
        "markPx": wire(venue.mark(coin)),
        "method": method,
    }


def _close_order(venue: Venue, account: Account, asset: Asset, size: Decimal, now_ms: int) -> Order:
    """A reduce-only order of the venue that closes ``size`` coins of a position."""
    is_buy = account.size_of(asset.name) < 0
    factor = 1 + MARKET_SLIPPAGE if is_buy else 1 - MARKET_SLIPPAGE
    scale = asset.price_scale
    units = int(venue.mark(asset.name) * factor * scale)
    limit = snap_down(units, scale) if is_buy else snap_up(units, scale)
    return Order(
        oid=venue.new_oid(),
        user=account.address,
        coin=asset.name,
        asset_id=asset.asset_id,
        is_buy=is_buy,
        limit_px=venue.markets[asset.name].price(limit),
        size=size,
        orig_size=size,
        reduce_only=True,
        tif="LiquidationMarket",
        cloid=None,
        timestamp_ms=now_ms,
    )


def _sell_off(
    venue: Venue, account: Account, asset: Asset, position: Position, now_ms: int
) -> None:
    """Send the position to the book; of a large one a fifth first, the rest after a pause."""
    if now_ms < account.cooldown_until_ms:
        return
    _cancel_orders(venue, account, [asset.name], now_ms)
    size = abs(position.size)
    if size * venue.mark(asset.name) > LARGE_POSITION_USD:
        market = venue.markets[asset.name]
        size = max(market.size(1), market.size(market.lots(size * FIRST_SHARE)))
        account.cooldown_until_ms = now_ms + COOLDOWN_MS
    order = _close_order(venue, account, asset, size, now_ms)
    event = _event(venue, account, asset.name, "market")
    take(venue, order, now_ms, venue.new_tx(), liquidation=event)
    venue.set_status(order, FILLED if order.size == 0 else CANCELED, now_ms)
    _announce(venue, account, now_ms)


def _backstop(
    venue: Venue,
    account: Account,
    positions: list[tuple[Asset, Position]],
    equity: Decimal,
    now_ms: int,
) -> None:
    """The liquidator takes the positions over and the remaining margin is lost.

    Each goes at the mark, moved by its share in the notional of the equity that is left (or
    missing), so that the account ends at zero and no small position gets a price far from its mark.
    """
    _cancel_orders(venue, account, [asset.name for asset, _ in positions], now_ms)
    tx = venue.new_tx()
    notionals = [abs(position.size) * venue.mark(asset.name) for asset, position in positions]
    left = equity
    for index, (asset, position) in enumerate(positions):
        last = index == len(positions) - 1
        taken = left if last else equity * notionals[index] / sum(notionals)
        left -= taken
        px = venue.mark(asset.name) - taken / position.size
        order = _close_order(venue, account, asset, abs(position.size), now_ms)
        event = _event(venue, account, asset.name, "backstop")
        settle(venue, order, px, order.size, True, now_ms, tx, venue.new_tid(), event)
        venue.set_status(order, FILLED, now_ms)
    _announce(venue, account, now_ms)


def _announce(venue: Venue, account: Account, now_ms: int) -> None:
    margin = venue.margin(account, "")
    event = {
        "lid": venue.new_tid(),
        "liquidator": "0x" + "00" * 20,
        "liquidated_user": account.address,
        "liquidated_ntl_pos": wire(margin.notional),
        "liquidated_account_value": wire(max(ZERO, margin.account_value)),
    }
    venue.changes.user_events.append((account.address, {"liquidation": event}))
    venue.touch(account)
