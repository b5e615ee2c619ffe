"""Who may do what: signature, agent, nonce and expiry of a request to ``/exchange``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paper_exchange.canonical import (
    L1Action,
    MalformedActionError,
    UserSigned,
    address,
    canonicalise,
    unsigned,
)
from paper_exchange.ledger import Account
from paper_exchange.limits import EXPIRED_COST
from paper_exchange.nonces import NonceError, NonceSet
from paper_exchange.placement import ActionError
from paper_exchange.signatures import (
    MAINNET,
    TESTNET,
    SignatureError,
    connection_id,
    l1_digest,
    recover,
    user_signed_digest,
)
from paper_exchange.state import Venue

ANY_NETWORK = "any"
NETWORKS = (ANY_NETWORK, MAINNET, TESTNET)
EXPIRED = "Action already expired"


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed body of ``/exchange``."""

    action: L1Action | UserSigned
    nonce: int
    signature: Any
    vault_address: str | None
    expires_after_ms: int | None


def parse_request(body: Any) -> Request:
    """Typed form of a request body.

    Raises:
        MalformedActionError: HTTP 422.
    """
    if not isinstance(body, dict):
        raise MalformedActionError("the body is not an object")
    vault, expires = body.get("vaultAddress"), body.get("expiresAfter")
    return Request(
        action=canonicalise(body.get("action")),
        nonce=unsigned(body.get("nonce")),
        signature=body.get("signature"),
        vault_address=None if vault is None else address(vault),
        expires_after_ms=None if expires is None else unsigned(expires),
    )


def signer_of(venue: Venue, request: Request, network: str, now_ms: int) -> tuple[str, Account]:
    """Recovered address and the account it acts for.

    With ``network`` ``any`` both signing networks are tried: ccxt signs as mainnet, the SDK
    against a local address as testnet.

    Raises:
        ActionError: no such user or agent.
    """
    try:
        if isinstance(request.action, UserSigned):
            return _user_signer(venue, request.action, request.signature, network)
        networks = (MAINNET, TESTNET) if network == ANY_NETWORK else (network,)
        action_hash = connection_id(
            request.action.body, request.nonce, request.vault_address, request.expires_after_ms
        )
        recovered = [recover(l1_digest(action_hash, n), request.signature) for n in networks]
    except SignatureError as error:
        raise ActionError("Unable to recover signer.") from error
    for signer in recovered:
        account = venue.master_of(signer, now_ms)
        if account is not None:
            return signer, account
    raise ActionError(f"User or API Wallet {recovered[0]} does not exist.")


def _user_signer(
    venue: Venue, action: UserSigned, signature: Any, network: str
) -> tuple[str, Account]:
    signer = recover(user_signed_digest(action), signature)
    account = venue.accounts.get(signer)
    if network not in (ANY_NETWORK, action.network):
        raise ActionError(f"User or API Wallet {signer} does not exist.")
    if account is None:
        raise ActionError(f"Must deposit before performing actions. User: {signer}")
    return signer, account


def authorise(venue: Venue, request: Request, network: str, now_ms: int) -> Account:
    """The account of an acceptable request; its nonce is used up by this call.

    Raises:
        ActionError: bad signature, expired, nonce refused, vault not supported.
    """
    signer, account = signer_of(venue, request, network, now_ms)
    if isinstance(request.action, UserSigned) and request.action.nonce != request.nonce:
        raise ActionError(f"Invalid nonce: {request.nonce} is not the nonce that was signed")
    if request.vault_address is not None:
        raise ActionError("Vault and sub-account trading is not supported by the paper exchange.")
    if request.expires_after_ms is not None and now_ms > request.expires_after_ms:
        account.requests_used += EXPIRED_COST
        venue.touch(account)
        raise ActionError(EXPIRED)
    nonces = venue.nonces.setdefault(signer, NonceSet())
    try:
        nonces.check(request.nonce, now_ms)
    except NonceError as error:
        raise ActionError(str(error)) from error
    venue.changes.nonces.append((signer, request.nonce, nonces.add(request.nonce)))
    return account
