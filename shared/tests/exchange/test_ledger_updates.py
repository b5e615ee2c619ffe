"""What an entry of the venue's ledger adds to the perpetual account."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shared.exchange.errors import DecodeError
from shared.exchange.ledger_updates import parse_ledger_updates

ME, OTHER = "0x" + "aB" * 20, "0x" + "cd" * 20


def effect(delta: dict[str, Any]) -> Decimal | None:
    (update,) = parse_ledger_updates([{"time": 5, "hash": "0x0", "delta": delta}], ME, ("", "xyz"))
    assert update.time_ms == 5
    return update.usd


@pytest.mark.parametrize(
    ("delta", "usd"),
    [
        ({"type": "deposit", "usdc": "100.5"}, "100.5"),
        ({"type": "withdraw", "usdc": "50.0", "nonce": 1, "fee": "1.0"}, "-51.0"),
        ({"type": "accountClassTransfer", "usdc": "7.0", "toPerp": True}, "7.0"),
        ({"type": "accountClassTransfer", "usdc": "7.0", "toPerp": False}, "-7.0"),
        ({"type": "vaultDeposit", "vault": OTHER, "usdc": "3.0"}, "-3.0"),
        ({"type": "vaultCreate", "vault": OTHER, "usdc": "100.0", "fee": "10.0"}, "-110.0"),
        ({"type": "vaultWithdraw", "vault": OTHER, "netWithdrawnUsd": "3.5"}, "3.5"),
        ({"type": "liquidation", "liquidatedNtlPos": "1.0"}, "0"),
        ({"type": "spotTransfer", "token": "PURR", "amount": "1.0"}, "0"),
        ({"type": "somethingNew", "usdc": "1.0"}, None),
        ({"type": "rewardsClaim", "amount": "1.0", "token": "USDC"}, None),
        ({"type": "borrowLend", "token": "USDC", "operation": "supply", "amount": "1.0"}, None),
        ({"type": "deposit"}, None),  # a kind that is known, in a shape that is not
        ({"type": "deposit", "usdc": "NaN"}, None),
    ],
)
def test_kinds(delta: dict[str, Any], usd: str | None) -> None:
    assert effect(delta) == (None if usd is None else Decimal(usd))


@pytest.mark.parametrize("kind", ["internalTransfer", "subAccountTransfer"])
@pytest.mark.parametrize(
    ("user", "destination", "usd"),
    [(ME, OTHER, "-11"), (OTHER, ME.lower(), "10"), (ME, ME, "-1"), (OTHER, OTHER, "0")],
)
def test_transfers_between_accounts(kind: str, user: str, destination: str, usd: str) -> None:
    delta = {"type": kind, "usdc": "10.0", "user": user, "destination": destination, "fee": "1.0"}
    assert effect(delta) == Decimal(usd)


@pytest.mark.parametrize(
    ("source", "target", "usd"),
    [("", "xyz", "0"), ("", "spot", "-10"), ("spot", "xyz", "10"), ("other", "spot", "0")],
)
def test_sends_between_dexes_and_spot(source: str, target: str, usd: str) -> None:
    delta = {
        "type": "send", "user": ME, "destination": ME, "sourceDex": source,
        "destinationDex": target, "token": "USDC", "amount": "10.0", "fee": "0.0",
    }  # fmt: skip
    assert effect(delta) == Decimal(usd)
    assert effect({**delta, "token": "HYPE"}) == (None if {source, target} & {"", "xyz"} else 0)
    assert effect({**delta, "token": "HYPE", "sourceDex": "spot", "destinationDex": "spot"}) == 0
    assert effect({**delta, "fee": "1.0", "feeToken": "HYPE"}) == Decimal(usd)


@pytest.mark.parametrize(
    ("dex", "token", "usd"),
    [("xyz", "USDC", "10"), ("xyz", "USDH", None), ("other", "USDC", "0"), ("other", "USDH", "0")],
)
def test_transfers_between_a_dex_and_spot(dex: str, token: str, usd: str | None) -> None:
    delta = {
        "type": "perpDexClassTransfer", "dex": dex, "token": token, "amount": "10.0",
        "toPerp": True,
    }  # fmt: skip
    expected = None if usd is None else Decimal(usd)
    assert effect(delta) == expected
    assert effect({**delta, "toPerp": False}) == (None if expected is None else -expected)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [1],
        [{"time": 5}],
        [{"time": 5, "delta": {"usdc": "1.0"}}],
        [{"time": "5", "delta": {"type": "deposit", "usdc": "1.0"}}],
        [{"time": 5, "delta": {"type": 7, "usdc": "1.0"}}],
    ],
)
def test_anything_else_is_refused(raw: object) -> None:
    with pytest.raises(DecodeError):
        parse_ledger_updates(raw, ME, ("",))
