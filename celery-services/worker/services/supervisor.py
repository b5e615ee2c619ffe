"""Keeps the population at its size: clones and fresh runs into vacancies, the worst out of excess.

One call does a bounded part of the work and leaves the rest to the next. Two at once are harmless:
what is born is counted again inside the transaction that gives birth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sqlalchemy import Engine

from shared.config import Settings
from shared.database import UnitOfWork
from shared.market_data.tick_inputs import TickWindow
from shared.market_data.tick_markets import TickRows
from shared.ports import Clock, RunIds, RunStateStore, RunStore
from shared.providence import population
from shared.providence.entropy import SlidingEntropy
from shared.providence.population import RecentEntropy
from shared.providence.rules import CloneRules, ParameterSpace
from shared.providence.run_state import Records, join, new_records
from shared.storage.products import Product, ProductStore

ENTROPY_SAMPLES = 512
"""Recent entropy values per cell and symbol from which thresholds are drawn."""
PARENT_SHARDS = 16
"""Shards whose runs are looked at for parents in one call, chosen anew each time."""
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
        plan, rng = self._plan, self._rng
        ids = [product.id for product in products]
        leverage = {product.id: float(product.max_leverage) for product in products}
        recent = self._recent_entropy(tick_ms, ids)
        counts = self._runs.symbol_counts()
        cap = population.symbol_cap(plan.desired, plan.space, len(ids))
        room = {product_id: max(cap - counts.get(product_id, 0), 0) for product_id in ids}
        split = population.plan_vacancies(rng, count, 0, plan.clone_rules)
        candidates = self._candidates() if split.clones else new_records(0)
        weights = population.parent_weights(candidates, tick_ms, plan.clone_rules)
        parents = candidates[
            population.choose_parents(rng, candidates, weights, split.clones, room)
        ]
        clones = population.clone(
            rng, parents, plan.space, plan.clone_rules, recent, leverage, spawn_tick=tick_ms
        )
        fresh = population.draw(
            rng,
            count - len(clones),
            plan.space,
            ids,
            _merged(counts, population.count_symbols(clones)),
            recent,
            leverage,
            desired=plan.desired,
            spawn_tick=tick_ms,
        )
        return join([clones, fresh])

    def _recent_entropy(self, tick_ms: int, product_ids: Sequence[int]) -> RecentEntropy:
        """The newest entropy values of every cell and symbol."""
        interval_ms, space = self._plan.interval_ms, self._plan.space
        length = max(space.windows) + ENTROPY_SAMPLES
        from_ms = tick_ms - (length - 1) * interval_ms
        rows = self._rows.rows(interval_ms, from_ms, tick_ms)
        window = TickWindow.from_rows(interval_ms, from_ms, tick_ms, rows, product_ids)
        recent = {}
        for cell in space.cells:
            values = SlidingEntropy(*cell, len(window.product_ids)).push_many(
                window.mid, window.ok
            )[-ENTROPY_SAMPLES:]
            for column, product_id in enumerate(window.product_ids.tolist()):
                recent[cell, product_id] = values[:, column]
        return recent

    def _candidates(self) -> Records:
        """Runs of some shards, as Redis has them."""
        shard_ids = np.array([shard.shard_id for shard in self._runs.shards()])
        looked_at = self._rng.permutation(shard_ids)[:PARENT_SHARDS]
        found = []
        for shard_id in looked_at.tolist():
            records, there = self._states.load(self._runs.members(shard_id).run_ids)
            found.append(records[there])
        return join(found)


def open_products(engine: Engine, symbols: Collection[str]) -> list[Product]:
    """Configured products that the venue lists, in order of id."""
    with UnitOfWork(engine) as uow:
        known = ProductStore(uow.conn).all()
    return sorted((known[s] for s in symbols if s in known and known[s].active), key=lambda p: p.id)


def place(
    count: int, occupancy: Mapping[int, int], shard_count: int, shard_size: int
) -> NDArray[np.int32]:
    """A shard for each of ``count`` runs, fewer if there is no room; the emptiest shards first.

    Whole shards are filled one after another, so that few of them change.
    """
    room = {shard: shard_size - occupancy.get(shard, 0) for shard in range(shard_count)}
    places: list[int] = []
    for shard in sorted(room, key=lambda shard: (-room[shard], shard)):
        free = min(room[shard], count - len(places))
        if free <= 0:
            break
        places += [shard] * free
    return np.array(places, dtype=np.int32)


def _merged(a: Mapping[int, int], b: Mapping[int, int]) -> dict[int, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in a.keys() | b.keys()}
