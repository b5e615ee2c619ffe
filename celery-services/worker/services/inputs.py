"""Everything a look at the account needs, read once and marked with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

import redis
import structlog
from sqlalchemy import Connection, Engine

from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.precision import OrderFilters
from shared.observation import Known, Observation, Unknown, aged, map_known
from shared.ports import Clock
from shared.reconciliation.consensus import (
    LOCAL_VOTER,
    Absence,
    Ballot,
    Consensus,
    ConsensusRules,
    Snapshot,
    agree,
)
from shared.reconciliation.demand import DemandRules, ShardSums, demands, overdue
from shared.reconciliation.intents import Execution
from shared.reconciliation.plan import PlanFilters
from shared.reconciliation.progress import Refusals, counted
from shared.reconciliation.target import Demand, TargetRules
from shared.storage import cohorts, runs, shards
from shared.storage.balances import Balance, BalanceStore
from shared.storage.execution_state import ExecutionState, ExecutionStateStore
from shared.storage.positions import PositionStore, StoredSnapshot
from shared.storage.products import Product, ProductStore
from shared.storage.refusals import RefusalStore
from shared.storage.risk_state import RiskStateStore
from shared.storage.streams import PriceStore, StoredPriceError
from worker.services.observers import ObserverClient

log = structlog.get_logger(__name__)

NOTHING_WANTED = Demand(weighted_direction=0.0, factor=0.0, active_runs=0, qualifying_runs=0)
"""What the runs of a symbol ask for that is not configured any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of a look, in the types of the pure functions."""

    symbols: tuple[str, ...]
    target: TargetRules
    demand: DemandRules
    consensus: ConsensusRules
    minimum_trade_usd: Decimal
    max_balance_age_ms: int
    max_price_age_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """From ``config.yml``."""
        r = settings.reconciliation_engine
        return cls(
            symbols=r.symbols,
            target=TargetRules(
                risk_pos_percentage=Decimal(str(r.risk_pos_percentage)),
                desired_run_count=settings.providence.desired_run_count,
                max_symbol_exposure=Decimal(str(r.max_symbol_exposure)),
                max_total_exposure=Decimal(str(r.max_total_exposure)),
                invert_decisions=r.invert_decisions,
                can_go_long=r.can_go_long,
                can_go_short=r.can_go_short,
            ),
            demand=DemandRules(
                kelly_threshold=r.kelly_threshold,
                probationary_multiplier=r.probationary_multiplier,
                max_reward_ratio=settings.providence.sizing.max_reward_ratio,
                max_age_ms=round(r.max_sums_age_secs * 1000),
            ),
            consensus=ConsensusRules(
                max_skew_ms=round(r.max_skew_secs * 1000),
                max_age_ms=round(r.max_snapshot_age_secs * 1000),
            ),
            minimum_trade_usd=Decimal(str(r.minimum_trade_threshold)),
            max_balance_age_ms=round(r.max_balance_age_secs * 1000),
            max_price_age_ms=round(r.max_price_age_secs * 1000),
        )


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is known at ``at_ms``; every mapping has an entry for every symbol.

    ``symbols`` are the configured ones and those ``leaving``: not configured any more, and still
    held because of the platform's own last order. ``recounted``: those whose ``refusals`` are not
    those that are stored.
    """

    at_ms: int
    symbols: tuple[str, ...]
    leaving: frozenset[str]
    balance: Observation[Balance]
    demands: Mapping[str, Observation[Demand]]
    prices: Mapping[str, Observation[Decimal]]
    ballots: tuple[Ballot, ...]
    quorum: Mapping[str, Consensus]
    executions: Mapping[str, Observation[Execution]]
    filters: Mapping[str, Observation[PlanFilters]]
    pauses: Mapping[str, str]
    refusals: Mapping[str, Refusals]
    recounted: frozenset[str]

    @property
    def halting(self) -> dict[str, str]:
        """Symbols that have to be paused because of orders that ended since the last look."""
        return {
            s: self.refusals[s].why
            for s in sorted(self.recounted)
            if self.refusals[s].halts and s not in self.pauses
        }

    @property
    def account_value(self) -> Observation[Decimal]:
        """The balance as one number, USD."""
        return map_known(self.balance, lambda balance: balance.account_value)

    @property
    def needs_reading(self) -> bool:
        """Whether a fresh local reading could settle what is not known of a position."""
        return any(
            not isinstance(c.position, Known) or c.lagging for c in self.quorum.values()
        ) or not isinstance(self.balance, Known)


@dataclass(frozen=True, slots=True)
class _Stored:
    balance: Observation[Balance]
    demands: Mapping[str, Observation[Demand]]
    local: Ballot
    leaving: Mapping[str, Observation[Decimal]]
    products: Mapping[str, Product]
    pauses: Mapping[str, str]
    refusals: Mapping[str, Refusals]


