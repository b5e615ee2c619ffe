"""What a stretch of live trading left in MariaDB: everything its twin is fed and compared with.

All of it is read in one snapshot of the database, so the platform may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_inputs import TickRow
from shared.providence.run_state import Records
from shared.providence.sizing import CohortSums
from shared.providence.step import Fills
from shared.research.markets import MarketSpec

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Lives:
    """Every run that lived in the window, by shard and then by run."""

    births: Records
    """As born, with everything that was asked of a run later; each control names its tick."""
    shard_ids: NDArray[np.int64]
    ended_ms: NDArray[np.int64]
    """Tick at which the run ended, ``NEVER`` if it had not by the end of the window."""


@dataclass(frozen=True, slots=True)
class LivedFill:
    """An execution; ``size`` signed, coins; ``ours``: reconciliation asked for it."""

    time_ms: int
    column: int
    size: float
    price: float
    fee_usd: float
    start_size: float
    ours: bool


@dataclass(frozen=True, slots=True)
class Remainder:
    """What an order of reconciliation did not get: ``size`` signed, from ``since_ms`` on until the
    symbol's next order at ``until_ms``."""

    column: int
    size: float
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Cash of the account: funding of a symbol, or a transfer (column -1), USD received."""

    time_ms: int
    column: int
    usd: float


@dataclass(frozen=True, slots=True)
class LivedAccount:
    """The account in the window: it started with ``start_usd`` and ``start_size`` [S] coins."""

    start_usd: float
    start_size: tuple[float, ...]
    fills: tuple[LivedFill, ...]
    remainders: tuple[Remainder, ...]
    funding: tuple[Flow, ...]
    transfers: tuple[Flow, ...]
    readings: NDArray[np.float64]
    """[N, 2] venue time in ms and account value in USD."""
    orders: int


@dataclass(frozen=True, slots=True)
class EndedBefore:
    """Cohort sums of a product's runs that had ended when the window began."""

    current: CohortSums
    history: CohortSums


@dataclass(frozen=True, slots=True)
class Recorded:
    """One window of one sample series. Columns are ``markets``, in order of product id."""

    interval_ms: int
    from_ms: int
    """First tick of the account's window."""
    to_ms: int
    """Last tick that every shard had committed."""
    rows: tuple[TickRow, ...]
    """Stored ticks, from the longest window before the oldest birth on."""
    configs: Mapping[str, TickConfig]
    product_ids: tuple[int, ...]
    markets: tuple[MarketSpec, ...]
    lives: Lives
    fills: Fills
    """The journal up to ``to_ms``, by run and sequence number."""
    ended_before: Mapping[int, EndedBefore]
    """By product id; empty if nothing had ended."""
    height_ticks: tuple[tuple[int, int], ...]
    """(effective tick, height) of the epochs that ended in the window, rising."""
    account: LivedAccount

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(market.symbol for market in self.markets)

    @property
    def columns(self) -> dict[int, int]:
        """Column of each product id."""
        return {product_id: column for column, product_id in enumerate(self.product_ids)}
