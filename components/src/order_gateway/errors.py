"""Why the gateway refuses a request, each with its HTTP status and a machine-readable code."""

from __future__ import annotations

from typing import Any, ClassVar


class GatewayError(Exception):
    """A refusal in one clear sentence; nothing was sent because of this request."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "error"

    def body(self) -> dict[str, Any]:
        """The JSON body of the reply."""
        return {"error": self.code, "message": str(self)}


class InvalidOrder(GatewayError):
    """The order breaks a rule of the venue or names an unknown symbol."""

    status = 422
    code = "invalid_order"

    def __init__(self, rule: str, value: str, limit: str) -> None:
        super().__init__(f"{rule}: {value} is not allowed; {limit}")
        self._detail = {"rule": rule, "value": value, "limit": limit}

    def body(self) -> dict[str, Any]:
        """The JSON body, with rule, value and limit."""
        return {**super().body(), **self._detail}


class RiskBlocked(GatewayError):
    """A risk rule objects."""

    status = 403
    code = "risk_blocked"

    def __init__(self, rule: str, value: str, limit: str) -> None:
        super().__init__(f"risk rule {rule}: {value}; allowed: {limit}")
        self._detail = {"rule": rule, "value": value, "limit": limit}

    def body(self) -> dict[str, Any]:
        """The JSON body, with rule, value and limit."""
        return {**super().body(), **self._detail}


class Conflict(GatewayError):
    """The intent is known with another payload, or the symbol has an open one."""

    status = 409
    code = "conflict"


class NotFound(GatewayError):
    """No such order."""

    status = 404
    code = "not_found"


class NotReady(GatewayError):
    """The gateway cannot trade at the moment; the same request may succeed later."""

    status = 503
    code = "not_ready"
