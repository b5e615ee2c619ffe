"""take_profit on real MariaDB and Redis: what it asks of the runs, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, insert, select

from shared.database import UnitOfWork
from shared.exchange.errors import VenueTimeout
from shared.exchange.ledger_updates import LedgerUpdate
from shared.risk.account_epochs import EpochEnd, EpochRules
from shared.storage.balance_stream import BalanceUpdate, publish_balance
from shared.storage.balances import Balance
from shared.storage.consumer_group import ConsumerGroup
from shared.storage.redis_keys import BALANCE_STREAM
from shared.storage.tables import epochs, iteration_shards, runs
from shared.testing.clock import FrozenClock
from take_profit.__main__ import GROUP, step
from take_profit.service import TakeProfit, current

RULES = EpochRules(threshold=0.05, drawdown_reset=0.2, baseline_samples=3)
INTERVAL_MS = 1_000


@dataclass
class FakeLedger:
    entries: list[LedgerUpdate] = field(default_factory=list)
    broken: bool = False
    asked: int = 0

    def updates(self, start_ms: int, end_ms: int) -> Sequence[LedgerUpdate]:
        self.asked += 1
        if self.broken:
            raise VenueTimeout("info:userNonFundingLedgerUpdates: no reply in time")
        return [e for e in self.entries if start_ms <= e.time_ms <= end_ms]


@dataclass
class Scene:
    engine: Engine
    clock: FrozenClock
    ledger: FakeLedger
    judge: TakeProfit

    def read(self, *values: float, status: str = "Known") -> list[EpochEnd]:
        ends = []
        for value in values:
            self.clock.advance(1_000)
            end = self.judge.handle(self.update(value, status))
            if end is not None:
                ends.append(end)
        return ends

    def update(self, value: float, status: str = "Known") -> BalanceUpdate:
        now_ms, usd = self.clock.now_ms(), Decimal(str(value))
        return BalanceUpdate(status, usd, usd, Decimal(0), now_ms, now_ms)

    def rows(self, table: Any) -> list[Any]:
        with UnitOfWork(self.engine) as uow:
            return list(uow.conn.execute(select(table)))


@pytest.fixture
def scene(engine: Engine) -> Scene:
    clock = FrozenClock()
    ledger = FakeLedger()
    judge = TakeProfit(engine=engine, ledger=ledger, clock=clock, rules=RULES, max_age_ms=10_000)
    with UnitOfWork(engine) as uow:
        uow.conn.execute(
            insert(iteration_shards).values(
                id=0, last_tick=50_000, interval_ms=INTERVAL_MS, version=7, sums={}, sums_tick=0,
                committed_ms=0, worker="",
            )
        )  # fmt: skip
        for run_id, height in ((1, None), (2, None), (3, 1)):
            uow.conn.execute(
                insert(runs).values(
                    id=run_id, shard_id=0, product_id=1, symbol="BTC", status="active",
                    interpretation="direct", generation=0, spawn_tick=1, height=height,
                    start_balance=100.0, live_pnl=5.0, fill_count=0, run_state={}, created_ms=0,
                )
            )  # fmt: skip
        uow.conn.execute(
            insert(epochs).values(
                height=1, kind="take_profit", effective_tick=1, run_count=1, created_ms=0
            )
        )
        uow.commit()
    return Scene(engine, clock, ledger, judge)


def test_a_take_profit_gives_the_next_height_to_runs_without_one(scene: Scene) -> None:
    assert scene.read(100, 100, 100, 106, 106) == [EpochEnd.TAKE_PROFIT]
    found = scene.rows(runs)
    assert [r.height for r in found] == [2, 2, 1]
    assert {r.height_tick for r in found if r.height == 2} == {51_000}
    assert all(r.exit_tick is None and r.status == "active" for r in found)
    epoch = scene.rows(epochs)[-1]
    assert (epoch.height, epoch.kind, epoch.account_value, epoch.run_count) == (
        2, "take_profit", 106.0, 2,
    )  # fmt: skip
    assert scene.rows(iteration_shards)[0].version == 8


def test_a_drawdown_asks_all_runs_to_exit_without_a_height(scene: Scene) -> None:
    assert scene.read(100, 100, 100, 79, 79) == [EpochEnd.DRAWDOWN]
    found = scene.rows(runs)
    assert [r.height for r in found] == [None, None, 1]
    assert {r.exit_tick for r in found} == {51_000}
    assert {r.exit_reason for r in found} == {"drawdown"}
    assert len(scene.rows(epochs)) == 1


@pytest.mark.parametrize("status", ["Unknown", "Stale", ""])
def test_a_balance_that_is_not_known_triggers_neither(scene: Scene, status: str) -> None:
    scene.read(100, 100, 100)
    assert scene.read(1, 1, 1, 500, 500, 500, status=status) == []
    assert current(scene.engine).baseline == 100


def test_a_balance_that_is_too_old_triggers_neither(scene: Scene) -> None:
    scene.read(100, 100, 100)
    late = [scene.update(500.0)]
    scene.clock.advance(1_000)
    late.append(scene.update(500.0))
    scene.clock.advance(60_000)
    assert [scene.judge.handle(update) for update in late] == [None, None]


def test_the_state_survives_a_restart(scene: Scene) -> None:
    scene.read(100, 100, 100, 106)
    scene.judge = TakeProfit(
        engine=scene.engine,
        ledger=scene.ledger,
        clock=scene.clock,
        rules=RULES,
        max_age_ms=10_000,
    )
    assert scene.read(106) == [EpochEnd.TAKE_PROFIT]


def test_the_same_reading_twice_counts_once(scene: Scene) -> None:
    scene.read(100, 100, 100)
    scene.clock.advance(1_000)
    update = scene.update(106.0)
    assert [scene.judge.handle(update) for _ in range(4)] == [None] * 4


def test_two_processes_end_an_epoch_once(scene: Scene) -> None:
    scene.read(100, 100, 100, 106)
    scene.clock.advance(1_000)
    update = scene.update(106.0)
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda _: scene.judge.handle(update), range(4)))
    assert ends.count(EpochEnd.TAKE_PROFIT) == 1
    assert len(scene.rows(epochs)) == 2


@pytest.mark.parametrize("usd", [-50, 50])
def test_a_deposit_or_withdrawal_triggers_neither(scene: Scene, usd: int) -> None:
    scene.read(100, 100, 100)
    scene.ledger.entries.append(LedgerUpdate(scene.clock.now_ms() + 500, "deposit", Decimal(usd)))
    assert scene.read(*[100 + usd] * 5) == []
    assert current(scene.engine).baseline == 100 + usd


def test_an_end_is_not_decided_while_the_ledger_cannot_be_read(scene: Scene) -> None:
    scene.read(100, 100, 100)
    scene.ledger.broken = True
    assert scene.read(106, 106, 106) == []
    scene.ledger.broken = False
    assert scene.read(106, 106) == [EpochEnd.TAKE_PROFIT]


def test_a_ledger_entry_of_an_unknown_kind_starts_the_baseline_anew(scene: Scene) -> None:
    scene.read(100, 100, 100)
    scene.ledger.entries.append(LedgerUpdate(scene.clock.now_ms() + 500, "newKind", None))
    assert scene.read(200, 200, 200, 200) == []
    assert current(scene.engine).baseline == 200


def test_the_ledger_is_not_read_with_every_reading(scene: Scene) -> None:
    scene.read(*[100] * 30)
    assert scene.ledger.asked == 1


def test_pending_entries_of_a_dead_member_are_judged_by_another(
    scene: Scene, redis_client: redis.Redis
) -> None:
    dead = ConsumerGroup(redis_client, BALANCE_STREAM, GROUP, "dead")
    alive = ConsumerGroup(redis_client, BALANCE_STREAM, GROUP, "alive", claim_after_ms=0)
    dead.join()
    for value in (100, 100, 100, 106, 106):
        scene.clock.advance(1_000)
        usd, now_ms = Decimal(value), scene.clock.now_ms()
        publish_balance(redis_client, Balance(usd, usd, Decimal(0), Decimal(0), now_ms, now_ms))
    assert len(dead.read(100, 10)) == 5
    assert step(alive, scene.judge, block_ms=10) == 5
    assert [r.height for r in scene.rows(runs)] == [2, 2, 1]
    assert redis_client.xpending(BALANCE_STREAM, GROUP)["pending"] == 0


def test_an_entry_that_cannot_be_read_does_not_stop_the_others(
    scene: Scene, redis_client: redis.Redis
) -> None:
    group = ConsumerGroup(redis_client, BALANCE_STREAM, GROUP, "one")
    group.join()
    redis_client.xadd(BALANCE_STREAM, {"account_value": "much"})
    publish_balance(
        redis_client,
        Balance(
            Decimal(100), Decimal(100), Decimal(0), Decimal(0),
            scene.clock.now_ms(), scene.clock.now_ms(),
        ),
    )  # fmt: skip
    assert step(group, scene.judge, block_ms=10) == 2
    assert len(current(scene.engine).samples) == 1


def test_an_entry_is_not_acknowledged_before_it_is_judged(
    scene: Scene, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = ConsumerGroup(redis_client, BALANCE_STREAM, GROUP, "one")
    group.join()
    usd, now_ms = Decimal(100), scene.clock.now_ms()
    publish_balance(redis_client, Balance(usd, usd, Decimal(0), Decimal(0), now_ms, now_ms))

    def crash(_: BalanceUpdate) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(scene.judge, "handle", crash)
        with pytest.raises(RuntimeError, match="killed"):
            step(group, scene.judge, block_ms=10)
    assert step(group, scene.judge, block_ms=10) == 1
    assert len(current(scene.engine).samples) == 1
