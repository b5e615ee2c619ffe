"""The paper exchange's admin routes, as chaos uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
import requests
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

UNREACHABLE = (SQLAlchemyError, requests.RequestException, redis.RedisError, OperationalError)
"""What is raised while venue, MariaDB or Redis are among those that were killed."""
_TIMEOUT_SECS = 30


@dataclass(frozen=True, slots=True)
class VenueAdmin:
    """Faults and the ledger of the paper exchange."""

    url: str
    token: str

    def ledger(self) -> dict[str, Any]:
        """Every order and fill there ever was."""
        found: dict[str, Any] = self._call("GET", "ledger")
        return found

    def strike(self, fault: Mapping[str, Any]) -> int:
        """Put a fault in force; returns its id."""
        return int(self._call("POST", "faults", fault)["id"])

    def hits(self, fault_id: int) -> int:
        """How often a fault has struck; 0 once it is gone."""
        faults = self._call("GET", "faults")
        return next((int(f["hits"]) for f in faults if f["id"] == fault_id), 0)

    def lift(self, fault_id: int | None = None) -> None:
        """Lift one fault, or all."""
        self._call("DELETE", "faults", None if fault_id is None else {"id": fault_id})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        reply = requests.request(
            method,
            f"{self.url}/admin/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=_TIMEOUT_SECS,
        )
        reply.raise_for_status()
        return reply.json()
