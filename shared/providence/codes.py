"""Small enumerations of the run record and of fills.

The values are stored in MariaDB, Redis and Parquet and compiled into the kernel: add, never
renumber.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Life of a run."""

    ACTIVE = 0
    COMPLETED = 1


class Interpretation(IntEnum):
    """How a run turns entropy into a direction (see :mod:`shared.providence.signals`)."""

    DIRECT = 0
    INVERSE = 1
    BREAKOUT = 2
    SWING = 3

    @property
    def flipped(self) -> Interpretation:
        """The interpretation that always takes the other side."""
        return Interpretation(self.value ^ 1)


class Reason(IntEnum):
    """Why a fill happened; every value but ``DIRECTION`` also ends the run."""

    DIRECTION = 0
    SIGNAL = 1
    DRAWDOWN = 2
    DURATION = 3
    TAKE_PROFIT = 4
    KELLY = 5
    SYMBOL_LEFT = 6
