"""What is known of a thing that is read from outside, and how old that knowledge is.

A failed, partial or old read is never a zero: it is ``Stale`` or ``Unknown``, and whoever
acts on an observation has to say what it does in each of the three cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A complete reading that is fresh enough to act on; ``as_of_ms`` is its time (UTC, ms)."""

    value: T
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Stale(Generic[T]):
    """A complete reading that is too old to act on; shown to people, never traded on."""

    value: T
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """No usable reading, and the reason in one sentence."""

    reason: str


Observation: TypeAlias = Known[T] | Stale[T] | Unknown


def aged(value: T, as_of_ms: int, now_ms: int, max_age_ms: int) -> Known[T] | Stale[T]:
    """``Known`` while the reading is at most ``max_age_ms`` old at ``now_ms``, else ``Stale``.

    A reading from the future by more than ``max_age_ms`` means that two clocks disagree and
    is ``Stale`` as well.
    """
    if abs(now_ms - as_of_ms) > max_age_ms:
        return Stale(value, as_of_ms)
    return Known(value, as_of_ms)


def map_known(observation: Observation[T], function: Callable[[T], U]) -> Observation[U]:
    """Apply ``function`` to the value of a ``Known`` or ``Stale``; pass ``Unknown`` through."""
    match observation:
        case Known(value, as_of_ms):
            return Known(function(value), as_of_ms)
        case Stale(value, as_of_ms):
            return Stale(function(value), as_of_ms)
        case Unknown():
            return observation
