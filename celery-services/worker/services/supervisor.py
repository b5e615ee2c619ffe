"""Keeps the population at its size: clones and fresh runs into vacancies, the worst out of excess.

One call does a bounded part of the work and leaves the rest to the next. Two at once are harmless:
what is born is counted again inside the transaction that gives birth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from sqlalchemy import Engine

from shared.config import Settings
from shared.database import UnitOfWork
from shared.market_data.tick_inputs import TickWindow
from shared.market_data.tick_markets import TickRows
from shared.ports import Clock, RunIds, RunStateStore, RunStore
from shared.providence.entropy import SlidingEntropy
from shared.providence.recent import Recent, sorted_entropy
from shared.providence.rules import CloneRules, ParameterSpace
from shared.providence.run_state import Records, join
from shared.providence.supervision import (
    ENTROPY_SAMPLES,
    Candidates,
    conceive,
    parent_shards,
    place,
)
from shared.storage.products import Product, ProductStore

SHRINK_REASON = "shrink"


@dataclass(frozen=True, slots=True)
class PopulationPlan:
    """Size and make-up of the population."""

    desired: int
    spawn_batch: int
    shard_size: int
    shard_count: int
    interval_ms: int
    space: ParameterSpace
    clone_rules: CloneRules

    @classmethod
    def of(cls, settings: Settings) -> PopulationPlan:
        """What ``config.yml`` says."""
        providence = settings.providence
        return cls(
            desired=providence.desired_run_count,
            spawn_batch=providence.spawn_batch,
            shard_size=providence.iteration_batch_size,
            shard_count=math.ceil(providence.desired_run_count / providence.iteration_batch_size),
            interval_ms=settings.interval_ms,
            space=settings.parameter_space(),
            clone_rules=settings.clone_rules(),
        )


@dataclass(frozen=True, slots=True)
class SupervisionResult:
    """Runs active before the call, born in it, and asked to exit by it."""

    active: int
    born: int
    asked_to_exit: int


class Supervisor:
    """Grows and shrinks the population towards a plan."""

    def __init__(
        self,
        plan: PopulationPlan,
        runs: RunStore,
        states: RunStateStore,
        rows: TickRows,
        clock: Clock,
        rng: Generator,
    ) -> None:
        self._plan = plan
        self._runs = runs
        self._states = states
        self._rows = rows
        self._clock = clock
        self._rng = rng

    def supervise(self, tick_ms: int, products: Sequence[Product]) -> SupervisionResult:
        """One call at the newest committed tick; ``products`` are open for new runs."""
        plan = self._plan
        self._runs.create_shards(range(plan.shard_count), tick_ms, plan.interval_ms)
        count = self._runs.count()
        asked = 0
        if count.staying > plan.desired:
            asked = len(self._shrink())
        born = 0
        if count.active < plan.desired and products:
            born = self._grow(count.active, tick_ms, products)
        return SupervisionResult(count.active, born, asked)

    def _shrink(self) -> RunIds:
        """The worst go first: lowest live PnL, among equals the youngest."""
        plan = self._plan
        asked = self._runs.shrink(plan.desired, plan.spawn_batch, SHRINK_REASON)
        self._states.notify_exit(asked, SHRINK_REASON)
        return asked

    def _grow(self, active: int, tick_ms: int, products: Sequence[Product]) -> int:
        plan = self._plan
        wanted = min(plan.desired - active, plan.spawn_batch)
        newborns = self._conceive(wanted, tick_ms, products)
        shard_ids = place(len(newborns), self._runs.occupancy(), plan.shard_count, plan.shard_size)
        born = self._runs.spawn(
            newborns[: len(shard_ids)],
            shard_ids,
            {product.id: product.symbol for product in products},
            desired=plan.desired,
            tick_ms=tick_ms,
            interval_ms=plan.interval_ms,
            now_ms=self._clock.now_ms(),
        )
        self._states.save(born)
        return len(born)

    def _conceive(self, count: int, tick_ms: int, products: Sequence[Product]) -> Records:
        """Clones of good parents and fresh draws, at most ``count``, under the symbols' caps."""
        plan = self._plan
        return conceive(
            self._rng,
            count,
            plan.space,
            plan.clone_rules,
            self._runs.symbol_counts(),
            self._candidates,
            self._recent_entropy(tick_ms, [product.id for product in products]),
            {product.id: float(product.max_leverage) for product in products},
            desired=plan.desired,
            spawn_tick=tick_ms,
        )

    def _recent_entropy(self, tick_ms: int, product_ids: Sequence[int]) -> Recent:
        """The newest entropy values of every cell and symbol."""
        interval_ms, space = self._plan.interval_ms, self._plan.space
        samples = max(ENTROPY_SAMPLES, space.theta_min_samples)
        length = max(space.windows) + samples
        from_ms = tick_ms - (length - 1) * interval_ms
        rows = self._rows.rows(interval_ms, from_ms, tick_ms)
        window = TickWindow.from_rows(interval_ms, from_ms, tick_ms, rows, product_ids)
        columns = len(window.product_ids)
        entropy = [
            SlidingEntropy(*cell, columns).push_many(window.mid, window.ok)[-samples:]
            for cell in space.cells
        ]
        return sorted_entropy(np.stack(entropy, axis=1), space, window.product_ids.tolist())

    def _candidates(self) -> Candidates:
        """Runs of some shards, as Redis has them."""
        shard_ids = np.array([shard.shard_id for shard in self._runs.shards()])
        found = []
        for shard_id in parent_shards(self._rng, shard_ids):
            records, there = self._states.load(self._runs.members(shard_id).run_ids)
            found.append(records[there])
        return Candidates.of(join(found))


def open_products(engine: Engine, symbols: Collection[str]) -> list[Product]:
    """Configured products that the venue lists, in order of id."""
    with UnitOfWork(engine) as uow:
        known = ProductStore(uow.conn).all()
    return sorted((known[s] for s in symbols if s in known and known[s].active), key=lambda p: p.id)
