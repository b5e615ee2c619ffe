"""Leverage, isolated margin, dead-man switch, agents, transfers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from paper_exchange.canonical import UserSigned
from paper_exchange.decimals import MICRO, ZERO, parse_decimal, wire
from paper_exchange.ledger import Account, Agent
from paper_exchange.margin import initial_margin
from paper_exchange.placement import ActionError
from paper_exchange.state import Venue

SCHEDULE_MIN_AHEAD_MS = 5_000
SCHEDULE_TRIGGERS_PER_DAY = 10
DAY_MS = 86_400_000
AGENT_LIFE_MS = 180 * DAY_MS
MAX_NAMED_AGENTS = 3
MAX_BUILDER_TENTHS_BP = 100


def update_leverage(venue: Venue, account: Account, body: dict[str, Any]) -> None:
    """Set leverage and margin mode of one coin.

    Raises:
        ActionError: in the venue's words.
    """
    asset = venue.universe.by_id.get(body["asset"])
    if asset is None or not 1 <= body["leverage"] <= asset.max_leverage:
        raise ActionError("Invalid leverage value")
    is_cross, leverage = body["isCross"], body["leverage"]
    if is_cross and not asset.allows_cross:
        raise ActionError("Cross margin is not allowed for this asset.")
    position = venue.position_of(account, asset.name)
    if position.size and position.is_cross != is_cross:
        raise ActionError("Cannot switch leverage type with open position.")
    if position.size and leverage < position.leverage:
        _afford_lower_leverage(venue, account, asset.name, asset.dex, leverage)
    position.leverage, position.is_cross = leverage, is_cross
    venue.touch(account)


def _afford_lower_leverage(
    venue: Venue, account: Account, coin: str, dex: str, leverage: int
) -> None:
    """Check (cross) or move (isolated) the collateral that lower leverage takes."""
    position = account.positions[coin]
    mark = venue.mark(coin)
    need = (abs(position.size) * mark / leverage).quantize(MICRO)
    need -= initial_margin(position, mark).quantize(MICRO)
    kind = "Cross" if position.is_cross else "Isolated"
    advice = "deposit more collateral" if position.is_cross else "add margin to the position"
    if need > venue.available(account, dex):
        raise ActionError(
            f"{kind} position does not have sufficient margin available to decrease leverage. "
            f"To decrease leverage, {advice}."
        )
    if not position.is_cross and need > 0:
        position.isolated_usd += need
        account.add_cash(dex, -need)


def update_isolated_margin(venue: Venue, account: Account, body: dict[str, Any]) -> None:
    """Move ``ntli`` micro-dollars into (or, negative, out of) an isolated position."""
    amount = Decimal(body["ntli"]) * MICRO
    if amount == 0:
        raise ActionError("Update to isolated margin cannot be zero.")
    asset = venue.universe.by_id.get(body["asset"])
    position = account.positions.get(asset.name) if asset is not None else None
    if asset is None or position is None or position.size == 0:
        raise ActionError("Cannot update margin for empty position.")
    if position.is_cross:
        raise ActionError("Position does not use isolated margin.")
    if amount > 0 and amount > venue.available(account, asset.dex):
        raise ActionError("Account does not have sufficient margin available for increase.")
    if amount < 0:
        mark = venue.mark(asset.name)
        notional = abs(position.size) * mark
        needed = max(notional / position.leverage, notional / 10)
        left = initial_margin(position, mark) + amount
        if asset.margin_mode == "strictIsolated" or left < needed:
            raise ActionError("Position does not have sufficient margin for reduction.")
    position.isolated_usd += amount
    account.add_cash(asset.dex, -amount)
    venue.touch(account)


def schedule_cancel(venue: Venue, account: Account, time_ms: int | None, now_ms: int) -> None:
    """Set (or, without a time, unset) the moment at which all orders are cancelled."""
    required = venue.switches.schedule_cancel_volume
    if account.volume < required:
        raise ActionError(
            "Cannot set scheduled cancel time until enough volume traded. "
            f"Required: ${required}. Traded: ${account.volume:.2f}."
        )
    if time_ms is not None and time_ms < now_ms + SCHEDULE_MIN_AHEAD_MS:
        raise ActionError("Scheduled cancel time must be at least 5 seconds in the future.")
    day, used = account.cancel_triggers
    if time_ms is not None and day == now_ms // DAY_MS and used >= SCHEDULE_TRIGGERS_PER_DAY:
        raise ActionError("Too many scheduled cancels were triggered today.")
    account.cancel_all_at_ms = time_ms
    venue.touch(account)


def deposit(venue: Venue, address: str, amount: Decimal, now_ms: int) -> Account:
    """Credit USDC to an account's perp cash; creates the account."""
    account = venue.accounts.setdefault(address, Account(address))
    account.add_cash("", amount)
    account.deposits += amount
    venue.record_ledger(address, now_ms, {"type": "deposit", "usdc": wire(amount)})
    venue.touch(account)
    return account


def withdraw(venue: Venue, account: Account, amount: Decimal, now_ms: int) -> None:
    """Take USDC out of an account's perp cash.

    Raises:
        ActionError: when margin needs the money.
    """
    if amount <= 0 or amount > venue.margin(account, "").withdrawable:
        raise ActionError("Insufficient balance for withdrawal.")
    account.add_cash("", -amount)
    account.withdrawals += amount
    delta = {"type": "withdraw", "usdc": wire(amount), "nonce": now_ms, "fee": "0.0"}
    venue.record_ledger(account.address, now_ms, delta)
    venue.touch(account)


