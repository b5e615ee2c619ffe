"""The loop of a backtest: blocks of ticks through population and account, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.config import Settings
from shared.providence.codes import Status
from shared.providence.kernel import FloatArray
from shared.providence.market import MarketSeries, TickBlock
from shared.providence.run_state import Records
from shared.providence.supervision import ENTROPY_SAMPLES
from shared.reconciliation.demand import DemandRules
from shared.reconciliation.target import TargetRules
from shared.research.account import Account, AccountRules
from shared.research.colony import Colony, ColonyPlan
from shared.research.errors import ResearchError
from shared.research.markets import MarketSpec
from shared.research.observers import Observer
from shared.research.tick_series import TickSeries

Progress = Callable[[int, int], None]
"""Told ticks done since the last call, and run-bars done since the last call."""


SUPERVISE_TICKS: Final = 15


@dataclass(frozen=True, slots=True)
class BacktestPlan:
    """Everything but prices that a backtest depends on. Periods are in ticks."""

    colony: ColonyPlan
    account: AccountRules
    markets: tuple[MarketSpec, ...]
    """One per column of the prices; column c is product c + 1."""
    supervise_every: int
    rebalance_every: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("supervise_every", "rebalance_every"):
            if getattr(self, name) < 1:
                raise ResearchError(f"{name} is {getattr(self, name)} ticks; allowed is 1 or more")
        if self.colony.product_ids != tuple(range(1, len(self.markets) + 1)):
            raise ResearchError("products must be numbered from 1, one per market")


@dataclass(frozen=True, slots=True)
class BacktestTotals:
    """What a backtest did. ``run_bars``: ticks by which living runs were stepped, in all."""

    ticks: int
    run_bars: int
    seconds: float
    born: int
    living: int
    account: Account


def plan_of(
    settings: Settings,
    markets: Sequence[MarketSpec],
    interval_ms: int,
    *,
    runs: int | None = None,
    seed: int = 0,
    balance_usd: float = 10_000.0,
    supervise_secs: float | None = None,
    rebalance_secs: float | None = None,
    fee_bps: float | None = None,
    slippage_bps: float | None = None,
    free_of_costs: bool = False,
) -> BacktestPlan:
    """The plan that ``config.yml`` describes, at ticks of ``interval_ms``.

    The account is reconciled in the period of the configuration, vacancies are filled every
    ``SUPERVISE_TICKS`` ticks or in the period of the configuration if that is longer: a life takes
    hours, and births cost more than steps. ``supervise_secs`` gives any other period.
    Costs are those of the configuration and never 0, unless ``free_of_costs`` says so.

    Raises
    ------
    ResearchError
        If a number is out of range, or costs are 0 without being meant to.
    """
    desired = settings.providence.desired_run_count if runs is None else runs
    if not 1 <= desired <= 1_000_000:
        raise ResearchError(f"runs is {desired}; allowed is 1 to 1,000,000")
    if not 100.0 <= balance_usd <= 1e9:
        raise ResearchError(f"the balance is {balance_usd} USD; allowed is 100 to 1e9")
    rules = settings.rules()
    fee = rules.taker_fee_rate if fee_bps is None else fee_bps / 10_000
    slippage = rules.slippage_rate if slippage_bps is None else slippage_bps / 10_000
    if free_of_costs:
        fee = slippage = 0.0
    elif not (0.0 < fee <= 0.01 and 0.0 < slippage <= 0.01):
        raise ResearchError(
            f"fee and slippage are {fee * 10_000:g} and {slippage * 10_000:g} bps; allowed is more "
            "than 0 and at most 100, because what trades for nothing proves nothing"
        )
    schedules, engine = settings.celery.schedules, settings.reconciliation_engine
    colony = ColonyPlan(
        desired=desired,
        spawn_batch=settings.providence.spawn_batch,
        shard_size=settings.providence.iteration_batch_size,
        interval_ms=interval_ms,
        space=settings.parameter_space(),
        clone_rules=settings.clone_rules(),
        rules=replace(rules, taker_fee_rate=fee, slippage_rate=slippage),
        max_leverage={c + 1: market.max_leverage for c, market in enumerate(markets)},
    )
    supervise = supervise_secs
    if supervise is None:
        supervise = max(schedules.providence_supervisor, SUPERVISE_TICKS * interval_ms / 1000)
    rebalance = engine.rebalance_frequency if rebalance_secs is None else rebalance_secs
    return BacktestPlan(
        colony,
        _account_rules(settings, desired, balance_usd, fee, slippage),
        tuple(markets),
        supervise_every=max(1, round(supervise * 1000 / interval_ms)),
        rebalance_every=max(1, round(rebalance * 1000 / interval_ms)),
        seed=seed,
    )


def run_backtest(
    plan: BacktestPlan,
    series: TickSeries,
    observers: Sequence[Observer] = (),
    progress: Progress | None = None,
) -> BacktestTotals:
    """Step the population through every tick of ``series`` and follow it with one account.

    Memory does not grow with the length of the series, but for what observers keep.

    Raises
    ------
    ResearchError
        If the series does not have the plan's markets or interval.
    """
    symbols = tuple(market.symbol for market in plan.markets)
    if series.symbols != symbols or series.interval_ms != plan.colony.interval_ms:
        raise ResearchError(
            f"the prices are of {', '.join(series.symbols)} every {series.interval_ms} ms; the "
            f"plan is for {', '.join(symbols)} every {plan.colony.interval_ms} ms"
        )
    start = time.perf_counter()
    loop = _Loop(plan, observers, progress)
    market = MarketSeries(loop.colony.grid, len(symbols), series.interval_ms)
    for number in range(series.blocks):
        loop.block(market.push_block(series.samples(number)))
    living = loop.colony.runs
    loop.end(living)
    for observer in observers:
        observer.close()
    return BacktestTotals(
        loop.ticks,
        loop.run_bars,
        time.perf_counter() - start,
        loop.colony.born,
        int((living["status"] == Status.ACTIVE).sum()),
        loop.account,
    )


class _Loop:
    """State of one backtest between blocks."""

    def __init__(
        self, plan: BacktestPlan, observers: Sequence[Observer], progress: Progress | None
    ) -> None:
        self.colony = Colony(plan.colony, np.random.default_rng(plan.seed))
        self.account = Account(plan.account, plan.markets)
        self.ticks = self.run_bars = 0
        self._plan = plan
        self._observers = observers
        self._progress = progress
        shape = (ENTROPY_SAMPLES, len(self.colony.grid.cells), len(plan.markets))
        self._recent: FloatArray = np.full(shape, np.nan)

    def block(self, block: TickBlock) -> None:
        """Go through one block of ticks."""
        count = len(block.tick_ms)
        places = self.ticks + np.arange(count)
        supervised = places % self._plan.supervise_every == 0
        due = places % self._plan.rebalance_every == 0
        entropy = np.concatenate([self._recent, block.entropy])
        for observer in self._observers:
            observer.market(block)
        for first, end in _pieces(supervised, self.colony.most_ticks):
            self._piece(block.cut(first, end), due[first:end])
            if supervised[end - 1]:
                recent = entropy[end : end + ENTROPY_SAMPLES]
                self.end(self.colony.supervise(int(block.tick_ms[end - 1]), recent).ended)
        self._recent = entropy[-ENTROPY_SAMPLES:].copy()

    def _piece(self, piece: TickBlock, due: NDArray[np.bool_]) -> None:
        fills, sums = self.colony.advance(piece, due)
        account = self.account.follow(piece, due, sums)
        for observer in self._observers:
            observer.fills(fills)
            observer.account(account)
        self.ticks += len(piece.tick_ms)
        if self._progress is not None:
            self._progress(len(piece.tick_ms), self.colony.alive * len(piece.tick_ms))

    def end(self, runs: Records) -> None:
        """Count runs that will not be stepped again."""
        lives = runs["tick"].astype(np.int64) - runs["spawn_tick"]
        self.run_bars += int(lives.sum()) // self._plan.colony.interval_ms
        for observer in self._observers:
            observer.ended(runs)


def _pieces(supervised: NDArray[np.bool_], most: int) -> Iterator[tuple[int, int]]:
    """[first, end) ranges that end at every supervised tick and are ``most`` ticks at longest."""
    first = 0
    for end in [*(np.flatnonzero(supervised) + 1).tolist(), len(supervised)]:
        while first < end:
            yield first, min(first + most, end)
            first = min(first + most, end)


def _account_rules(
    settings: Settings, desired: int, balance_usd: float, fee: float, slippage: float
) -> AccountRules:
    engine = settings.reconciliation_engine
    return AccountRules(
        start_balance_usd=balance_usd,
        fee_rate=fee,
        slippage_rate=slippage,
        target=TargetRules(
            risk_pos_percentage=Decimal(str(engine.risk_pos_percentage)),
            desired_run_count=desired,
            max_symbol_exposure=Decimal(str(engine.max_symbol_exposure)),
            max_total_exposure=Decimal(str(engine.max_total_exposure)),
            invert_decisions=engine.invert_decisions,
            can_go_long=engine.can_go_long,
            can_go_short=engine.can_go_short,
        ),
        demand=DemandRules(
            kelly_threshold=engine.kelly_threshold,
            probationary_multiplier=engine.probationary_multiplier,
            max_reward_ratio=settings.providence.sizing.max_reward_ratio,
            max_age_ms=round(engine.max_sums_age_secs * 1000),
        ),
        minimum_trade_usd=Decimal(str(engine.minimum_trade_threshold)),
    )
