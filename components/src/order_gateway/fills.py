"""Consumes the account's fills by a cursor in venue time; each is stored once."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog
from sqlalchemy import Engine

from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.payloads import Fill
from shared.exchange_manager import ExchangeManager
from shared.orders.evidence import FillsReading, OrderFill
from shared.orders.fill_order import FillStep, in_order
from shared.risk.limits import RiskLimits
from shared.risk.round_trips import LargeLoss, TripFill, advance, large_loss
from shared.storage.orders import FillStore, OrderRecord
from shared.storage.risk_state import RiskStateStore

log = structlog.get_logger(__name__)

PAGE_SIZE = 2_000
MAX_PAGES = 10
OVERLAP_MS = 60_000
"""Fills this much older than the cursor are read again: they may become visible late."""
SHORT_OVERLAP_MS = 2_000
"""The same in a read between two whole ones; what it misses the next whole one finds."""


EXTERNAL = "a trade that no order of ours explains; resume after a look at it"


@dataclass(frozen=True, slots=True)
class FillsWindow:
    """Fills from a start time on; ``complete`` if no page was cut off."""

    fills: tuple[Fill, ...]
    complete: bool


def read_window(manager: ExchangeManager, start_ms: int) -> FillsWindow:
    """All fills of the wallet from ``start_ms`` (venue time), oldest first, page by page."""
    found: dict[tuple[int, int, str], Fill] = {}
    from_ms = start_ms
    for _ in range(MAX_PAGES):
        page = manager.fills(from_ms)
        before = len(found)
        found.update({(f.tid, f.time_ms, f.symbol): f for f in page})
        if len(page) < PAGE_SIZE:
            return FillsWindow(tuple(_as_they_happened(found.values())), complete=True)
        if len(found) == before:
            break
        from_ms = max(f.time_ms for f in page)
    return FillsWindow(tuple(_as_they_happened(found.values())), complete=False)


def fills_of(window: FillsWindow, order: OrderRecord, venue_ms: int) -> FillsReading:
    """The part of a window that belongs to one order, by cloid or by the venue's order id."""
    mine = tuple(
        OrderFill(f.size, f.price)
        for f in window.fills
        if f.cloid == order.cloid or (order.oid is not None and f.oid == order.oid)
    )
    return FillsReading(venue_ms, window.complete, mine)


