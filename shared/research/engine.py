"""The loop of a backtest: blocks of ticks through population and account, in bounded memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.config import Settings
from shared.providence import kernel
from shared.providence.codes import Status
from shared.providence.kernel import FloatArray
from shared.providence.market import MarketSeries, TickBlock
from shared.providence.rules import Rules
from shared.providence.run_state import Records, native
from shared.providence.supervision import ENTROPY_SAMPLES
from shared.reconciliation.demand import DemandRules
from shared.reconciliation.target import TargetRules
from shared.research.account import Account, AccountBlock, AccountRules
from shared.research.colony import Colony, ColonyPlan
from shared.research.errors import ResearchError
from shared.research.markets import MarketSpec
from shared.research.observers import EpochMark, Observer
from shared.research.tick_series import Series
from shared.risk.account_epochs import Epoch, EpochEnd, EpochRules, advance_through

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
    epochs: EpochRules
    """When the account takes profit or resets; read every ``read_every`` ticks."""
    read_every: int = 1

    def __post_init__(self) -> None:
        for name in ("supervise_every", "rebalance_every", "read_every"):
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
    epochs: int
    """Take profits and drawdown resets of the account."""


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
    latency_secs: float = 0.0,
) -> BacktestPlan:
    """The plan that ``config.yml`` describes, at ticks of ``interval_ms``.

    The account is reconciled in the period of the configuration, vacancies are filled every
    ``SUPERVISE_TICKS`` ticks or in the period of the configuration if that is longer: a life takes
    hours, and births cost more than steps. ``supervise_secs`` gives any other period.
    Costs are those of the configuration and never 0, unless ``free_of_costs`` says so. An order of
    the account is filled at the first tick that is ``latency_secs`` or more after its decision, at
    the next tick at the earliest.

    Raises
    ------
    ResearchError
        If a number is out of range, or costs are 0 without being meant to.
    """
    desired = settings.providence.desired_run_count if runs is None else runs
    _require_within("runs is {}", desired, 1, 1_000_000)
    _require_within("the balance is {} USD", balance_usd, 100.0, 1e9)
    _require_within("the latency is {:g} s", latency_secs, 0.0, 86_400.0)
    rules = settings.rules()
    fee, slippage = 0.0, 0.0
    if not free_of_costs:
        fee = rules.taker_fee_rate if fee_bps is None else fee_bps / 10_000
        slippage = rules.slippage_rate if slippage_bps is None else slippage_bps / 10_000
        _require_costs(fee, slippage)
    schedules, engine = settings.celery.schedules, settings.reconciliation_engine
    if supervise_secs is None:
        supervise_secs = max(schedules.providence_supervisor, SUPERVISE_TICKS * interval_ms / 1000)
    if rebalance_secs is None:
        rebalance_secs = engine.rebalance_frequency
    return BacktestPlan(
        _colony_plan(
            settings,
            desired,
            interval_ms,
            replace(rules, taker_fee_rate=fee, slippage_rate=slippage),
            {c + 1: market.max_leverage for c, market in enumerate(markets)},
        ),
        replace(
            _account_rules(settings, desired, balance_usd, fee, slippage),
            latency_ticks=max(1, math.ceil(latency_secs * 1000 / interval_ms)),
        ),
        tuple(markets),
        supervise_every=_in_ticks(supervise_secs, interval_ms),
        rebalance_every=_in_ticks(rebalance_secs, interval_ms),
        seed=seed,
        epochs=EpochRules(
            threshold=settings.take_profit.threshold,
            drawdown_reset=settings.take_profit.drawdown_reset,
            baseline_samples=settings.take_profit.baseline_samples,
        ),
        read_every=_in_ticks(schedules.update_balance, interval_ms),
    )


def run_backtest(
    plan: BacktestPlan,
    series: Series,
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
        loop.epochs,
    )


class _Loop:
    """State of one backtest between blocks."""

    def __init__(
        self, plan: BacktestPlan, observers: Sequence[Observer], progress: Progress | None
    ) -> None:
        self.colony = Colony(plan.colony, np.random.default_rng(plan.seed))
        self.account = Account(plan.account, plan.markets)
        self.ticks = self.run_bars = self.epochs = 0
        self._epoch, self._height = Epoch(), 0
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
        """Ticks between two calls of the supervisor; an epoch that ends is acted on at the next."""
        taken = self._stretch(piece, due)
        while taken < len(due):
            piece, due = piece.cut(taken, len(due)), due[taken:]
            taken = self._stretch(piece, due)

    def _stretch(self, piece: TickBlock, due: NDArray[np.bool_]) -> int:
        """Ticks up to the end of the account's epoch, or all; returns how many."""
        self.colony.keep()
        kept = self.account.keep()
        fills, sums = self.colony.advance(piece, due)
        account = self.account.follow(piece, due, sums)
        epoch, end, taken = self._judge(account)
        if taken < len(piece.tick_ms):
            # what lies beyond the end would have been stepped without knowing of it
            self.colony.take_back()
            self.account.take_back(kept)
            piece, due = piece.cut(0, taken), due[:taken]
            fills, sums = self.colony.advance(piece, due)
            account = self.account.follow(piece, due, sums)
        self._epoch = epoch
        for observer in self._observers:
            observer.fills(fills)
            observer.account(account)
        self.ticks += taken
        if end is not None:
            self._end_epoch(end, account)
        if self._progress is not None:
            self._progress(taken, self.colony.alive * taken)
        return taken

    def _judge(self, account: AccountBlock) -> tuple[Epoch, EpochEnd | None, int]:
        """The epoch after the account's readings, and ticks until one that ended it, or all."""
        every, count = self._plan.read_every, len(account.tick_ms)
        first = -self.ticks % every
        read = slice(first, None, every)
        epoch, end, readings = advance_through(
            self._epoch, account.tick_ms[read], account.equity[read], self._plan.epochs
        )
        return epoch, end, count if end is None else first + (readings - 1) * every + 1

    def _end_epoch(self, end: EpochEnd, account: AccountBlock) -> None:
        tick_ms = int(account.tick_ms[-1])
        effective = tick_ms + self._plan.colony.interval_ms
        self.epochs += 1
        if end is EpochEnd.TAKE_PROFIT:
            self._height += 1
            self.end(self.colony.give_height(self._height, effective))
        else:
            self.colony.ask_to_exit(effective)
        height = self._height if end is EpochEnd.TAKE_PROFIT else 0
        for observer in self._observers:
            observer.epoch(EpochMark(tick_ms, end, height, float(account.equity[-1])))

    def end(self, runs: Records) -> None:
        """Count runs that will not be stepped again."""
        self.run_bars += kernel.lived_ms(native(runs)) // self._plan.colony.interval_ms
        for observer in self._observers:
            observer.ended(runs)


