"""What settles a doubt, and what does not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.orders.evidence import (
    EvidenceRules,
    FillsReading,
    OpenOrder,
    OrderFill,
    StatusReading,
    StillOpen,
    settle,
)
from shared.orders.replies import Verdict
from shared.orders.states import OrderState

RULES = EvidenceRules(margin_ms=5_000, spacing_ms=1_000)
EXPIRY = 100_000
DECIDED = EXPIRY + RULES.margin_ms
IOC = OpenOrder(cloid="0x1", size=Decimal(2), tif="Ioc", expires_after_ms=EXPIRY)
GTC = replace(IOC, tif="Gtc")
LATE = DECIDED + 10_000


def unknown(*venue_ms: int) -> list[StatusReading]:
    return [StatusReading(ms, None) for ms in venue_ms]


def known(status: str, executed: str = "0", venue_ms: int = LATE) -> list[StatusReading]:
    return [StatusReading(venue_ms, status, 7, Decimal(executed), venue_ms - 1_000)]


def fills(*sizes: str, venue_ms: int = LATE, complete: bool = True) -> FillsReading:
    parts = tuple(OrderFill(Decimal(s), Decimal(100 + i)) for i, s in enumerate(sizes))
    return FillsReading(venue_ms, complete, parts)


def state(outcome: Verdict | StillOpen) -> OrderState | None:
    return outcome.state if isinstance(outcome, Verdict) else None


def test_absence_is_proven_by_all_three_together() -> None:
    readings = unknown(DECIDED + 1, DECIDED + 1_001)
    assert state(settle(IOC, readings, fills(), RULES)) is OrderState.NOT_PLACED


@pytest.mark.parametrize(
    ("readings", "window"),
    [
        ([], fills()),
        (unknown(DECIDED + 1), fills()),
        (unknown(DECIDED + 1, DECIDED + 1_000), fills()),
        (unknown(DECIDED, DECIDED + 5_000), fills()),
        (unknown(1, EXPIRY + 1), fills()),
        (unknown(DECIDED + 1, DECIDED + 1_001), fills(complete=False)),
        (unknown(DECIDED + 1, DECIDED + 1_001), fills(venue_ms=DECIDED)),
        ([*known("open"), *unknown(LATE + 1, LATE + 9_000)], fills(venue_ms=LATE + 9_000)),
    ],
)
def test_absence_is_not_proven_by_less(readings: list[StatusReading], window: FillsReading) -> None:
    assert isinstance(settle(IOC, readings, window, RULES), StillOpen)


def test_fills_prove_an_order_that_the_venue_does_not_show() -> None:
    early = unknown(1_000)
    verdict = settle(IOC, early, fills("0.5", "1.5"), RULES)
    assert state(verdict) is OrderState.FILLED
    assert isinstance(verdict, Verdict)
    assert verdict.avg_price == Decimal("100.75")
    assert isinstance(settle(IOC, early, fills("0.5"), RULES), StillOpen)
    late = unknown(DECIDED + 1, DECIDED + 2_000)
    assert state(settle(IOC, late, fills("0.5"), RULES)) is OrderState.PARTIAL
    assert isinstance(settle(GTC, late, fills("0.5"), RULES), StillOpen)


def test_fills_beyond_the_order_settle_nothing() -> None:
    assert isinstance(settle(IOC, known("filled", "2"), fills("2", "1"), RULES), StillOpen)


@pytest.mark.parametrize(
    ("order", "status", "executed", "window", "expected"),
    [
        (IOC, "filled", "2", fills("2"), OrderState.FILLED),
        (IOC, "filled", "2", fills(), None),
        (IOC, "filled", "2", fills("1", venue_ms=LATE), None),
        (IOC, "filled", "2", fills("1", venue_ms=LATE + 60_000), OrderState.PARTIAL),
        (IOC, "canceled", "1", fills("1"), OrderState.PARTIAL),
        (IOC, "canceled", "1", fills("0.5"), None),
        (IOC, "canceled", "0", fills(), OrderState.CANCELLED),
        (IOC, "canceled", "0", fills(complete=False), None),
        (IOC, "iocCancelRejected", "0", fills(), OrderState.CANCELLED),
        (IOC, "marketOrderNoLiquidityRejected", "0", fills(), OrderState.CANCELLED),
        (IOC, "perpMarginRejected", "0", fills(), OrderState.REJECTED),
        (IOC, "rejected", "0", fills(), OrderState.REJECTED),
        (IOC, "open", "0", fills(), None),
        (GTC, "open", "0", fills(), OrderState.RESTING),
        (GTC, "open", "0", fills("0.5"), OrderState.RESTING),
        (GTC, "canceled", "0.5", fills("0.5"), OrderState.CANCELLED),
        (GTC, "marginCanceled", "0", fills(), OrderState.CANCELLED),
        (GTC, "filled", "2", fills("1", "1"), OrderState.FILLED),
    ],
)
def test_known_statuses(
    order: OpenOrder,
    status: str,
    executed: str,
    window: FillsReading,
    expected: OrderState | None,
) -> None:
    assert state(settle(order, known(status, executed), window, RULES)) is expected


def test_filled_size_comes_from_the_fills_alone() -> None:
    verdict = settle(GTC, known("open", "1.9"), fills("0.5"), RULES)
    assert isinstance(verdict, Verdict)
    assert verdict.filled_size == Decimal("0.5")


@given(
    times=st.lists(st.integers(0, 2 * DECIDED), min_size=1, max_size=6),
    window_ms=st.integers(0, 2 * DECIDED),
    complete=st.booleans(),
)
def test_not_placed_never_comes_before_the_venue_can_no_longer_accept(
    times: list[int], window_ms: int, complete: bool
) -> None:
    outcome = settle(
        IOC, unknown(*sorted(times)), fills(venue_ms=window_ms, complete=complete), RULES
    )
    if state(outcome) is OrderState.NOT_PLACED:
        assert complete
        assert window_ms > DECIDED
        assert max(times) > DECIDED + RULES.spacing_ms
