"""Paper-only control: deposits, faults, time, and the whole ledger for comparison in tests."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import Any

import orjson

from paper_exchange.canonical import MalformedActionError, address
from paper_exchange.decimals import parse_decimal, wire
from paper_exchange.exchange import Exchange
from paper_exchange.faults import FaultBox, FaultError
from paper_exchange.feed import MAX_CATCH_UP_STEPS
from paper_exchange.hub import Hub
from paper_exchange.ledger import Account, identity_gap
from paper_exchange.placement import ActionError
from paper_exchange.prices import STEP_MS
from paper_exchange.settings import deposit, withdraw

LOOPBACK = ("127.", "::1", "::ffff:127.")
MAX_ADVANCE_MS = 86_400_000
MONEY = ("deposits", "withdrawals", "realised", "fees", "funding", "volume")


class AdminError(ValueError):
    """A refused admin request; the message says why (HTTP 400)."""


def may_enter(client: str, header: str | None, token: str) -> bool:
    """Loopback and the right bearer token."""
    given = (header or "").removeprefix("Bearer ")
    return client.startswith(LOOPBACK) and secrets.compare_digest(given.encode(), token.encode())


def ledger(exchange: Exchange) -> dict[str, Any]:
    """Accounts, every order and fill ever, and a hash over all of it.

    The hash does not cover what depends on the marks of the moment (``identityGap``).
    """
    venue = exchange.venue
    marks = {coin: market.mark for coin, market in venue.markets.items()}
    orders = [
        {"user": o.user, "status": o.status, "statusTimestamp": o.status_ms} | o.frontend()
        for o in exchange.store.all_orders()
    ]
    fills = [{"user": user} | payload for user, payload in exchange.store.all_fills()]
    accounts = {a.address: _account(a) for a in venue.accounts.values()}
    body = orjson.dumps([accounts, orders, fills], option=orjson.OPT_SORT_KEYS)
    gaps = {a.address: wire(identity_gap(a, marks)) for a in venue.accounts.values()}
    return {
        "time": exchange.clock.now_ms(),
        "accounts": {name: body | {"identityGap": gaps[name]} for name, body in accounts.items()},
        "orders": orders,
        "fills": fills,
        "hash": hashlib.sha256(body).hexdigest(),
    }


def _account(account: Account) -> dict[str, Any]:
    return {name: wire(getattr(account, name)) for name in MONEY} | {
        "cash": {dex: wire(amount) for dex, amount in account.cash.items()},
        "spotUsdc": wire(account.spot_usdc),
        "positions": {p.coin: wire(p.size) for p in account.positions.values() if p.size},
        "agents": {a.address: a.name for a in account.agents.values()},
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


def time_payload(exchange: Exchange) -> dict[str, Any]:
    """The venue's time, and whether it is driven by `move_time`."""
    return {"now_ms": exchange.clock.now_ms(), "driven": exchange.clock.driven_ms is not None}


async def move_time(exchange: Exchange, body: Any) -> dict[str, Any]:
    """Let ``{"advance_ms"}`` pass on a driven clock, every price step on the way included.

    Raises:
        AdminError: malformed, or the venue follows the wall clock.
    """
    clock = exchange.clock
    advance_ms = body.get("advance_ms") if isinstance(body, dict) else None
    if not isinstance(advance_ms, int) or isinstance(advance_ms, bool):
        raise AdminError("advance_ms must be whole milliseconds")
    if not 0 <= advance_ms <= MAX_ADVANCE_MS:
        raise AdminError(f"advance_ms must be 0 to {MAX_ADVANCE_MS}, found {advance_ms}")
    if clock.driven_ms is None:
        raise AdminError("this venue follows the wall clock; start it with --start-time")
    while advance_ms > 0:
        # No more at once than the feed walks step by step, and others get their turn between.
        part_ms = min(advance_ms, MAX_CATCH_UP_STEPS * STEP_MS)
        clock.driven_ms += part_ms
        advance_ms -= part_ms
        exchange.advance()
        await asyncio.sleep(0)
    return time_payload(exchange)


def set_fault(exchange: Exchange, hub: Hub, faults: FaultBox, body: Any) -> dict[str, Any]:
    """Put a fault in force; some act at once.

    Raises:
        AdminError: malformed.
    """
    try:
        fault = faults.add(body)
    except FaultError as error:
        raise AdminError(str(error)) from error
    if fault.kind == "ws_cut" and fault.is_standing:
        hub.cut_all()
        fault.hits += 1
        faults.clear(fault.fault_id)
    apply_standing(exchange, faults)
    return fault.payload()


def apply_standing(exchange: Exchange, faults: FaultBox) -> None:
    """Bring the clock in line with the faults in force."""
    exchange.clock.skew_ms = faults.standing_skew_ms()