def add_agent(venue: Venue, account: Account, address: str, name: str, valid_until_ms: int) -> None:
    """Let ``address`` sign for the account; an agent of the same name is replaced."""
    for old in [a for a in account.agents.values() if a.name == name]:
        del account.agents[old.address]
        venue.agent_masters.pop(old.address, None)
    named = sum(1 for a in account.agents.values() if a.name)
    if name and named >= MAX_NAMED_AGENTS:
        raise ActionError("Too many extra agents.")
    account.agents[address] = Agent(address, name, valid_until_ms)
    venue.agent_masters[address] = account.address
    venue.touch(account)


def run_user_signed(venue: Venue, account: Account, action: UserSigned, now_ms: int) -> None:
    """Execute a user-signed action of the account's own key."""
    message = action.message
    if action.kind == "approveAgent":
        _approve_agent(venue, account, message, now_ms)
    elif action.kind == "approveBuilderFee":
        account.builder_fees[message["builder"]] = _fee_tenths_bp(message["maxFeeRate"])
        venue.touch(account)
    elif action.kind == "usdClassTransfer":
        _class_transfer(venue, account, _amount(message), message["toPerp"], now_ms)
    elif action.kind == "withdraw3":
        withdraw(venue, account, _amount(message), now_ms)
    elif action.kind == "usdSend":
        _send(venue, account, message["destination"], _amount(message), now_ms)
    elif action.kind == "sendAsset":
        _send_asset(venue, account, message, now_ms)
    else:
        raise ActionError(f"{action.kind} is not supported by the paper exchange.")


def _approve_agent(venue: Venue, account: Account, message: dict[str, Any], now_ms: int) -> None:
    address, name = message["agentAddress"], message["agentName"]
    if address in venue.accounts or address in venue.agent_masters:
        raise ActionError("Extra agent already used.")
    add_agent(venue, account, address, name, now_ms + AGENT_LIFE_MS)


def _fee_tenths_bp(rate: str) -> int:
    """Builder fee of a percentage such as ``0.01%``, in tenths of a basis point."""
    try:
        tenths = parse_decimal(rate.removesuffix("%")) * 1000
    except ValueError as error:
        raise ActionError("Invalid builder fee rate.") from error
    if tenths != int(tenths) or not 0 <= tenths <= MAX_BUILDER_TENTHS_BP:
        raise ActionError("Invalid builder fee rate.")
    return int(tenths)


def _amount(message: dict[str, Any]) -> Decimal:
    try:
        amount = parse_decimal(message["amount"])
    except ValueError as error:
        raise ActionError("Invalid amount.") from error
    if amount <= 0 or amount != amount.quantize(MICRO):
        raise ActionError("Invalid amount.")
    return amount


def _class_transfer(
    venue: Venue, account: Account, amount: Decimal, to_perp: bool, now_ms: int
) -> None:
    free = account.spot_usdc if to_perp else venue.margin(account, "").withdrawable
    if amount > free:
        raise ActionError("Insufficient balance for transfer.")
    account.add_cash("", amount if to_perp else -amount)
    account.spot_usdc += -amount if to_perp else amount
    delta = {"type": "accountClassTransfer", "usdc": wire(amount), "toPerp": to_perp}
    venue.record_ledger(account.address, now_ms, delta)
    venue.touch(account)


def _send(venue: Venue, account: Account, destination: str, amount: Decimal, now_ms: int) -> None:
    if amount > venue.margin(account, "").withdrawable:
        raise ActionError("Insufficient balance for withdrawal.")
    receiver = venue.accounts.setdefault(destination, Account(destination))
    account.add_cash("", -amount)
    account.withdrawals += amount
    receiver.add_cash("", amount)
    receiver.deposits += amount
    delta = {
        "type": "internalTransfer",
        "usdc": wire(amount),
        "user": account.address,
        "destination": destination,
        "fee": "0.0",
    }
    for party in (account, receiver):
        venue.record_ledger(party.address, now_ms, delta)
        venue.touch(party)


def _send_asset(venue: Venue, account: Account, message: dict[str, Any], now_ms: int) -> None:
    """Move the account's own USDC between dexes and spot."""
    source, target = message["sourceDex"], message["destinationDex"]
    amount = _amount(message)
    if message["destination"] != account.address or message["fromSubAccount"]:
        raise ActionError("sendAsset to another account is not supported by the paper exchange.")
    for place in (source, target):
        if place != "spot" and venue.universe.dex(place) is None:
            raise ActionError(f"Unknown dex {place}.")
    free = account.spot_usdc if source == "spot" else venue.margin(account, source).withdrawable
    if amount > free:
        raise ActionError("Insufficient balance for transfer.")
    for place, change in ((source, -amount), (target, amount)):
        if place == "spot":
            account.spot_usdc += change
        else:
            account.add_cash(place, change)
    delta = {
        "type": "send",
        "user": account.address,
        "destination": account.address,
        "sourceDex": source,
        "destinationDex": target,
        "token": "USDC",
        "amount": wire(amount),
        "usdcValue": wire(amount),
        "fee": wire(ZERO),
        "nativeTokenFee": wire(ZERO),
        "nonce": message["nonce"],
    }
    venue.record_ledger(account.address, now_ms, delta)
    venue.touch(account)
