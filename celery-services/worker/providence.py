"""Tasks of the population: supervise it, schedule its iterations, step it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import structlog
from opentelemetry import trace

from shared import instruments, time_budget
from shared.celery_app import app
from shared.database import UnitOfWork
from shared.market_data.tick_inputs import TickInputStore
from shared.market_data.tick_markets import DatabaseTickRows
from shared.ports import Shard
from shared.storage.redis_keys import LOW_PRIORITY_QUEUE
from worker import wiring
from worker.services.iteration import Outcome
from worker.services.scheduler import Schedule, await_tick, schedule_iterations
from worker.services.supervisor import PopulationPlan, Supervisor, open_products

log = structlog.get_logger(__name__)


@app.task(name="providence_supervisor")
def providence_supervisor() -> None:
    """Bring the population closer to its size; queue ``high_priority``.

    The number of runs and the ranges they are drawn from are those of ``config.yml`` now.
    """
    wired, settings = wiring.get(), wiring.refresh_settings()
    tick_ms = _newest_tick(wired)
    if tick_ms is None:
        log.info("population_waits_for_samples")
        return
    supervisor = Supervisor(
        PopulationPlan.of(settings),
        wired.runs,
        wired.run_states,
        DatabaseTickRows(wired.engine.begin),
        wired.clock,
        np.random.default_rng(),
    )
    products = open_products(wired.engine, settings.reconciliation_engine.symbols)
    result = supervisor.supervise(tick_ms, products)
    log.info(
        "population_supervised",
        tick_ms=tick_ms,
        active=result.active,
        born=result.born,
        asked_to_exit=result.asked_to_exit,
    )


@app.task(name="providence_iteration_scheduler")
def providence_iteration_scheduler() -> None:
    """Send an iteration of the newest committed tick to every shard; queue ``high_priority``."""
    wired, settings = wiring.get(), wiring.refresh_settings()
    tick_ms = await_tick(lambda: _newest_tick(wired), settings.interval_ms, wired.clock)
    if tick_ms is None:
        return
    trace.get_current_span().set_attribute("tick_ms", tick_ms)
    result = schedule_iterations(
        tick_ms, Schedule.of(settings), wired.runs, wired.sent_iterations, _send, wired.clock
    )
    if result.skipped:
        instruments.record_skipped_iterations(result.skipped)
        log.warning("iterations_skipped", tick_ms=tick_ms, shards=result.skipped)


@app.task(name="providence_trading_iteration")
def providence_trading_iteration(shard_ids: list[int], tick_ms: int) -> None:
    """Step shards of runs up to a tick, each once in effect; queue ``low_priority``.

    A shard that fails holds no other back. Failures count as an error of the task, and the next
    call of the scheduler sends those shards again. After an outage the task goes as far as its time
    suffices and leaves the rest to that call as well, before another is sent for the same shards.
    """
    wired = wiring.get()
    trace.get_current_span().set_attributes({"shard_ids": shard_ids, "tick_ms": tick_ms})
    try:
        shards = wired.iterations.shards(shard_ids)
    except Exception:
        wired.sent_iterations.forget(shard_ids)
        raise
    failures: list[Exception] = []
    with time_budget.within(wired.settings.providence.resend_after_secs / 2):
        for place, shard_id in enumerate(shard_ids):
            if place and time_budget.is_spent():
                wired.sent_iterations.forget(shard_ids[place:])
                log.info("iterations_left_for_later", tick_ms=tick_ms, shards=shard_ids[place:])
                break
            try:
                _iterate(wired, shard_id, tick_ms, shards.get(shard_id))
            except Exception as error:  # noqa: BLE001  raised with the others below
                wired.sent_iterations.forget([shard_id])
                failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(shard_ids)} shards failed", failures)


def _iterate(wired: wiring.Wiring, shard_id: int, tick_ms: int, shard: Shard | None) -> None:
    started = time.perf_counter()
    result = wired.iterations.run(shard_id, tick_ms, shard)
    unfinished = result.outcome is Outcome.COMMITTED and result.last_tick < tick_ms
    if unfinished or result.outcome is Outcome.CONTENDED:
        wired.sent_iterations.forget([shard_id])
    if result.outcome in (Outcome.DONE_BEFORE, Outcome.CONTENDED):
        instruments.record_fenced_iteration()
    instruments.record_iteration(
        result.outcome.value,
        time.perf_counter() - started,
        iterations=result.runs * result.ticks,
        fills=result.fills,
        rebuilt=result.rebuilt,
    )
    log.debug("shard_iterated", shard_id=shard_id, tick_ms=tick_ms, outcome=result.outcome)


def _send(shard_ids: Sequence[int], tick_ms: int, *, expires_secs: float) -> None:
    providence_trading_iteration.apply_async(
        args=(list(shard_ids), tick_ms), queue=LOW_PRIORITY_QUEUE, expires=expires_secs
    )


def _newest_tick(wired: wiring.Wiring) -> int | None:
    with UnitOfWork(wired.engine) as uow:
        return TickInputStore(uow.conn).latest_tick(wired.settings.interval_ms)
