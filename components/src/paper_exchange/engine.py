"""What moves the venue: signed actions from users, and time."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from paper_exchange.canonical import L1Action, UserSigned
from paper_exchange.decimals import micro_trunc, wire
from paper_exchange.ledger import Account, apply_funding
from paper_exchange.liquidation import liquidate_unsafe
from paper_exchange.margin import hourly_funding_rate
from paper_exchange.market import ZERO_HASH
from paper_exchange.matching import match_resting
from paper_exchange.placement import ActionError, cancel_orders, modify_orders, place_orders
from paper_exchange.settings import (
    DAY_MS,
    run_user_signed,
    schedule_cancel,
    update_isolated_margin,
    update_leverage,
)
from paper_exchange.settlement import cancel
from paper_exchange.state import Venue
from paper_exchange.triggers import activate_children, fire_triggers

HOUR_MS = 3_600_000
PAST_FUNDING_HOURS = 480
DEFAULT_REPLY: dict[str, Any] = {"type": "default"}
SCHEDULED_CANCEL = "scheduledCancel"


def execute(
    venue: Venue, account: Account, action: L1Action | UserSigned, now_ms: int
) -> dict[str, Any]:
    """Run an authenticated action; returns the ``response`` part of an ok reply.

    Raises:
        ActionError: the whole action is refused.
    """
    if isinstance(action, UserSigned):
        run_user_signed(venue, account, action, now_ms)
        return DEFAULT_REPLY
    body = action.body
    if action.kind == "order":
        statuses = place_orders(venue, account, body, now_ms)
        for order in [o for o in venue.changes.orders.values() if o.status == "filled"]:
            activate_children(venue, order, now_ms)
        return _statuses("order", statuses)
    if action.kind in ("cancel", "cancelByCloid"):
        keys = [(c.get("a", c.get("asset")), c.get("o", c.get("cloid"))) for c in body["cancels"]]
        return _statuses("cancel", cancel_orders(venue, account, keys, now_ms))
    if action.kind == "batchModify":
        return _statuses("order", modify_orders(venue, account, body["modifies"], now_ms))
    if action.kind == "modify":
        (status,) = modify_orders(venue, account, [body], now_ms)
        if isinstance(status, dict) and "error" in status:
            raise ActionError(status["error"])
        return DEFAULT_REPLY
    return _run_setting(venue, account, action, now_ms)


def _run_setting(venue: Venue, account: Account, action: L1Action, now_ms: int) -> dict[str, Any]:
    if action.kind == "updateLeverage":
        update_leverage(venue, account, action.body)
    elif action.kind == "updateIsolatedMargin":
        update_isolated_margin(venue, account, action.body)
    elif action.kind == "scheduleCancel":
        schedule_cancel(venue, account, action.body.get("time"), now_ms)
    elif action.kind not in ("noop", "setReferrer"):
        raise ActionError(f"{action.kind} is not supported by the paper exchange.")
    return DEFAULT_REPLY


def _statuses(kind: str, statuses: list[Any]) -> dict[str, Any]:
    return {"type": kind, "data": {"statuses": statuses}}


def step(venue: Venue, now_ms: int, fair_prices: Mapping[str, float]) -> None:
    """Move every market to its fair price at ``now_ms`` and do what follows from it."""
    for coin, price in fair_prices.items():
        trades = venue.markets[coin].update(now_ms, price)
        venue.changes.trades.extend(trades)
    for coin, orders in venue.open_orders.items():
        if orders:
            for order in match_resting(venue, coin, now_ms):
                activate_children(venue, order, now_ms)
            fire_triggers(venue, coin, now_ms)
    _run_scheduled_cancels(venue, now_ms)
    _pay_funding(venue, now_ms)
    liquidate_unsafe(venue, now_ms)


def _run_scheduled_cancels(venue: Venue, now_ms: int) -> None:
    for account in venue.accounts.values():
        if account.cancel_all_at_ms is None or account.cancel_all_at_ms > now_ms:
            continue
        day, used = account.cancel_triggers
        account.cancel_triggers = (now_ms // DAY_MS, used + 1 if day == now_ms // DAY_MS else 1)
        account.cancel_all_at_ms = None
        for order in venue.open_of(account.address):
            cancel(venue, order, SCHEDULED_CANCEL, now_ms)
        venue.touch(account)


def _pay_funding(venue: Venue, now_ms: int) -> None:
    """At each full hour: fix the rate of every coin and pay it on every open position."""
    hour = now_ms // HOUR_MS
    if venue.last_funding_hour == 0:
        venue.last_funding_hour = hour
    if hour <= venue.last_funding_hour:
        return
    venue.last_funding_hour = hour
    for asset in venue.universe.assets:
        market = venue.markets[asset.name]
        premium = market.premium
        rate = hourly_funding_rate(premium)
        market.start_funding_hour()
        venue.add_funding_rate(_rate_entry(asset.name, rate, premium, now_ms))
        for account in venue.accounts.values():
            _pay_position(venue, account, asset.name, rate, now_ms)


def _rate_entry(coin: str, rate: Decimal, premium: Decimal, time_ms: int) -> dict[str, Any]:
    return {
        "coin": coin,
        "fundingRate": wire(rate),
        "premium": wire(premium),
        "time": time_ms,
    }


def invent_past_funding(venue: Venue, now_ms: int) -> None:
    """Give a new venue the funding rates of the hours before it began."""
    for asset in venue.universe.assets:
        market = venue.markets[asset.name]
        for hour in range(now_ms // HOUR_MS - PAST_FUNDING_HOURS + 1, now_ms // HOUR_MS + 1):
            end_ms = hour * HOUR_MS
            samples = [market.basis_at(end_ms - i * HOUR_MS // 12) for i in range(12)]
            premium = Decimal(f"{sum(samples) / len(samples):.10f}")
            rate = hourly_funding_rate(premium)
            venue.add_funding_rate(_rate_entry(asset.name, rate, premium, end_ms))


def _pay_position(venue: Venue, account: Account, coin: str, rate: Decimal, now_ms: int) -> None:
    position = account.positions.get(coin)
    if position is None or position.size == 0:
        return
    payment = -micro_trunc(position.size * venue.markets[coin].oracle * rate)
    apply_funding(account, venue.universe.by_coin[coin].dex, position, payment)
    delta = {
        "type": "funding",
        "coin": coin,
        "usdc": wire(payment),
        "szi": wire(position.size),
        "fundingRate": wire(rate),
        "nSamples": None,
    }
    venue.record_funding(account.address, {"time": now_ms, "hash": ZERO_HASH, "delta": delta})
    venue.touch(account)
