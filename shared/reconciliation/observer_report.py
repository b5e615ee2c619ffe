"""The document that an observer publishes at ``/3T-observer.json``, written and read here.

::

    {"observer_id": "observer_1", "timestamp": 1700000000500, "venue_time": 1700000000450,
     "dexes": [""], "complete": true,
     "positions": {"BTC": {"size": "0.01", "entry_price": "43000.0"}}}

Times are UTC ms: ``timestamp`` when the reading was complete on the observer's clock,
``venue_time`` the venue's time of its oldest part. Sizes are signed decimal strings in coins.
Only complete readings are published, so ``complete`` is always true; a reader refuses anything
else, and everything that it does not understand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.exchange.payloads import AccountSnapshot
from shared.exchange.precision import plain

_DECIMAL = re.compile(r"-?\d{1,20}(\.\d{1,20})?")


class ReportError(ValueError):
    """The document is not a complete observer report; the message names the field."""


@dataclass(frozen=True, slots=True)
class ObservedPosition:
    """Signed size in coins and average entry in USD."""

    size: Decimal
    entry_price: Decimal


@dataclass(frozen=True, slots=True)
class ObserverReport:
    """One complete reading of the account by an observer."""

    observer_id: str
    read_ms: int
    venue_ms: int
    dexes: frozenset[str]
    positions: Mapping[str, ObservedPosition]

    @classmethod
    def of(
        cls, observer_id: str, account: AccountSnapshot, dexes: Sequence[str], read_ms: int
    ) -> ObserverReport:
        """The report of a reading of all ``dexes``."""
        return cls(
            observer_id=observer_id,
            read_ms=read_ms,
            venue_ms=account.venue_ms,
            dexes=frozenset(dexes),
            positions={
                symbol: ObservedPosition(held.size, held.entry_price)
                for symbol, held in account.positions.items()
            },
        )

    def to_json(self) -> dict[str, Any]:
        """The document as plain JSON."""
        return {
            "observer_id": self.observer_id,
            "timestamp": self.read_ms,
            "venue_time": self.venue_ms,
            "dexes": sorted(self.dexes),
            "complete": True,
            "positions": {
                symbol: {"size": plain(held.size), "entry_price": plain(held.entry_price)}
                for symbol, held in sorted(self.positions.items())
            },
        }


def parse_report(raw: object) -> ObserverReport:
    """Read a decoded document strictly; raises ``ReportError``."""
    document = _mapping(raw, "the report")
    if document.get("complete") is not True:
        raise ReportError("complete: must be true; a partial reading is no reading")
    dexes = document.get("dexes")
    if not isinstance(dexes, list) or not dexes or not all(isinstance(d, str) for d in dexes):
        raise ReportError("dexes: must be a list of at least one dex")
    observer_id = document.get("observer_id")
    if not isinstance(observer_id, str) or not observer_id:
        raise ReportError("observer_id: must be a text")
    positions = _mapping(document.get("positions"), "positions")
    return ObserverReport(
        observer_id=observer_id,
        read_ms=_time(document, "timestamp"),
        venue_ms=_time(document, "venue_time"),
        dexes=frozenset(dexes),
        positions={symbol: _position(held, symbol) for symbol, held in positions.items()},
    )


def _position(raw: object, symbol: str) -> ObservedPosition:
    held = _mapping(raw, f"positions.{symbol}")
    return ObservedPosition(
        size=_decimal(held, "size", symbol), entry_price=_decimal(held, "entry_price", symbol)
    )


def _mapping(raw: object, name: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ReportError(f"{name}: must be an object")
    return raw


def _time(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ReportError(f"{name}: must be a time in ms, is {value!r}")
    return value


def _decimal(held: Mapping[str, Any], name: str, symbol: str) -> Decimal:
    value = held.get(name)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ReportError(f"positions.{symbol}.{name}: must be a decimal string, is {value!r}")
    return Decimal(value)
