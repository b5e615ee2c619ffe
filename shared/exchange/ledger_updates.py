"""Money that enters or leaves the perpetual account other than by trading.

``userNonFundingLedgerUpdates`` as cash flows: deposits and withdrawals must move every baseline
that the account is measured against, or a deposit looks like profit and a withdrawal like loss.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.exchange.decoding import (
    as_list,
    as_mapping,
    bool_field,
    decimal_field,
    int_field,
    require,
    str_field,
)

ZERO = Decimal(0)

_WITHOUT_EFFECT = frozenset(
    {
        "liquidation",  # a loss by trading
        "spotTransfer",
        "spotGenesis",
        "deployGasAuction",
        "accountActivationGas",
        "cStakingTransfer",
    }
)
_INTO_THE_ACCOUNT = frozenset({"deposit", "vaultDistribution", "vaultLeaderCommission"})
_OUT_OF_THE_ACCOUNT = frozenset({"vaultDeposit", "vaultCreate", "withdraw"})


@dataclass(frozen=True, slots=True)
class LedgerUpdate:
    """One entry; ``usd`` is what it added to the perpetual account (negative: took from it).

    None where the kind of entry is not known here: then nobody can tell profit from transfer.
    """

    time_ms: int
    kind: str
    usd: Decimal | None


def parse_ledger_updates(
    raw: object, wallet: str, dexes: Collection[str]
) -> tuple[LedgerUpdate, ...]:
    """Entries in the venue's order, as seen by ``wallet`` with its account on ``dexes``.

    Raises ``DecodeError`` for an entry of a known kind that lacks what that kind has.
    """
    updates = []
    for number, entry in enumerate(as_list(raw, "ledger")):
        path = f"ledger[{number}]"
        update = as_mapping(entry, path)
        delta = as_mapping(require(update, "delta", path), f"{path}.delta")
        kind = str_field(delta, "type", f"{path}.delta")
        updates.append(
            LedgerUpdate(
                time_ms=int_field(update, "time", path),
                kind=kind,
                usd=_effect(kind, delta, f"{path}.delta", wallet.lower(), dexes),
            )
        )
    return tuple(updates)


def _effect(
    kind: str, delta: Mapping[str, object], path: str, wallet: str, dexes: Collection[str]
) -> Decimal | None:
    if kind in _WITHOUT_EFFECT:
        return ZERO
    if kind in _INTO_THE_ACCOUNT:
        return decimal_field(delta, "usdc", path)
    if kind in _OUT_OF_THE_ACCOUNT:
        return -decimal_field(delta, "usdc", path) - _fee(delta, path)
    if kind == "vaultWithdraw":
        return decimal_field(delta, "netWithdrawnUsd", path)
    if kind == "accountClassTransfer":
        amount = decimal_field(delta, "usdc", path)
        return amount if bool_field(delta, "toPerp", path) else -amount
    if kind in ("internalTransfer", "subAccountTransfer"):
        return _between_accounts(delta, path, wallet)
    if kind == "send":
        return _between_places(delta, path, wallet, dexes)
    return None


def _between_accounts(delta: Mapping[str, object], path: str, wallet: str) -> Decimal:
    amount = decimal_field(delta, "usdc", path)
    received = amount if str_field(delta, "destination", path).lower() == wallet else ZERO
    sent = amount + _fee(delta, path) if str_field(delta, "user", path).lower() == wallet else ZERO
    return received - sent


def _between_places(
    delta: Mapping[str, object], path: str, wallet: str, dexes: Collection[str]
) -> Decimal:
    """A send between dexes or spot, of the wallet itself or another; only USDC is collateral."""
    if str_field(delta, "token", path).partition(":")[0] != "USDC":
        return ZERO
    amount = decimal_field(delta, "amount", path)
    change = ZERO
    if (
        str_field(delta, "destination", path).lower() == wallet
        and require(delta, "destinationDex", path) in dexes
    ):
        change += amount
    if (
        str_field(delta, "user", path).lower() == wallet
        and require(delta, "sourceDex", path) in dexes
    ):
        change -= amount + _fee(delta, path)
    return change


def _fee(delta: Mapping[str, object], path: str) -> Decimal:
    """The fee in USDC; one in another token is paid from spot."""
    token = delta.get("feeToken") or "USDC"
    paid_here = "fee" in delta and str(token).partition(":")[0] == "USDC"
    return decimal_field(delta, "fee", path) if paid_here else ZERO
