"""What a running demo shows: read from MariaDB and Redis, never changed there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

import redis
from sqlalchemy import ColumnElement, Connection, Engine, case, func, select
from sqlalchemy.exc import SQLAlchemyError

from shared.config import Settings
from shared.storage import redis_keys
from shared.storage.streams import PriceStore, StoredPriceError
from shared.storage.tables import (
    balance_history,
    iteration_shards,
    order_execution_log,
    reconciliation_log,
    runs,
    tick_inputs,
)

T = TypeVar("T")

RECENT_ORDERS = 40
EQUITY_POINTS = 240
_SAMPLED = ("live", "backfill")
_FILLED = ("FILLED", "PARTIAL")


@dataclass(frozen=True)
class PriceReading:
    """Newest price of a symbol in Redis; ``age_secs`` since this host received it."""

    symbol: str
    mid: float
    age_secs: float
    source: str


@dataclass(frozen=True)
class PopulationReading:
    """Active runs of one interpretation and their mean virtual profit as last stored."""

    interpretation: str
    active: int
    mean_pnl_usd: float


@dataclass(frozen=True)
class PositionReading:
    """The last look of the reconciliation at one symbol.

    USD amounts are None where the look did not know them. ``left_usd`` is the gap that its order,
    if it sent one, left behind; ``quorum`` is how many voters agree, or why none do.
    """

    symbol: str
    at_ms: int
    decision: str
    reason: str
    desired_usd: float | None
    actual_usd: float | None
    gap_usd: float | None
    left_usd: float | None
    quorum: str
    quorum_known: bool


@dataclass(frozen=True)
class OrderReading:
    """One intent of the journal."""

    created_ms: int
    symbol: str
    side: str
    size: Decimal
    state: str
    filled_size: Decimal
    avg_price: Decimal | None
    origin: str
    reason: str


@dataclass(frozen=True)
class OrderCounts:
    """Intents made since the session's start; ``unknown`` counts all that are in doubt now."""

    sent: int = 0
    filled: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Everything the view and the summary need, as of ``at_ms``; faults say what was not read."""

    at_ms: int = 0
    prices: tuple[PriceReading, ...] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    population: tuple[PopulationReading, ...] = ()
    ticks: int = 0
    newest_tick_ms: int | None = None
    committed_tick_ms: int | None = None
    iterations: int = 0
    positions: tuple[PositionReading, ...] = ()
    orders: tuple[OrderReading, ...] = ()
    counts: OrderCounts = OrderCounts()
    equity: tuple[float, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def runs_active(self) -> int:
        """Active runs over all interpretations."""
        return sum(row.active for row in self.population)


class Readings:
    """Reads one snapshot after the other for one session of a demo."""

    def __init__(
        self, settings: Settings, engine: Engine, client: redis.Redis, session_start_ms: int
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = client
        self._start_ms = session_start_ms
        self._iterations = IterationCounter(settings.interval_ms)
        self._last = Snapshot()

    def read(self) -> Snapshot:
        """What is there now; where MariaDB or Redis cannot be read, what was there last."""
        faults: list[str] = []
        snapshot = replace(self._last, at_ms=time.time_ns() // 1_000_000)
        snapshot = self._part("Redis", faults, lambda: self._from_redis(snapshot), snapshot)
        snapshot = self._part("MariaDB", faults, lambda: self._from_mariadb(snapshot), snapshot)
        self._last = replace(snapshot, faults=tuple(faults))
        return self._last

    def _part(self, name: str, faults: list[str], read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (SQLAlchemyError, redis.RedisError, StoredPriceError) as error:
            faults.append(f"{name} cannot be read: {str(error).splitlines()[0][:120]}")
            return otherwise

    def _from_redis(self, snapshot: Snapshot) -> Snapshot:
        symbols = self._settings.reconciliation_engine.symbols
        quotes = PriceStore(self._redis).latest(symbols)
        prices = tuple(
            PriceReading(
                symbol,
                float(quotes[symbol].mid),
                max(snapshot.at_ms - quotes[symbol].received_ms, 0) / 1000,
                quotes[symbol].source,
            )
            for symbol in symbols
            if symbol in quotes
        )
        queues = {
            name: int(str(self._redis.llen(name)))
            for name in (redis_keys.HIGH_PRIORITY_QUEUE, redis_keys.LOW_PRIORITY_QUEUE)
        }
        return replace(snapshot, prices=prices, queues=queues)

    def _from_mariadb(self, snapshot: Snapshot) -> Snapshot:
        with self._engine.connect() as connection:
            population = _population(connection)
            ticks, newest_tick_ms = self._ticks(connection)
            return replace(
                snapshot,
                population=population,
                ticks=ticks,
                newest_tick_ms=newest_tick_ms,
                iterations=self._iterations.read(connection),
                committed_tick_ms=self._iterations.committed_tick_ms,
                positions=self._positions(connection),
                orders=_recent_orders(connection),
                counts=self._order_counts(connection),
                equity=self._equity(connection),
            )

    def _ticks(self, connection: Connection) -> tuple[int, int | None]:
        row = connection.execute(
            select(func.count(), func.max(tick_inputs.c.tick_ms)).where(
                tick_inputs.c.interval_ms == self._settings.interval_ms,
                tick_inputs.c.created_ms >= self._start_ms,
                tick_inputs.c.source.in_(_SAMPLED),
            )
        ).one()
        return int(row[0]), None if row[1] is None else int(row[1])

    def _positions(self, connection: Connection) -> tuple[PositionReading, ...]:
        found = []
        for symbol in self._settings.reconciliation_engine.symbols:
            row = connection.execute(
                select(reconciliation_log)
                .where(
                    reconciliation_log.c.symbol == symbol,
                    reconciliation_log.c.at_ms >= self._start_ms,
                )
                .order_by(reconciliation_log.c.at_ms.desc(), reconciliation_log.c.id.desc())
                .limit(1)
            ).one_or_none()
            if row is not None:
                found.append(position_reading(symbol, int(row.at_ms), row.decision, row.detail))
        return tuple(found)

    def _order_counts(self, connection: Connection) -> OrderCounts:
        log = order_execution_log
        ours = log.c.created_ms >= self._start_ms
        row = connection.execute(
            select(
                _count_of(ours & log.c.sent_ms.is_not(None)),
                _count_of(ours & log.c.state.in_(_FILLED) & (log.c.filled_size > 0)),
                _count_of(log.c.state == "UNKNOWN"),
            )
        ).one()
        return OrderCounts(*(int(number) for number in row))

    def _equity(self, connection: Connection) -> tuple[float, ...]:
        rows = connection.scalars(
            select(balance_history.c.account_value)
            .where(balance_history.c.read_ms >= self._start_ms)
            .order_by(balance_history.c.id.desc())
            .limit(EQUITY_POINTS)
        ).all()
        return tuple(float(value) for value in reversed(rows))


class IterationCounter:
    """Run iterations committed since the first reading: each sampled tick of each active run."""

    def __init__(self, interval_ms: int) -> None:
        self.committed_tick_ms: int | None = None
        self._interval_ms = interval_ms
        self._count = 0
        self._last_ticks: dict[int, int] = {}

    def read(self, connection: Connection) -> int:
        """Add what the shards committed since the last call; returns the sum."""
        members = (
            select(runs.c.shard_id, func.count().label("active"))
            .where(runs.c.status == "active")
            .group_by(runs.c.shard_id)
            .subquery()
        )
        shards = connection.execute(
            select(iteration_shards.c.id, iteration_shards.c.last_tick, members.c.active).join(
                members, members.c.shard_id == iteration_shards.c.id
            )
        ).all()
        ticks = self._sampled_ticks(connection, min(self._last_ticks.values(), default=None))
        for shard in shards:
            since = self._last_ticks.get(shard.id, shard.last_tick)
            stepped = sum(1 for tick in ticks if since < tick <= shard.last_tick)
            self._count += stepped * int(shard.active)
            self._last_ticks[shard.id] = int(shard.last_tick)
        self.committed_tick_ms = min((int(shard.last_tick) for shard in shards), default=None)
        return self._count

    def _sampled_ticks(self, connection: Connection, since_ms: int | None) -> list[int]:
        if since_ms is None:
            return []
        return [
            int(tick)
            for tick in connection.scalars(
                select(tick_inputs.c.tick_ms).where(
                    tick_inputs.c.interval_ms == self._interval_ms,
                    tick_inputs.c.tick_ms > since_ms,
                    tick_inputs.c.source != "missing",
                )
            )
        ]


def position_reading(
    symbol: str, at_ms: int, decision: str, detail: Mapping[str, Any]
) -> PositionReading:
    """A look's record (`worker.services.why`) as the numbers the demo shows."""
    target = detail["target"]["notional_usd"]
    position = detail["quorum"]["position"]
    price = detail["price_usd"]
    desired = float(target["value"]) if target["status"] == "Known" else None
    known = position["status"] == "Known"
    actual = None
    if known and price["status"] == "Known":
        actual = float(position["value"]) * float(price["value"])
    plan = detail["plan"]
    votes = detail["quorum"]["votes"]
    return PositionReading(
        symbol=symbol,
        at_ms=at_ms,
        decision=decision,
        reason=detail["reason"],
        desired_usd=desired,
        actual_usd=actual,
        gap_usd=None if plan is None else float(plan["gap_usd"]),
        left_usd=None if plan is None else _left_usd(detail),
        quorum=f"{len(detail['quorum']['backers'])}/{len(votes)}" if known else position["reason"],
        quorum_known=known,
    )


