"""Rows of the state file: accounts, orders and fills as JSON and back."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import orjson

from paper_exchange.ledger import Account, Agent, Position
from paper_exchange.orders import Fill, Order, Trigger

POSITION_MONEY = tuple(
    f.name for f in fields(Position) if f.name not in ("coin", "leverage", "is_cross")
)
ACCOUNT_MONEY = (
    "spot_usdc",
    "deposits",
    "withdrawals",
    "realised",
    "fees",
    "funding",
    "volume",
)
ACCOUNT_PLAIN = (
    "builder_fees",
    "requests_used",
    "last_overflow_ms",
    "cancel_all_at_ms",
    "cooldown_until_ms",
)
ORDER_MONEY = ("limit_px", "size", "orig_size")
ORDER_PLAIN = tuple(f.name for f in fields(Order) if f.name not in (*ORDER_MONEY, "trigger"))
FILL_MONEY = ("px", "size", "start_position", "closed_pnl", "fee", "builder_fee")
FILL_PLAIN = tuple(f.name for f in fields(Fill) if f.name not in FILL_MONEY)


def dump_account(account: Account) -> bytes:
    body: dict[str, Any] = {name: str(getattr(account, name)) for name in ACCOUNT_MONEY}
    body |= {name: getattr(account, name) for name in ACCOUNT_PLAIN}
    body["cash"] = {dex: str(amount) for dex, amount in account.cash.items()}
    body["daily_volume"] = {str(day): str(v) for day, v in account.daily_volume.items()}
    body["agents"] = [[a.address, a.name, a.valid_until_ms] for a in account.agents.values()]
    body["cancel_triggers"] = list(account.cancel_triggers)
    body["positions"] = [
        {name: str(getattr(p, name)) for name in POSITION_MONEY}
        | {"coin": p.coin, "leverage": p.leverage, "is_cross": p.is_cross}
        for p in account.positions.values()
    ]
    return orjson.dumps(body)


def load_account(address: str, raw: bytes) -> Account:
    body = orjson.loads(raw)
    account = Account(address)
    for name in ACCOUNT_MONEY:
        setattr(account, name, Decimal(body[name]))
    for name in ACCOUNT_PLAIN:
        setattr(account, name, body[name])
    account.cash = {dex: Decimal(amount) for dex, amount in body["cash"].items()}
    account.daily_volume = {int(day): Decimal(v) for day, v in body["daily_volume"].items()}
    account.agents = {a[0]: Agent(*a) for a in body["agents"]}
    account.cancel_triggers = (body["cancel_triggers"][0], body["cancel_triggers"][1])
    for entry in body["positions"]:
        position = Position(entry["coin"], leverage=entry["leverage"], is_cross=entry["is_cross"])
        for name in POSITION_MONEY:
            setattr(position, name, Decimal(entry[name]))
        account.positions[position.coin] = position
    return account


def dump_order(order: Order) -> bytes:
    body: dict[str, Any] = {name: getattr(order, name) for name in ORDER_PLAIN}
    body |= {name: str(getattr(order, name)) for name in ORDER_MONEY}
    trigger = order.trigger
    body["trigger"] = [str(trigger.px), trigger.is_market, trigger.kind] if trigger else None
    return orjson.dumps(body)


def load_order(raw: bytes) -> Order:
    body = orjson.loads(raw)
    for name in ORDER_MONEY:
        body[name] = Decimal(body[name])
    if body["trigger"] is not None:
        px, is_market, kind = body["trigger"]
        body["trigger"] = Trigger(Decimal(px), is_market, kind)
    return Order(**body)


def dump_fill(fill: Fill) -> bytes:
    body: dict[str, Any] = {name: getattr(fill, name) for name in FILL_PLAIN}
    return orjson.dumps(body | {name: str(getattr(fill, name)) for name in FILL_MONEY})


def load_fill(raw: bytes) -> Fill:
    body = orjson.loads(raw)
    for name in FILL_MONEY:
        body[name] = Decimal(body[name])
    return Fill(**body)
