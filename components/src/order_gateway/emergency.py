"""Exits while MariaDB is down: an fsync'd journal on the gateway's own disk, imported later.

Only reduce-only orders are taken, under the same rule as always: the line that says ``sent``
is on the disk before the first byte goes out. When the database answers again, and before
anything else happens, each order is written to the journal there with its nonce, expiry and
outcome; what is still open is then settled by evidence like any other order.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import structlog

from order_gateway.errors import Conflict
from shared.exchange.precision import plain
from shared.exchange.signing import SignedAction
from shared.orders.intents import OrderRequest
from shared.orders.replies import Verdict
from shared.orders.states import OrderState

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EmergencyOrder:
    """One exit taken without the database; ``verdict`` is None while nobody knows its fate."""

    request: OrderRequest
    cloid: str
    size: Decimal
    limit_price: Decimal
    nonce: int
    expires_after_ms: int
    body_sha256: str
    sent_ms: int
    verdict: Verdict | None = None

    @property
    def outcome(self) -> Verdict:
        """What is known of it."""
        return self.verdict or Verdict(OrderState.UNKNOWN, "sent without the database, no reply")


class EmergencyJournal:
    """The file and what it holds; threads of one process share it."""

    def __init__(self, path: Path) -> None:
        """Read what a process before this one left; ``OSError`` or ``ValueError`` if it cannot."""
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._orders = _read(path)
        self._length = path.stat().st_size if path.exists() else 0

    def find(self, intent_id: str) -> EmergencyOrder | None:
        """An exit that is not imported yet."""
        with self._lock:
            return self._orders.get(intent_id)

    def waiting(self) -> list[EmergencyOrder]:
        """Exits that are not imported yet, in the order they were sent."""
        with self._lock:
            return list(self._orders.values())

    def sent(
        self,
        request: OrderRequest,
        *,
        cloid: str,
        size: Decimal,
        limit_price: Decimal,
        action: SignedAction,
        now_ms: int,
    ) -> None:
        """Put an exit on the disk; it may be sent when this returns.

        Raises ``Conflict`` for an intent that is there, ``OSError`` if the disk refuses it.
        """
        order = EmergencyOrder(
            request=request,
            cloid=cloid,
            size=size,
            limit_price=limit_price,
            nonce=action.nonce,
            expires_after_ms=action.expires_after_ms or 0,
            body_sha256=action.sha256,
            sent_ms=now_ms,
        )
        with self._lock:
            if request.intent_id in self._orders:
                raise Conflict(f"{request.intent_id} was sent without the database already")
            self._append({"kind": "sent", **_sent_line(order)})
            self._orders[request.intent_id] = order

    def concluded(self, intent_id: str, verdict: Verdict) -> None:
        """Put the outcome of an exit on the disk."""
        with self._lock:
            if intent_id not in self._orders:  # imported meanwhile: evidence settles it there
                return
            self._orders[intent_id] = dataclasses.replace(self._orders[intent_id], verdict=verdict)
            self._append({"kind": "concluded", "intent_id": intent_id, **_verdict_line(verdict)})

    def imported(self, intent_id: str, now_ms: int) -> None:
        """Forget an exit that the database has now; an empty journal is set aside.

        Raises ``OSError`` if the disk refuses that; it is forgotten here nevertheless.
        """
        with self._lock:
            del self._orders[intent_id]
            self._append({"kind": "imported", "intent_id": intent_id, "at_ms": now_ms})
            if not self._orders:
                self._path.rename(self._path.with_name(f"{self._path.name}.{now_ms}"))
                self._length = 0

    def _append(self, line: Mapping[str, Any]) -> None:
        """Add a line after the last whole one: a full disk may have taken a part of another."""
        with self._path.open("ab") as file:
            file.truncate(self._length)
            file.write(orjson.dumps(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._length = file.tell()


def _read(path: Path) -> dict[str, EmergencyOrder]:
    """Replay the file. A last line torn by a crash was never acted on: it is ignored."""
    orders: dict[str, EmergencyOrder] = {}
    if not path.exists():
        return orders
    lines = path.read_bytes().split(b"\n")
    for number, raw in enumerate(lines[:-1], start=1):
        try:
            line = orjson.loads(raw)
            match line["kind"]:
                case "sent":
                    order = _order(line)
                    orders[order.request.intent_id] = order
                case "concluded":
                    known = orders[line["intent_id"]]
                    orders[line["intent_id"]] = dataclasses.replace(known, verdict=_verdict(line))
                case _:
                    del orders[line["intent_id"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: is not an emergency record") from error
    if lines[-1]:
        log.warning("emergency_line_torn", path=str(path))
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(lines[-1]))
    return orders


def _sent_line(order: EmergencyOrder) -> dict[str, Any]:
    return {
        "request": order.request.payload(),
        "cloid": order.cloid,
        "size": plain(order.size),
        "limit_price": plain(order.limit_price),
        "nonce": order.nonce,
        "expires_after_ms": order.expires_after_ms,
        "body_sha256": order.body_sha256,
        "sent_ms": order.sent_ms,
    }


def _order(line: Mapping[str, Any]) -> EmergencyOrder:
    request = dict(line["request"])
    price = request.pop("price")
    return EmergencyOrder(
        request=OrderRequest(
            order_type=request.pop("type"),
            size=Decimal(request.pop("size")),
            price=None if price is None else Decimal(price),
            **request,
        ),
        cloid=line["cloid"],
        size=Decimal(line["size"]),
        limit_price=Decimal(line["limit_price"]),
        nonce=line["nonce"],
        expires_after_ms=line["expires_after_ms"],
        body_sha256=line["body_sha256"],
        sent_ms=line["sent_ms"],
    )


def _verdict_line(verdict: Verdict) -> dict[str, Any]:
    return {
        "state": verdict.state.value,
        "reason": verdict.reason,
        "oid": verdict.oid,
        "filled_size": plain(verdict.filled_size),
        "avg_price": None if verdict.avg_price is None else plain(verdict.avg_price),
    }


def _verdict(line: Mapping[str, Any]) -> Verdict:
    price = line["avg_price"]
    return Verdict(
        state=OrderState(line["state"]),
        reason=line["reason"],
        oid=line["oid"],
        filled_size=Decimal(line["filled_size"]),
        avg_price=None if price is None else Decimal(price),
    )
