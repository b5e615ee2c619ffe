"""Paper-only control: deposits, faults, and the whole ledger for comparison in tests."""

from __future__ import annotations

import hashlib
import secrets
from decimal import Decimal
from typing import Any

import orjson

from paper_exchange.canonical import MalformedActionError, address
from paper_exchange.decimals import parse_decimal, wire
from paper_exchange.exchange import Exchange
from paper_exchange.faults import FaultBox, FaultError
from paper_exchange.hub import Hub
from paper_exchange.ledger import Account, identity_gap
from paper_exchange.placement import ActionError
from paper_exchange.settings import deposit, withdraw

LOOPBACK = ("127.", "::1", "::ffff:127.")


class AdminError(ValueError):
    """A refused admin request; the message says why (HTTP 400)."""


def may_enter(client: str, header: str | None, token: str) -> bool:
    """Loopback and the right bearer token."""
    given = (header or "").removeprefix("Bearer ")
    return client.startswith(LOOPBACK) and secrets.compare_digest(given.encode(), token.encode())


def ledger(exchange: Exchange) -> dict[str, Any]:
    """Accounts, every order and fill ever, and a hash of orders and fills."""
    venue = exchange.venue
    marks = {coin: market.mark for coin, market in venue.markets.items()}
    orders = [
        {"user": o.user, "status": o.status, "statusTimestamp": o.status_ms} | o.frontend()
        for o in exchange.store.all_orders()
    ]
    fills = [{"user": user} | payload for user, payload in exchange.store.all_fills()]
    body = orjson.dumps([orders, fills], option=orjson.OPT_SORT_KEYS)
    return {
        "time": exchange.clock.now_ms(),
        "accounts": {a.address: _account(a, marks) for a in venue.accounts.values()},
        "orders": orders,
        "fills": fills,
        "hash": hashlib.sha256(body).hexdigest(),
    }


def _account(account: Account, marks: dict[str, Decimal]) -> dict[str, Any]:
    sums = ("deposits", "withdrawals", "realised", "fees", "funding", "volume")
    return {name: wire(getattr(account, name)) for name in sums} | {
        "cash": {dex: wire(amount) for dex, amount in account.cash.items()},
        "spotUsdc": wire(account.spot_usdc),
        "positions": {p.coin: wire(p.size) for p in account.positions.values() if p.size},
        "agents": {a.address: a.name for a in account.agents.values()},
        "identityGap": wire(identity_gap(account, marks)),
    }


def move_money(exchange: Exchange, body: Any, *, into: bool) -> dict[str, Any]:
    """Deposit to (creating) or withdraw from an account: ``{"address", "usdc"}``.

    Raises:
        AdminError: malformed or not covered.
    """
    try:
        owner = address(body.get("address") if isinstance(body, dict) else None)
        amount = parse_decimal(str(body.get("usdc")))
        if amount <= 0:
            raise AdminError("usdc must be above 0")
        if into:
            account = deposit(exchange.venue, owner, amount, exchange.clock.now_ms())
        else:
            account = exchange.venue.accounts.get(owner) or Account(owner)
            withdraw(exchange.venue, account, amount, exchange.clock.now_ms())
    except (MalformedActionError, ActionError, ValueError) as error:
        raise AdminError(str(error)) from error
    exchange.commit()
    return {"address": owner, "deposits": wire(account.deposits), "cash": wire(account.cash[""])}


def set_fault(exchange: Exchange, hub: Hub, faults: FaultBox, body: Any) -> dict[str, Any]:
    """Put a fault in force; some act at once.

    Raises:
        AdminError: malformed.
    """
    try:
        fault = faults.add(body)
    except FaultError as error:
        raise AdminError(str(error)) from error
    if fault.kind == "ws_cut":
        hub.cut_all()
        fault.hits += 1
        faults.clear(fault.fault_id)
    apply_standing(exchange, faults)
    return fault.payload()


def apply_standing(exchange: Exchange, faults: FaultBox) -> None:
    """Bring the feed and the clock in line with the faults in force."""
    coins = [asset.name for asset in exchange.feed.assets]
    exchange.feed.frozen = faults.frozen_coins(coins)
    skew = faults.standing("clock_skew")
    exchange.clock.skew_ms = 0 if skew is None else int(skew.params["ms"])
