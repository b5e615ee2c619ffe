"""How a demo went: the JSON object it ends with, and whether that is good."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from demo.readings import PositionReading, Snapshot


@dataclass(frozen=True)
class Summary:
    """The last line of a demo. USD amounts; ``equity`` is None if no balance was ever read."""

    ticks: int
    runs_active: int
    iterations: int
    orders_sent: int
    orders_filled: int
    orders_unknown: int
    reconciled: bool
    max_gap_usd: float | None
    equity: float | None
    errors: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def summarise(
    snapshot: Snapshot, symbols: Sequence[str], threshold_usd: float, errors: int
) -> Summary:
    """The summary of a session by its last snapshot."""
    gaps = [p.left_usd for p in snapshot.positions if p.left_usd is not None]
    return Summary(
        ticks=snapshot.ticks,
        runs_active=snapshot.runs_active,
        iterations=snapshot.iterations,
        orders_sent=snapshot.counts.sent,
        orders_filled=snapshot.counts.filled,
        orders_unknown=snapshot.counts.unknown,
        reconciled=is_reconciled(snapshot.positions, symbols, threshold_usd),
        max_gap_usd=round(max(gaps), 2) if gaps else None,
        equity=round(snapshot.equity[-1], 2) if snapshot.equity else None,
        errors=errors,
    )


def is_reconciled(
    positions: Sequence[PositionReading], symbols: Sequence[str], threshold_usd: float
) -> bool:
    """Whether the last look left every symbol it knew within ``threshold_usd`` of its target.

    Every symbol must have been looked at, and at least one must be known: an account of which
    nothing is known is not reconciled.
    """
    if {p.symbol for p in positions} != set(symbols):
        return False
    left = [p.left_usd for p in positions if p.left_usd is not None]
    return bool(left) and all(gap < threshold_usd for gap in left)


def shortcomings(summary: Summary, *, must_trade: bool) -> list[str]:
    """Why a session was not good, one sentence each; none if it was.

    ``must_trade``: it was given its time and should have filled an order and reached its target. A
    session that a person ended early need not.
    """
    found = []
    if must_trade and summary.orders_filled == 0:
        found.append("no order was filled")
    if must_trade and not summary.reconciled:
        gap = "unknown" if summary.max_gap_usd is None else f"{summary.max_gap_usd:.2f} USD"
        found.append(f"the account was not brought to its target (largest gap {gap})")
    if summary.orders_unknown:
        found.append(f"{summary.orders_unknown} order(s) are in doubt (UNKNOWN)")
    if summary.errors:
        found.append(f"the processes logged {summary.errors} error(s)")
    return found
