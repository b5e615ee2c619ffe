"""Actions in typed form: what the venue understood, in the key order that is signed.

The venue deserialises an action, serialises it again and hashes that. Whatever the client signed
must therefore have this key order, decimals without trailing zeros, lower-case addresses and
cloids. `canonicalise` is that round trip; what does not fit the types is `MalformedActionError`
(HTTP 422).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paper_exchange.decimals import canonical, parse_decimal

Converter = Callable[[Any], Any]

_ADDRESS = re.compile(r"(0x)?[0-9a-fA-F]{40}\Z")
_CLOID = re.compile(r"0x[0-9a-fA-F]{32}\Z")
_U64 = 2**64


class MalformedActionError(ValueError):
    """The body does not deserialise into any action."""


class UnsupportedActionError(Exception):
    """An action of the venue that the paper exchange does not run; the message says so."""


@dataclass(frozen=True, slots=True)
class L1Action:
    """An action signed through the phantom agent; ``body`` is canonical."""

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UserSigned:
    """An action signed as readable typed data by the master key itself."""

    kind: str
    primary_type: str
    fields: tuple[tuple[str, str], ...]
    message: dict[str, Any]
    chain_id: int
    network: str
    nonce: int


def address(value: Any) -> str:
    """Lower-case ``0x`` address of a string with or without the prefix."""
    if not isinstance(value, str) or not _ADDRESS.match(value):
        raise MalformedActionError(f"not an address: {value!r}")
    return "0x" + value.lower().removeprefix("0x")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise MalformedActionError(f"not a boolean: {value!r}")
    return value


def unsigned(value: Any) -> int:
    """An unsigned 64-bit integer; booleans and floats are refused."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _U64:
        raise MalformedActionError(f"not an unsigned integer: {value!r}")
    return value