class FillsConsumer:
    """Stores fills, sums fees, follows round trips and reports trades of others and large losses.

    A symbol whose closed round trip lost too much, or that someone else has traded, is paused in
    the transaction that stores the fills, so that no crash lies between cause and consequence.
    """

    def __init__(
        self,
        engine: Engine,
        manager: ExchangeManager,
        *,
        limits: RiskLimits,
        clock_ms: Callable[[], int],
        waiting: Callable[[], Collection[str]],
        pause_on_external: bool,
        on_external: Callable[[Sequence[Fill]], None],
        on_large_loss: Callable[[LargeLoss], None],
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._limits = limits
        self._clock_ms = clock_ms
        self._waiting = waiting
        self._pause_on_external = pause_on_external
        self._on_external = on_external
        self._on_large_loss = on_large_loss
        self._lock = threading.Lock()

    def step(self, overlap_ms: int = OVERLAP_MS) -> int:
        """Read and store what is new; returns the number of new fills."""
        with self._lock:
            cursor_ms, floor_ms = self._cursor()
            start_ms = max(floor_ms, cursor_ms - overlap_ms)
            waiting = self._waiting()  # asked first: what is imported meanwhile is read again
            window = read_window(self._manager, start_ms)
            fills = [f for f in window.fills if f.cloid not in waiting]
            read_to_ms = max(cursor_ms, _read_to(window.fills, waiting))
            moved = None if read_to_ms == cursor_ms else (read_to_ms, floor_ms)
            fresh, losses = retry_deadlocks(lambda: self._store(fills, moved))
        for loss in losses:
            self._on_large_loss(loss)
        foreign = [f for f, intent_id in fresh if intent_id is None]
        if foreign:
            self._on_external(foreign)
        if not window.complete:
            log.warning("fills_window_cut", start_ms=start_ms)
        return len(fresh)

    def _cursor(self) -> tuple[int, int]:
        """(cursor, floor) in venue time; at the very first start, history stays unread."""
        with UnitOfWork(self._engine) as uow:
            store = RiskStateStore(uow.conn)
            state = store.load()
            if state.fills_cursor_ms is not None:
                return state.fills_cursor_ms, state.fills_floor_ms
            now_ms = self._clock_ms()
            store.set_fills_cursor(now_ms, now_ms, now_ms)
            uow.commit()
            return now_ms, now_ms

    def _store(
        self, fills: Sequence[Fill], moved: tuple[int, int] | None
    ) -> tuple[list[tuple[Fill, str | None]], list[LargeLoss]]:
        """One transaction: the fills and all that follows from them; ``moved``: cursor, floor."""
        now_ms = self._clock_ms()
        with UnitOfWork(self._engine) as uow:
            fresh = FillStore(uow.conn).add(fills)
            state = RiskStateStore(uow.conn)
            losses = self._follow_round_trips(state, [f for f, _ in fresh], now_ms)
            if self._pause_on_external:
                for symbol in sorted({f.symbol for f, intent_id in fresh if intent_id is None}):
                    state.set_pause(symbol, True, now_ms, reason=EXTERNAL, actor="gateway")
            if moved is not None:
                state.set_fills_cursor(*moved, now_ms)
            uow.commit()
        return fresh, losses

    def _follow_round_trips(
        self, state: RiskStateStore, fresh: Sequence[Fill], now_ms: int
    ) -> list[LargeLoss]:
        losses = []
        for symbol, fills in _trip_fills(fresh).items():
            progress = advance(state.round_trip_usd(symbol), fills)
            state.set_round_trip(symbol, progress.open_usd, now_ms)
            if not progress.closed_usd:
                continue
            self._cool_down(state, symbol, progress.closed_usd[-1], now_ms)
            loss = large_loss(
                symbol, progress.closed_usd, _account_value(state), self._limits.max_round_trip_loss
            )
            if loss is not None:
                state.set_pause(symbol, True, now_ms, reason=loss.reason, actor="risk_manager")
                losses.append(loss)
        return losses

    def _cool_down(
        self, state: RiskStateStore, symbol: str, last_usd: Decimal, now_ms: int
    ) -> None:
        losing = last_usd < 0 and self._limits.cool_down_ms > 0
        until_ms = now_ms + self._limits.cool_down_ms if losing else 0
        state.set_cool_down(symbol, until_ms, now_ms, f"round trip of {last_usd:.2f} USD")


def _trip_fills(fresh: Sequence[Fill]) -> Mapping[str, list[TripFill]]:
    by_symbol: defaultdict[str, list[TripFill]] = defaultdict(list)
    for fill in _as_they_happened(fresh):
        by_symbol[fill.symbol].append(
            TripFill(fill.start_position, _signed_size(fill), fill.closed_pnl, fill.fee)
        )
    return by_symbol


def _account_value(state: RiskStateStore) -> Decimal | None:
    """USD at the start of the day that the risk manager knows, transfers since included."""
    baseline = state.load().baseline
    return None if baseline is None else baseline.account_value


def _read_to(fills: Sequence[Fill], waiting: Collection[str]) -> int:
    """Venue time up to which nothing has to be read again; 0 without a fill.

    Those of an order whose import into the journal waits have to be: stored before their order,
    they would look like someone else's.
    """
    held_back = [f.time_ms - 1 for f in fills if f.cloid in waiting]
    return min(held_back) if held_back else max((f.time_ms for f in fills), default=0)


def _as_they_happened(fills: Iterable[Fill]) -> list[Fill]:
    return in_order(
        fills, lambda f: FillStep(f.symbol, f.time_ms, f.start_position, _signed_size(f))
    )


def _signed_size(fill: Fill) -> Decimal:
    return fill.size if fill.side == "buy" else -fill.size
