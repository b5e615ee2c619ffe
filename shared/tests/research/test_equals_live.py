"""The same ticks through the live services, in memory, and through a backtest: one journal."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_inputs import TickRow, config_version, empty_samples
from shared.market_data.tick_markets import TickMarkets
from shared.providence.codes import Status
from shared.providence.run_state import Records
from shared.providence.step import Grid
from shared.research.engine import BacktestPlan, run_backtest
from shared.research.observers import Journal, Observer
from shared.research.tick_series import TickSeries
from shared.storage.products import Product
from shared.testing.clock import FrozenClock
from shared.testing.memory_runs import MemoryRunStateStore, MemoryRunStore
from shared.testing.run_world import RULES, space
from shared.tests.research.samples import MINUTE_MS, SYMBOLS, plan, walks
from worker.services.iteration import IterationService
from worker.services.stepping import ConfigVersions, Stepper, Steppers
from worker.services.supervisor import PopulationPlan, Supervisor

IDS = {symbol: place + 1 for place, symbol in enumerate(SYMBOLS)}
TICKS = 420
SUPERVISE_EVERY = 3


class Rows:
    """The series as the sampler would have stored it."""

    def __init__(self, series: TickSeries, version: str) -> None:
        samples = series.samples(0)
        self.ticks = samples.tick_ms.tolist()
        self._rows = []
        for t, tick_ms in enumerate(self.ticks):
            row = empty_samples(IDS.values())
            row["ok"] = samples.ok[t]
            row["mid"] = row["mark"] = samples.price[t]
            row["funding_index"] = samples.funding_index[t]
            row["volatility"] = samples.volatility[t]
            source = "live" if samples.ok[t].any() else "missing"
            self._rows.append(TickRow(MINUTE_MS, tick_ms, version, source, row, tick_ms))

    def rows(self, interval_ms: int, from_ms: int, to_ms: int) -> list[TickRow]:
        return [row for row in self._rows if from_ms <= row.tick_ms <= to_ms]

    def next_tick(self, interval_ms: int, after_ms: int) -> int | None:
        return next((row.tick_ms for row in self._rows if row.tick_ms > after_ms), None)


class Ends(Observer):
    def __init__(self) -> None:
        self.parts: list[Records] = []

    def ended(self, runs: Records) -> None:
        self.parts.append(runs)


@pytest.fixture(scope="module")
def series() -> TickSeries:
    return TickSeries(walks(TICKS, seed=3, gaps=True), MINUTE_MS)


@pytest.fixture(scope="module")
def backtest_plan() -> BacktestPlan:
    base = plan(runs=70, seed=11)
    colony = replace(
        base.colony,
        shard_size=20,
        space=space(max_duration_secs=(2_400.0, 24_000.0)),
        rules=RULES,
        clone_rules=replace(base.colony.clone_rules, min_trades=1, min_parent_age_secs=300.0),
    )
    return replace(base, colony=colony, supervise_every=SUPERVISE_EVERY)


def live(series: TickSeries, backtest_plan: BacktestPlan) -> tuple[MemoryRunStore, Records]:
    """Every tick through the iteration service and the supervisor, as the workers do it."""
    colony = backtest_plan.colony
    config = TickConfig(MINUTE_MS, SYMBOLS, colony.rules)
    version = config_version(config.to_json())
    rows = Rows(series, version)
    clock = FrozenClock(rows.ticks[0])
    runs, states = MemoryRunStore(clock), MemoryRunStateStore()
    configs = ConfigVersions({version: config.to_json()}.__getitem__, lambda: IDS)
    grid = Grid.of(colony.space)
    service = IterationService(
        runs,
        states,
        Steppers(lambda ms: Stepper(TickMarkets(rows, ms, grid), configs)),
        clock,
        interval_ms=MINUTE_MS,
        checkpoint_every=10,
        worker="test",
    )
    population = PopulationPlan(
        desired=colony.desired,
        spawn_batch=colony.spawn_batch,
        shard_size=colony.shard_size,
        shard_count=colony.shard_count,
        interval_ms=MINUTE_MS,
        space=colony.space,
        clone_rules=colony.clone_rules,
    )
    rng = np.random.default_rng(backtest_plan.seed)
    supervisor = Supervisor(population, runs, states, rows, clock, rng)
    leverage = colony.max_leverage
    products = [Product(p, s, p - 1, 3, int(leverage[p]), False, True) for s, p in IDS.items()]
    for place, tick_ms in enumerate(rows.ticks):
        for shard in runs.shards():
            service.run(shard.shard_id, tick_ms)
        if place % SUPERVISE_EVERY == 0:
            supervisor.supervise(tick_ms, products)
    ids = np.array(sorted(runs.rows), dtype=np.int64)
    return runs, states.load(ids)[0]


def test_backtest_writes_the_journal_of_the_live_services(
    series: TickSeries, backtest_plan: BacktestPlan
) -> None:
    journal, ends = Journal(), Ends()
    totals = run_backtest(backtest_plan, series, [journal, ends])
    runs, records = live(series, backtest_plan)
    fills = runs.fills(records["run_id"].copy())
    ordered = fills[np.lexsort((fills["run_id"], fills["tick"]))]
    assert len(ordered) > 1_000
    assert journal.sha256 == hashlib.sha256(ordered.tobytes()).hexdigest()
    assert totals.born == len(records) > 150
    assert (records["parent_id"] > 0).sum() > 10
    assert (records["status"] == Status.COMPLETED).sum() > 50
    mine = np.concatenate([part.view("V288") for part in ends.parts]).view(records.dtype)
    mine = mine[np.argsort(mine["run_id"])]
    assert mine.tobytes() == records.tobytes()