def _pieces(supervised: NDArray[np.bool_], most: int) -> Iterator[tuple[int, int]]:
    """[first, end) ranges that end at every supervised tick and are ``most`` ticks at longest."""
    first = 0
    for end in [*(np.flatnonzero(supervised) + 1).tolist(), len(supervised)]:
        while first < end:
            yield first, min(first + most, end)
            first = min(first + most, end)


def _in_ticks(seconds: float, interval_ms: int) -> int:
    return max(1, round(seconds * 1000 / interval_ms))


def _require_within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ResearchError(f"{what.format(value)}; allowed is {low:,.10g} to {high:,.10g}")


def _require_costs(fee: float, slippage: float) -> None:
    if not (0.0 < fee <= 0.01 and 0.0 < slippage <= 0.01):
        raise ResearchError(
            f"fee and slippage are {fee * 10_000:g} and {slippage * 10_000:g} bps; allowed is more "
            "than 0 and at most 100, because what trades for nothing proves nothing"
        )


def _colony_plan(
    settings: Settings,
    desired: int,
    interval_ms: int,
    rules: Rules,
    max_leverage: dict[int, float],
) -> ColonyPlan:
    return ColonyPlan(
        desired=desired,
        spawn_batch=settings.providence.spawn_batch,
        shard_size=settings.providence.iteration_batch_size,
        interval_ms=interval_ms,
        space=settings.parameter_space(),
        clone_rules=settings.clone_rules(),
        rules=rules,
        max_leverage=max_leverage,
    )


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