def _signed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= _U64 // 2:
        raise MalformedActionError(f"not an integer: {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedActionError(f"not a string: {value!r}")
    return value


def _decimal(value: Any) -> str:
    try:
        return canonical(parse_decimal(value))
    except ValueError as error:
        raise MalformedActionError(str(error)) from error


def cloid(value: Any) -> str:
    """Lower-case client order id: ``0x`` and 32 hex digits."""
    if not isinstance(value, str) or not _CLOID.match(value):
        raise MalformedActionError(f"not a cloid: {value!r}")
    return value.lower()


def _oid_or_cloid(value: Any) -> int | str:
    return cloid(value) if isinstance(value, str) else unsigned(value)


def _one_of(*allowed: str) -> Converter:
    def convert(value: Any) -> str:
        if value not in allowed:
            raise MalformedActionError(f"{value!r} is none of {', '.join(allowed)}")
        return str(value)

    return convert


def _list_of(item: Converter) -> Converter:
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise MalformedActionError("not a list")
        return [item(entry) for entry in value]

    return convert


def _record(*required: tuple[str, Converter], **optional: Converter) -> Converter:
    """Object with ``required`` keys, then ``optional`` ones (left out when absent or null)."""

    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise MalformedActionError("not an object")
        result: dict[str, Any] = {}
        for name, converter in required:
            if name not in value:
                raise MalformedActionError(f"missing field {name}")
            result[name] = converter(value[name])
        for name, converter in optional.items():
            if value.get(name) is not None:
                result[name] = converter(value[name])
        return result

    return convert


def _order_type(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and "limit" in value:
        return {"limit": _LIMIT(value["limit"])}
    if isinstance(value, dict) and "trigger" in value:
        return {"trigger": _TRIGGER(value["trigger"])}
    raise MalformedActionError("order type is neither limit nor trigger")


def _grouping(value: Any) -> str | dict[str, int]:
    if isinstance(value, dict) and set(value) == {"p"}:
        return {"p": unsigned(value["p"])}
    return str(_GROUPINGS(value))


_LIMIT = _record(("tif", _one_of("Gtc", "Ioc", "Alo", "FrontendMarket")))
_TRIGGER = _record(("isMarket", _boolean), ("triggerPx", _decimal), ("tpsl", _one_of("tp", "sl")))
_GROUPINGS = _one_of("na", "normalTpsl", "positionTpsl")
_ORDER = _record(
    ("a", unsigned),
    ("b", _boolean),
    ("p", _decimal),
    ("s", _decimal),
    ("r", _boolean),
    ("t", _order_type),
    c=cloid,
)
_BUILDER = _record(("b", address), ("f", unsigned))
_MODIFY = _record(("oid", _oid_or_cloid), ("order", _ORDER))

_L1_ACTIONS: dict[str, Converter] = {
    "order": _record(
        ("type", _text), ("orders", _list_of(_ORDER)), ("grouping", _grouping), builder=_BUILDER
    ),
    "cancel": _record(
        ("type", _text), ("cancels", _list_of(_record(("a", unsigned), ("o", unsigned))))
    ),
    "cancelByCloid": _record(
        ("type", _text), ("cancels", _list_of(_record(("asset", unsigned), ("cloid", cloid))))
    ),
    "modify": _record(("type", _text), ("oid", _oid_or_cloid), ("order", _ORDER)),
    "batchModify": _record(("type", _text), ("modifies", _list_of(_MODIFY))),
    "updateLeverage": _record(
        ("type", _text), ("asset", unsigned), ("isCross", _boolean), ("leverage", unsigned)
    ),
    "updateIsolatedMargin": _record(
        ("type", _text), ("asset", unsigned), ("isBuy", _boolean), ("ntli", _signed)
    ),
    "scheduleCancel": _record(("type", _text), time=unsigned),
    "setReferrer": _record(("type", _text), ("code", _text)),
    "noop": _record(("type", _text)),
    "createSubAccount": _record(("type", _text), ("name", _text)),
    "subAccountTransfer": _record(
        ("type", _text), ("subAccountUser", address), ("isDeposit", _boolean), ("usd", unsigned)
    ),
    "reserveRequestWeight": _record(("type", _text), ("weight", unsigned)),
}

_DESTINATION = ("destination", "string")
_USER_SIGNED: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "usdSend": ("UsdSend", (_DESTINATION, ("amount", "string"), ("time", "uint64"))),
    "withdraw3": ("Withdraw", (_DESTINATION, ("amount", "string"), ("time", "uint64"))),
    "usdClassTransfer": (
        "UsdClassTransfer",
        (("amount", "string"), ("toPerp", "bool"), ("nonce", "uint64")),
    ),
    "sendAsset": (
        "SendAsset",
        (
            _DESTINATION,
            ("sourceDex", "string"),
            ("destinationDex", "string"),
            ("token", "string"),
            ("amount", "string"),
            ("fromSubAccount", "string"),
            ("nonce", "uint64"),
        ),
    ),
    "approveAgent": (
        "ApproveAgent",
        (("agentAddress", "address"), ("agentName", "string"), ("nonce", "uint64")),
    ),
    "approveBuilderFee": (
        "ApproveBuilderFee",
        (("maxFeeRate", "string"), ("builder", "address"), ("nonce", "uint64")),
    ),
}
# Real actions about things that this venue does not have.
_UNSUPPORTED = (
    "agentEnableDexAbstraction",
    "agentSetAbstraction",
    "convertToMultiSigUser",
    "createVault",
    "multiSig",
    "spotSend",
    "subAccountSpotTransfer",
    "tokenDelegate",
    "twapCancel",
    "twapOrder",
    "userDexAbstraction",
    "userSetAbstraction",
    "vaultTransfer",
)
_MAX_CHAIN_ID = 2**256
_CONVERTERS: dict[str, Converter] = {
    "string": _text,
    "address": address,
    "bool": _boolean,
    "uint64": unsigned,
}
_NETWORKS = {"Mainnet": "mainnet", "Testnet": "testnet"}


def canonicalise(action: Any) -> L1Action | UserSigned:
    """Typed form of an action as received.

    Raises:
        MalformedActionError: unknown type, missing field or wrong type.
        UnsupportedActionError: a type that the paper exchange knows but does not run.
    """
    if not isinstance(action, dict) or not isinstance(action.get("type"), str):
        raise MalformedActionError("the action has no type")
    kind = action["type"]
    if kind in _L1_ACTIONS:
        return L1Action(kind, _L1_ACTIONS[kind](action))
    if kind in _USER_SIGNED:
        return _user_signed(kind, action)
    if kind in _UNSUPPORTED:
        raise UnsupportedActionError(f"{kind} is not supported by the paper exchange.")
    raise MalformedActionError(f"unknown action type {kind!r}")


def _user_signed(kind: str, action: dict[str, Any]) -> UserSigned:
    name, fields = _USER_SIGNED[kind]
    network = _NETWORKS.get(_text(action.get("hyperliquidChain")))
    if network is None:
        raise MalformedActionError("hyperliquidChain is neither Mainnet nor Testnet")
    try:
        chain_id = int(_text(action.get("signatureChainId")), 16)
    except ValueError as error:
        raise MalformedActionError("signatureChainId is not a hex number") from error
    if not 0 <= chain_id < _MAX_CHAIN_ID:
        raise MalformedActionError("signatureChainId is out of range")
    message: dict[str, Any] = {"hyperliquidChain": action["hyperliquidChain"]}
    for field, solidity_type in fields:
        value = action.get(field)
        if field == "agentName" and value is None:
            value = ""
        message[field] = _CONVERTERS[solidity_type](value)
        if field == "destination":
            message[field] = address(value)
    return UserSigned(
        kind=kind,
        primary_type=f"HyperliquidTransaction:{name}",
        fields=(("hyperliquidChain", "string"), *fields),
        message=message,
        chain_id=chain_id,
        network=network,
        nonce=int(message.get("nonce", message.get("time", 0))),
    )
