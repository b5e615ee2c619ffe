"""Faults on request: what can go wrong between a client and the venue, seeded and counted."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from paper_exchange.decimals import parse_decimal

BEFORE, AFTER = "before", "after"
HTTP_STATUSES = (422, 429, 500, 502, 503, 504)


class FaultError(ValueError):
    """A fault that cannot be set; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault and its parameters with their defaults."""

    meaning: str
    params: dict[str, Any]


KINDS: dict[str, Kind] = {
    "delay": Kind("wait before (or after) the request is processed", {"ms": 1000, "when": BEFORE}),
    "http": Kind("answer with an HTTP error", {"status": 500, "when": BEFORE}),
    "reset": Kind("reset the connection", {"when": BEFORE}),
    "drop_reply": Kind("process the request, never answer", {"hold_ms": 30_000}),
    "ws_cut": Kind("cut every WebSocket now, or (matched, counted) instead of an event", {}),
    "ws_silence": Kind("send no event on WebSockets", {}),
    "ws_duplicate": Kind("send WebSocket events twice", {}),
    "ws_reorder": Kind("send a WebSocket event after the next one", {}),
    "freeze": Kind("prices stand still while set, or for count steps", {"coins": None}),
    "stale": Kind("repeat the first matching /info reply or WebSocket snapshot", {}),
    "late_order_status": Kind("orderStatus knows orders only after a while", {"ms": 2_000}),
    "partial_fill": Kind("takers get only a fraction of their size", {"fraction": "0.5"}),
    "clock_skew": Kind("the venue's clock is off, for all or for matched requests", {"ms": 5_000}),
}
MAX_MS = 86_400_000
MAX_REMEMBERED = 1_000


@dataclass(slots=True)
class Fault:
    """One fault in force. ``left`` counts down to zero (None: until it is deleted)."""

    fault_id: int
    kind: str
    path: str | None
    request_type: str | None
    probability: float
    left: int | None
    params: dict[str, Any]
    hits: int = 0
    memory: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_standing(self) -> bool:
        """True if it holds for everything until it is deleted."""
        matches_all = self.path is None and self.request_type is None
        return matches_all and self.probability == 1 and self.left is None

    def payload(self) -> dict[str, Any]:
        return {
            "id": self.fault_id,
            "kind": self.kind,
            "match": {"path": self.path, "type": self.request_type},
            "probability": self.probability,
            "left": self.left,
            "params": self.params,
            "hits": self.hits,
        }


def parse_fault(fault_id: int, raw: Any) -> Fault:
    """A fault of ``{"kind", "match"?: {"path", "type"}, "probability"|"count"?, "params"?}``.

    Raises:
        FaultError: naming the field.
    """
    kind = raw.get("kind") if isinstance(raw, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise FaultError(f"kind must be one of {', '.join(KINDS)}")
    _known_keys("fault", raw, ("kind", "match", "probability", "count", "params"))
    match, given = raw.get("match") or {}, raw.get("params") or {}
    known = KINDS[kind].params
    if not isinstance(match, dict) or not isinstance(given, dict):
        raise FaultError("match and params must be objects")
    _known_keys("match", match, ("path", "type"))
    unknown = set(given) - set(known)
    if unknown:
        raise FaultError(f"{kind}: unknown params {sorted(unknown)}; known are {sorted(known)}")
    params = known | given
    _check_params(kind, params)
    probability = raw.get("probability", 1.0)
    count = raw.get("count")
    if (
        not isinstance(probability, int | float)
        or isinstance(probability, bool)
        or not 0 < probability <= 1
    ):
        raise FaultError("probability must be above 0 and at most 1")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise FaultError("count must be a whole number of at least 1")
    return Fault(
        fault_id, kind, match.get("path"), match.get("type"), float(probability), count, params
    )


def _known_keys(where: str, raw: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise FaultError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")


def _check_params(kind: str, params: dict[str, Any]) -> None:
    for name in ("ms", "hold_ms"):
        value = params.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_MS:
            raise FaultError(f"{kind}: {name} must be whole milliseconds, at most a day")
        if value < 0 and kind != "clock_skew":
            raise FaultError(f"{kind}: {name} must not be negative")
    if params.get("when", BEFORE) not in (BEFORE, AFTER):
        raise FaultError(f"{kind}: when must be {BEFORE} or {AFTER}")
    if kind == "http" and params["status"] not in HTTP_STATUSES:
        raise FaultError(f"http: status must be one of {HTTP_STATUSES}")
    if kind == "partial_fill":
        try:
            fraction = parse_decimal(params["fraction"])
        except ValueError as error:
            raise FaultError("partial_fill: fraction must be a decimal string") from error
        if not 0 <= fraction <= 1:
            raise FaultError("partial_fill: fraction must be 0 to 1")
    if kind == "freeze" and not isinstance(params["coins"], list | None):
        raise FaultError("freeze: coins must be a list or null")


class FaultBox:
    """The faults in force, drawn from a seeded random number generator."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 (reproducible faults, not secrets)
        self._next_id = 1
        self.faults: dict[int, Fault] = {}

    def add(self, raw: Any) -> Fault:
        """Set a fault.

        Raises:
            FaultError: malformed.
        """
        fault = parse_fault(self._next_id, raw)
        self._next_id += 1
        self.faults[fault.fault_id] = fault
        return fault

    def clear(self, fault_id: int | None = None) -> None:
        """Lift one fault, or all."""
        if fault_id is None:
            self.faults.clear()
        else:
            self.faults.pop(fault_id, None)

    def draw(
        self, kind: str, path: str, request_type: object, when: str | None = None
    ) -> Fault | None:
        """The fault of a kind that strikes this request, if any; counts the hit.

        ``when`` restricts it to faults set for that moment.
        """
        for fault in self.faults.values():
            if fault.kind != kind or fault.left == 0:
                continue
            if when is not None and fault.params["when"] != when:
                continue
            if fault.path not in (None, path) or fault.request_type not in (None, request_type):
                continue
            if self._strikes(fault):
                return fault
        return None

    def _strikes(self, fault: Fault) -> bool:
        """Draw one fault by its count and probability; counts the hit."""
        if fault.left == 0:
            return False
        if fault.probability < 1 and self._rng.random() >= fault.probability:
            return False
        fault.hits += 1
        if fault.left is not None:
            fault.left -= 1
        return True

    def first(self, kind: str) -> Fault | None:
        """The oldest fault of a kind that still has hits left."""
        return next((f for f in self.faults.values() if f.kind == kind and f.left != 0), None)

    def frozen_coins(self, coins: list[str]) -> set[str]:
        """Coins whose prices stand still in this price step."""
        frozen: set[str] = set()
        for fault in self.faults.values():
            if fault.kind == "freeze" and self._strikes(fault):
                frozen |= set(coins if fault.params["coins"] is None else fault.params["coins"])
        return frozen & set(coins)

    def standing_skew_ms(self) -> int:
        """How far the venue's clock is off for everybody."""
        skews = [f for f in self.faults.values() if f.kind == "clock_skew" and f.is_standing]
        return int(skews[0].params["ms"]) if skews else 0

    def passing_skew_ms(self, path: str, request_type: object) -> int:
        """How much further it is off for this request."""
        fault = self.draw("clock_skew", path, request_type)
        return 0 if fault is None or fault.is_standing else int(fault.params["ms"])

    def stale(self, path: str, request_type: object, key: str, fresh: bytes) -> bytes:
        """``fresh``, or what the same question got when the fault struck first."""
        fault = self.draw("stale", path, request_type)
        if fault is None or (key not in fault.memory and len(fault.memory) >= MAX_REMEMBERED):
            return fresh
        return fault.memory.setdefault(key, fresh)

    def fill_fraction(self, request_type: object) -> Decimal | None:
        """Fraction that takers get of this action, None for all."""
        fault = self.draw("partial_fill", "/exchange", request_type)
        return None if fault is None else Decimal(fault.params["fraction"])
