"""Fields of decoded JSON, read strictly: what is missing or malformed is a ``DecodeError``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from shared.exchange.errors import DecodeError

_DECIMAL = re.compile(r"-?\d+(\.\d+)?([eE]-?\d+)?")


def as_mapping(raw: object, path: str) -> Mapping[str, object]:
    """``raw`` as a JSON object."""
    if not isinstance(raw, Mapping):
        raise DecodeError(path, f"expected an object, got {type(raw).__name__}")
    return raw


def as_list(raw: object, path: str) -> list[object]:
    """``raw`` as a JSON array."""
    if not isinstance(raw, list):
        raise DecodeError(path, f"expected an array, got {type(raw).__name__}")
    return raw


def require(raw: Mapping[str, object], key: str, path: str) -> object:
    """The value under ``key``, which must be there."""
    if key not in raw:
        raise DecodeError(f"{path}.{key}", "missing")
    return raw[key]


def decimal_field(raw: Mapping[str, object], key: str, path: str) -> Decimal:
    """A number that the venue sends as a string; NaN and infinities are refused."""
    value = require(raw, key, path)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise DecodeError(f"{path}.{key}", f"expected a decimal string, got {value!r}")
    return Decimal(value)


def optional_decimal(raw: Mapping[str, object], key: str, path: str) -> Decimal | None:
    """A decimal string or an explicit null; the key itself must be there."""
    if require(raw, key, path) is None:
        return None
    return decimal_field(raw, key, path)


def positive_decimal(raw: Mapping[str, object], key: str, path: str) -> Decimal:
    """A decimal string greater than zero: prices and executed sizes."""
    value = decimal_field(raw, key, path)
    if value <= 0:
        raise DecodeError(f"{path}.{key}", f"expected a number above 0, got {value}")
    return value


def int_field(raw: Mapping[str, object], key: str, path: str) -> int:
    """An integer of zero or more: times, identifiers, counts."""
    value = require(raw, key, path)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DecodeError(f"{path}.{key}", f"expected an integer of 0 or more, got {value!r}")
    return value


def str_field(raw: Mapping[str, object], key: str, path: str) -> str:
    """A text that is not empty."""
    value = require(raw, key, path)
    if not isinstance(value, str) or not value:
        raise DecodeError(f"{path}.{key}", f"expected a text, got {value!r}")
    return value


def bool_field(raw: Mapping[str, object], key: str, path: str) -> bool:
    value = require(raw, key, path)
    if not isinstance(value, bool):
        raise DecodeError(f"{path}.{key}", f"expected true or false, got {value!r}")
    return value


def flag(raw: Mapping[str, object], key: str, path: str) -> bool:
    """A marker that the venue leaves out when it is false."""
    return key in raw and bool_field(raw, key, path)
