"""Why the account that was lived differs from its twin, in USD by cause and symbol.

The twin decides from the sums of the replayed runs at every period of reconciliation, is filled at
the next tick at its mid with the configured slippage and fee, and receives the index's funding.

=========  =====================================================================================
signal     the runs themselves came out differently: 0 unless the journals differ in some bit
latency    what was held was decided or filled at other times, or sized by another balance
fill       prices other than mid with slippage, and what orders did not get
fee        the venue's fees against the configured ones
funding    what the venue paid against the index
by hand    orders that reconciliation did not ask for
=========  =====================================================================================

The causes add up to the gap, by construction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.research.tables import FloatArray
from shared.research.twin.paths import (
    Cash,
    Path,
    Trade,
    row_at_or_after,
    row_at_or_before,
    walk,
)
from shared.research.twin.recorded import Flow, LivedAccount, LivedFill, Remainder

CAUSES: Final = ("signal", "latency", "fill", "fee", "funding", "by hand")


@dataclass(frozen=True, slots=True)
class Gap:
    """Lived minus twin: cumulative USD by cause, each [T, S]; keys are ``CAUSES``."""

    by_cause: dict[str, FloatArray]

    @property
    def total(self) -> FloatArray:
        """[T, S] the whole gap."""
        total: FloatArray = np.sum(list(self.by_cause.values()), axis=0)
        return total

    def at_end(self, cause: str) -> FloatArray:
        """[S] USD of one cause at the last tick."""
        last: FloatArray = self.by_cause[cause][-1]
        return last


@dataclass(frozen=True, slots=True)
class LivedPaths:
    """What reconciliation's orders made, and what orders by hand did."""

    ours: Path
    by_hand: Path
    unfilled: FloatArray
    """[T, S] what the unfilled parts of orders would have made."""


def lived_paths(account: LivedAccount, tick_ms: NDArray[np.int64], mark: FloatArray) -> LivedPaths:
    """The lived account on the ticks of its twin."""
    funding = [_cash(flow, tick_ms) for flow in account.funding]
    ours = [_trade(fill, tick_ms) for fill in account.fills if fill.ours]
    by_hand = [_trade(fill, tick_ms) for fill in account.fills if not fill.ours]
    return LivedPaths(
        walk(mark, account.start_size, ours, funding),
        walk(mark, [0.0] * mark.shape[1], by_hand, []),
        _unfilled(account.remainders, tick_ms, mark),
    )


def split(twin: Path, on_lived_journal: Path, lived: LivedPaths) -> Gap:
    """The gap by cause.

    ``on_lived_journal`` is the twin's account on the sums of the recorded journal: the same object
    as ``twin`` when the journals are equal, so that the signal gap is exactly 0.
    """
    base = on_lived_journal
    signal = np.zeros_like(twin.path) if base is twin else base.total - twin.total
    return Gap(
        {
            "signal": signal,
            "latency": lived.ours.path - base.path + lived.unfilled,
            "fill": base.price - lived.ours.price - lived.unfilled,
            "fee": base.fee - lived.ours.fee,
            "funding": lived.ours.funding - base.funding,
            "by hand": lived.by_hand.total,
        }
    )


def _trade(fill: LivedFill, tick_ms: NDArray[np.int64]) -> Trade:
    row = row_at_or_after(tick_ms, fill.time_ms)
    before = min(row_at_or_before(tick_ms, fill.time_ms), row)
    return Trade(row, before, fill.column, fill.size, fill.price, fill.fee_usd)


def _cash(flow: Flow, tick_ms: NDArray[np.int64]) -> Cash:
    return Cash(row_at_or_after(tick_ms, flow.time_ms), flow.column, flow.usd)


def _unfilled(
    remainders: Iterable[Remainder], tick_ms: NDArray[np.int64], mark: FloatArray
) -> FloatArray:
    """[T, S] USD that the missing parts would have made while they were missing."""
    trades = []
    for rest in remainders:
        first = row_at_or_after(tick_ms, rest.since_ms)
        last = row_at_or_after(tick_ms, rest.until_ms)
        for row, size in ((first, rest.size), (last, -rest.size)):
            trades.append(Trade(row, row, rest.column, size, float(mark[row, rest.column]), 0.0))
    return walk(mark, [0.0] * mark.shape[1], trades, []).path
