"""Who signed: hashes of actions and recovery of the signer's address.

EIP-712 is done by hand: the venue's types are flat and use four kinds of field only. The general
encoders would cost more to import than the rest of the venue together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
from coincurve import PublicKey
from eth_hash.auto import keccak

from paper_exchange.canonical import UserSigned

MAINNET, TESTNET = "mainnet", "testnet"
_SOURCES = {MAINNET: b"a", TESTNET: b"b"}


class SignatureError(ValueError):
    """A signature from which no signer can be recovered."""


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_L1_DOMAIN = keccak(
    keccak(_DOMAIN_TYPE) + keccak(b"Exchange") + keccak(b"1") + _word(1337) + _word(0)
)
_USER_DOMAIN_NAME = keccak(b"HyperliquidSignTransaction") + keccak(b"1")
_WORDS: dict[str, Callable[[Any], bytes]] = {
    "string": lambda text: keccak(text.encode()),
    "address": lambda text: _word(int(text, 16)),
    "bool": _word,
    "uint64": _word,
}
_AGENT_TYPE = keccak(b"Agent(string source,bytes32 connectionId)")
_AGENT_HEADS = {network: _AGENT_TYPE + keccak(source) for network, source in _SOURCES.items()}


def connection_id(
    action: dict[str, Any], nonce: int, vault_address: str | None, expires_after_ms: int | None
) -> bytes:
    """Keccak hash of the canonical action, nonce, vault and expiry (32 bytes)."""
    data: bytes = msgpack.packb(action) + nonce.to_bytes(8, "big")
    if vault_address is None:
        data += b"\x00"
    else:
        data += b"\x01" + bytes.fromhex(vault_address.removeprefix("0x"))
    if expires_after_ms is not None:
        data += b"\x00" + expires_after_ms.to_bytes(8, "big")
    return keccak(data)


def l1_digest(action_hash: bytes, network: str) -> bytes:
    """EIP-712 digest of the phantom agent for ``mainnet`` or ``testnet``."""
    return keccak(b"\x19\x01" + _L1_DOMAIN + keccak(_AGENT_HEADS[network] + action_hash))


def user_signed_digest(signed: UserSigned) -> bytes:
    """EIP-712 digest of a user-signed action."""
    members = ",".join(f"{solidity_type} {name}" for name, solidity_type in signed.fields)
    struct = keccak(f"{signed.primary_type}({members})".encode())
    for name, solidity_type in signed.fields:
        struct += _WORDS[solidity_type](signed.message[name])
    domain = keccak(_DOMAIN_TYPE) + _USER_DOMAIN_NAME + _word(signed.chain_id) + _word(0)
    return keccak(b"\x19\x01" + keccak(domain) + keccak(struct))


def recover(digest: bytes, signature: object) -> str:
    """Lower-case address that produced ``signature`` ({"r", "s", "v"}) over ``digest``.

    Leading zeros of r and s may be missing.

    Raises:
        SignatureError: if the numbers are malformed or no key fits.
    """
    if not isinstance(signature, dict):
        raise SignatureError("signature is not an object")
    try:
        r, s, v = int(signature["r"], 16), int(signature["s"], 16), signature["v"]
        packed = _word(r) + _word(s) + bytes([v - 27])
        public = PublicKey.from_signature_and_message(packed, digest, hasher=None)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SignatureError("no signer fits the signature") from error
    return "0x" + keccak(public.format(compressed=False)[1:])[-20:].hex()
