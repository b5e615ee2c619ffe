"""Money that enters or leaves the perpetual account other than by trading.

``userNonFundingLedgerUpdates`` as cash flows: deposits and withdrawals must move every baseline
that the account is measured against, or a deposit looks like profit and a withdrawal like loss.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

import structlog

from shared.exchange.decoding import (
    as_list,
    as_mapping,
    bool_field,
    decimal_field,
    int_field,
    require,
    str_field,
)
from shared.exchange.errors import DecodeError

log = structlog.get_logger(__name__)

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

    None where that is not known: an entry of another kind than those above, or one of them in
    another shape. Then nobody can tell profit from transfer.
    """

    time_ms: int
    kind: str
    usd: Decimal | None


def parse_ledger_updates(
    raw: object, wallet: str, dexes: Collection[str]
) -> tuple[LedgerUpdate, ...]:
    """Entries in the venue's order, as seen by ``wallet`` with its account on ``dexes``.

    Raises ``DecodeError`` for what is no list of entries, each with its time and kind.
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
                usd=_known_effect(kind, delta, f"{path}.delta", wallet.lower(), dexes),
            )
        )
    return tuple(updates)


def _known_effect(
    kind: str, delta: Mapping[str, object], path: str, wallet: str, dexes: Collection[str]
) -> Decimal | None:
    try:
        return _effect(kind, delta, path, wallet, dexes)
    except DecodeError as error:
        log.warning("ledger_entry_malformed", kind=kind, reason=str(error))
        return None


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
    if kind == "perpDexClassTransfer":
        return _between_classes(delta, path, dexes)
    if kind == "send":
        return _between_places(delta, path, wallet, dexes)
    return None


def _between_accounts(delta: Mapping[str, object], path: str, wallet: str) -> Decimal:
    amount = decimal_field(delta, "usdc", path)
    received = amount if str_field(delta, "destination", path).lower() == wallet else ZERO
    sent = amount + _fee(delta, path) if str_field(delta, "user", path).lower() == wallet else ZERO
    return received - sent


def _between_classes(
    delta: Mapping[str, object], path: str, dexes: Collection[str]
) -> Decimal | None:
    """A transfer of a dex's collateral from or to spot."""
    if require(delta, "dex", path) not in dexes:
        return ZERO
    if _token(delta, path) != "USDC":
        return None  # worth is what the venue says, and it says only how much
    amount = decimal_field(delta, "amount", path)
    return amount if bool_field(delta, "toPerp", path) else -amount


def _between_places(
    delta: Mapping[str, object], path: str, wallet: str, dexes: Collection[str]
) -> Decimal | None:
    """A send between dexes or spot, of the wallet itself or another.

    The collateral of the venue's own dex is USDC alone; a builder's dex may take another token.
    """
    came = _is_at(delta, path, "destination", wallet, dexes)
    went = _is_at(delta, path, "user", wallet, dexes)
    if _token(delta, path) != "USDC":
        return None if came or went else ZERO
    amount = decimal_field(delta, "amount", path)
    return (amount if came else ZERO) - (amount + _fee(delta, path) if went else ZERO)


def _is_at(
    delta: Mapping[str, object], path: str, end: str, wallet: str, dexes: Collection[str]
) -> bool:
    """Whether one end of a send (``user`` or ``destination``) is the wallet's perpetual account."""
    place = require(delta, "sourceDex" if end == "user" else "destinationDex", path)
    return str_field(delta, end, path).lower() == wallet and place in dexes


def _token(delta: Mapping[str, object], path: str) -> str:
    return str_field(delta, "token", path).partition(":")[0]


def _fee(delta: Mapping[str, object], path: str) -> Decimal:
    """The fee in USDC; one in another token is paid from spot."""
    token = delta.get("feeToken") or "USDC"
    paid_here = "fee" in delta and str(token).partition(":")[0] == "USDC"
    return decimal_field(delta, "fee", path) if paid_here else ZERO