class InputReader:
    """Reads MariaDB, Redis and the observers for the configured symbols."""

    def __init__(
        self,
        *,
        settings: Settings,
        engine: Engine,
        prices: PriceStore,
        observers: ObserverClient,
        clock: Clock,
    ) -> None:
        self._limits = Limits.of(settings)
        self._engine = engine
        self._prices = prices
        self._observers = observers
        self._clock = clock

    def gather(self) -> Inputs:
        """Everything at once. Raises ``SQLAlchemyError`` without a database.

        The journal is read after the readings of the account, so that an order which ends in
        between makes those readings too old instead of going unnoticed.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="observers") as pool:
            asked = pool.submit(self._observers.ballots)
            stored = self._stored()
            ballots = (stored.local, *asked.result())
        symbols = (*self._limits.symbols, *sorted(stored.leaving))
        journal = self._journal(symbols, ballots)
        refusals = {
            symbol: counted(stored.refusals[symbol], journal.executions[symbol].ended)
            for symbol in symbols
        }
        now_ms = self._clock.now_ms()
        return Inputs(
            at_ms=now_ms,
            symbols=symbols,
            leaving=frozenset(stored.leaving),
            balance=stored.balance,
            demands={
                **stored.demands,
                **dict.fromkeys(stored.leaving, Known(NOTHING_WANTED, now_ms)),
            },
            prices={**self._read_prices(now_ms), **stored.leaving},
            ballots=ballots,
            quorum={
                symbol: agree(
                    symbol,
                    ballots,
                    journal.fills[symbol],
                    max(journal.executions[symbol].settled_ms, refusals[symbol].last_ms),
                    self._limits.consensus,
                    now_ms,
                )
                for symbol in symbols
            },
            executions={s: Known(journal.executions[s], now_ms) for s in symbols},
            filters={s: self._filters(stored.products.get(s), now_ms) for s in symbols},
            pauses=stored.pauses,
            refusals=refusals,
            recounted=frozenset(s for s in symbols if refusals[s] != stored.refusals[s]),
        )

    def _stored(self) -> _Stored:
        with UnitOfWork(self._engine) as uow:
            now_ms = self._clock.now_ms()
            products = ProductStore(uow.conn).all()
            snapshot = PositionStore(uow.conn).snapshot(LOCAL_VOTER)
            leaving = self._leaving(uow.conn, snapshot, now_ms)
            return _Stored(
                balance=self._balance(uow.conn, now_ms),
                demands=self._demands(uow.conn, products, now_ms),
                local=_ballot(snapshot),
                leaving=leaving,
                products=products,
                pauses={
                    symbol: pause.reason or "no reason was given"
                    for symbol, pause in RiskStateStore(uow.conn).load().pauses.items()
                },
                refusals=RefusalStore(uow.conn).load((*self._limits.symbols, *leaving)),
            )

    def _leaving(
        self, conn: Connection, snapshot: StoredSnapshot | None, now_ms: int
    ) -> dict[str, Observation[Decimal]]:
        """Mark prices of what is held, not configured, and ours by its last fill.

        No feed follows such a symbol any more; the price that the venue valued it at will do for
        leaving it.
        """
        if snapshot is None:
            return {}
        other = snapshot.positions.keys() - set(self._limits.symbols)
        found: dict[str, Observation[Decimal]] = {}
        for symbol in ExecutionStateStore(conn).ours(other):
            mark = snapshot.marks[symbol]
            as_of_ms = min(snapshot.venue_ms, snapshot.read_ms)
            if mark > 0:
                found[symbol] = aged(mark, as_of_ms, now_ms, self._limits.consensus.max_age_ms)
            else:
                found[symbol] = Unknown(f"the venue values it at {mark}")
        return found

    def _balance(self, conn: Connection, now_ms: int) -> Observation[Balance]:
        balance = BalanceStore(conn).latest()
        if balance is None:
            return Unknown("the account has never been read")
        return aged(balance, balance.venue_ms, now_ms, self._limits.max_balance_age_ms)

    def _demands(
        self, conn: Connection, products: Mapping[str, Product], now_ms: int
    ) -> dict[str, Observation[Demand]]:
        sums = [ShardSums(s.shard_id, tick, content) for s, tick, content in shards.sums(conn)]
        late = overdue(sums, now_ms, self._limits.demand.max_age_ms)
        late_ids = {s.shard_id for s in late}
        occupied = runs.occupancy(conn, late_ids) if late_ids else {}
        return demands(
            sums,
            late_ids - occupied.keys(),
            cohorts.ended(conn),
            {symbol: product.id for symbol, product in products.items()},
            self._limits.symbols,
            self._limits.demand,
            now_ms,
        )

    def _journal(self, symbols: Sequence[str], ballots: tuple[Ballot, ...]) -> ExecutionState:
        since_ms = min((b.venue_ms for b in ballots if isinstance(b, Snapshot)), default=0)
        with UnitOfWork(self._engine) as uow:
            return ExecutionStateStore(uow.conn).read(symbols, since_ms)

    def _read_prices(self, now_ms: int) -> dict[str, Observation[Decimal]]:
        found: dict[str, Observation[Decimal]] = {}
        try:
            quotes = self._prices.latest(self._limits.symbols)
        except (redis.RedisError, StoredPriceError) as error:
            log.warning("prices_not_read", error=str(error))
            return dict.fromkeys(self._limits.symbols, Unknown(f"prices cannot be read: {error}"))
        for symbol in self._limits.symbols:
            quote = quotes.get(symbol)
            if quote is None:
                found[symbol] = Unknown("no price has come in")
            elif not quote.mid.is_finite() or quote.mid <= 0:
                found[symbol] = Unknown(f"the price is {quote.mid}")
            else:
                found[symbol] = aged(
                    quote.mid, quote.received_ms, now_ms, self._limits.max_price_age_ms
                )
        return found

    def _filters(self, product: Product | None, now_ms: int) -> Observation[PlanFilters]:
        if product is None:
            return Unknown("the venue has never listed it")
        if not product.active:
            return Unknown("the venue does not list it any more")
        filters = OrderFilters(product.sz_decimals)
        return Known(PlanFilters(filters, self._limits.minimum_trade_usd), now_ms)


def _ballot(stored: StoredSnapshot | None) -> Ballot:
    if stored is None:
        return Absence(LOCAL_VOTER, "the account has never been read")
    return Snapshot.read_at(
        LOCAL_VOTER, stored.venue_ms, stored.read_ms, stored.dexes, stored.positions
    )
