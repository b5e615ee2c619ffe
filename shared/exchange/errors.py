"""Everything that can go wrong between 3T and the venue, as one tree.

``TransientVenueError`` may succeed when a *read* is repeated; ``PermanentVenueError`` will
not. Neither says anything about whether an *order* was processed: that is decided by venue
evidence alone.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

ErrorClass: TypeAlias = Literal[
    "timeout",
    "refused",
    "dns",
    "tls",
    "rate_limited",
    "server_error",
    "client_error",
    "decode",
    "rejected",
    "budget",
    "breaker_open",
    "other",
]
"""What kind of failure it was; the label under which it is counted and alerted."""


class VenueError(Exception):
    """A venue call that gave no usable reply.

    ``error_class`` is the label it is counted under, ``status`` the HTTP status if there was
    a reply, ``body`` the start of that reply.
    """

    error_class: ErrorClass = "other"

    def __init__(self, message: str, *, status: int | None = None, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class TransientVenueError(VenueError):
    """The same read may succeed a moment later."""


class VenueTimeout(TransientVenueError):
    """No complete reply in time; the venue may or may not have processed the request."""

    error_class: ErrorClass = "timeout"


class ConnectionRefused(TransientVenueError):
    """Nothing listens at the venue's address; the request was certainly not processed."""

    error_class: ErrorClass = "refused"


class NameResolutionFailed(TransientVenueError):
    """The venue's host name could not be resolved; nothing was sent."""

    error_class: ErrorClass = "dns"


class TlsFailed(TransientVenueError):
    """The encrypted connection could not be set up; nothing was sent."""

    error_class: ErrorClass = "tls"


class ConnectionLost(TransientVenueError):
    """The connection broke while the request or the reply was under way."""

    error_class: ErrorClass = "other"


class RateLimited(TransientVenueError):
    """HTTP 429: the venue did not process the request and wants every process to back off."""

    error_class: ErrorClass = "rate_limited"


class VenueServerError(TransientVenueError):
    """HTTP 5xx."""

    error_class: ErrorClass = "server_error"


class BudgetExhausted(TransientVenueError):
    """The request was dropped here, unsent: its turn in the shared budget came too late."""

    error_class: ErrorClass = "budget"


class TimeExhausted(BudgetExhausted):
    """The request was dropped here, unsent: the task that asks has no time left for it."""


class BreakerOpen(TransientVenueError):
    """The request was dropped here, unsent: the venue has failed repeatedly a moment ago."""

    error_class: ErrorClass = "breaker_open"


class PermanentVenueError(VenueError):
    """Repeating the same request cannot help."""


class BadRequest(PermanentVenueError):
    """HTTP 4xx other than 429: the venue does not understand the request."""

    error_class: ErrorClass = "client_error"


class VenueRejected(PermanentVenueError):
    """The venue understood the request and said no (an ``err`` status, an unknown symbol)."""

    error_class: ErrorClass = "rejected"


class DecodeError(PermanentVenueError, ValueError):
    """The reply is not what the protocol promises; ``path`` names the field that is wrong."""

    error_class: ErrorClass = "decode"

    def __init__(self, path: str, problem: str, *, body: str = "") -> None:
        super().__init__(f"{path}: {problem}", body=body)
        self.path = path