def _left_usd(detail: Mapping[str, Any]) -> float:
    """The gap once what the gateway reports as filled is counted in."""
    plan, reply = detail["plan"], detail["reply"]
    gap_usd = float(plan["gap_usd"])
    if reply is None or not plan["orders"]:
        return gap_usd
    filled = float(reply["body"].get("filled_size") or 0)
    signed = filled if plan["orders"][0]["side"] == "buy" else -filled
    missing = float(plan["target_size"]) - float(plan["actual"])
    if missing == 0:
        return gap_usd
    return gap_usd * abs((missing - signed) / missing)


def _count_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _population(connection: Connection) -> tuple[PopulationReading, ...]:
    rows = connection.execute(
        select(runs.c.interpretation, func.count(), func.avg(runs.c.live_pnl))
        .where(runs.c.status == "active")
        .group_by(runs.c.interpretation)
        .order_by(runs.c.interpretation)
    )
    return tuple(PopulationReading(row[0], int(row[1]), float(row[2])) for row in rows)


def _recent_orders(connection: Connection) -> tuple[OrderReading, ...]:
    log = order_execution_log
    rows = connection.execute(select(log).order_by(log.c.id.desc()).limit(RECENT_ORDERS))
    return tuple(
        OrderReading(
            created_ms=int(row.created_ms),
            symbol=row.symbol,
            side=row.side,
            size=row.size,
            state=row.state,
            filled_size=row.filled_size,
            avg_price=row.avg_price,
            origin=row.origin,
            reason=row.reason or "",
        )
        for row in rows
    )
