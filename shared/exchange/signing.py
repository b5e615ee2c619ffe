"""Actions that HyperLiquid accepts, and their signature.

Orders, cancels, leverage changes and the dead man's switch are "L1 actions": the MessagePack
bytes of the action, its nonce and its expiry are hashed and signed as EIP-712 data by the
official SDK's signing module. The bytes are canonical: keys in the venue's order, decimals
without trailing zeros, lower-case cloids; otherwise the venue recovers a foreign address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.exceptions import ValidationError
from hyperliquid.utils.signing import sign_l1_action
from pydantic import SecretStr

from shared.exchange.precision import Tif, to_wire

Action = dict[str, Any]
WORD_HEX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class SignedAction:
    """The body of one ``POST /exchange``, ready to send, and what the journal keeps of it."""

    payload: Mapping[str, Any]
    nonce: int
    expires_after_ms: int | None
    sha256: str


def order_action(
    *,
    asset: int,
    is_buy: bool,
    price: Decimal,
    size: Decimal,
    reduce_only: bool,
    tif: Tif,
    cloid: str,
) -> Action:
    """Place one limit order; ``price`` and ``size`` already obey the market's filters."""
    wire = {
        "a": asset,
        "b": is_buy,
        "p": to_wire(price),
        "s": to_wire(size),
        "r": reduce_only,
        "t": {"limit": {"tif": tif}},
        "c": cloid,
    }
    return {"type": "order", "orders": [wire], "grouping": "na"}


def cancel_by_cloid_action(asset: int, cloid: str) -> Action:
    """Cancel one order by our client order id."""
    return {"type": "cancelByCloid", "cancels": [{"asset": asset, "cloid": cloid}]}


def update_leverage_action(asset: int, leverage: int, *, is_cross: bool) -> Action:
    """Set leverage (a whole number, 1 to the market's maximum) and margin mode of one market."""
    return {
        "type": "updateLeverage",
        "asset": asset,
        "isCross": is_cross,
        "leverage": leverage,
    }


def schedule_cancel_action(at_ms: int | None) -> Action:
    """Cancel all resting orders at ``at_ms`` (UTC, at least 5 s ahead); None calls that off."""
    action: Action = {"type": "scheduleCancel"}
    if at_ms is not None:
        action["time"] = at_ms
    return action


@dataclass(frozen=True, slots=True)
class ActionSigner:
    """Signs L1 actions with one agent key.

    ``mainnet`` chooses the signing network. ``vault`` is the sub-account or vault traded for.
    The key never appears in ``repr``.
    """

    account: LocalAccount = field(repr=False)
    mainnet: bool
    vault: str | None = None

    @classmethod
    def from_key(
        cls, private_key: SecretStr, *, mainnet: bool, vault: str | None = None
    ) -> ActionSigner:
        """Build from 0x and 64 hex digits; a malformed key is a ``ValueError`` without the key."""
        try:
            account: LocalAccount = Account.from_key(private_key.get_secret_value())
        except (ValueError, TypeError, ValidationError) as error:  # its text may quote the key
            raise ValueError(
                "exchanges.hyperliquid.privateKey is not a private key; "
                f"it is 0x and 64 hex digits ({type(error).__name__})"
            ) from None
        return cls(account=account, mainnet=mainnet, vault=vault)

    @property
    def address(self) -> str:
        """Address of the key that signs, in lower case."""
        return str(self.account.address).lower()

    def sign(
        self, action: Action, *, nonce: int, expires_after_ms: int | None = None
    ) -> SignedAction:
        """Sign ``action``; the venue refuses it once its time is past ``expires_after_ms``."""
        raw = sign_l1_action(
            self.account, action, self.vault, nonce, expires_after_ms, self.mainnet
        )
        payload = {
            "action": action,
            "nonce": nonce,
            "signature": {"r": _padded(raw["r"]), "s": _padded(raw["s"]), "v": raw["v"]},
            "vaultAddress": self.vault,
            "expiresAfter": expires_after_ms,
        }
        digest = hashlib.sha256(orjson.dumps(payload)).hexdigest()
        return SignedAction(payload, nonce, expires_after_ms, digest)


def _padded(word: str) -> str:
    """The SDK drops leading zeros of ``r`` and ``s``; a full word is accepted everywhere."""
    return "0x" + word.removeprefix("0x").zfill(WORD_HEX_DIGITS)
