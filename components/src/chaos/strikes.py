"""Carries out faults, and what ends them."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog
from celery import Celery
from sqlalchemy import select

from chaos.faults import KILLED, Fault
from chaos.person import Person
from chaos.platform import RunningPlatform
from chaos.venue import UNREACHABLE
from demo.processes import start_time
from shared.config import load_secrets
from shared.database import UnitOfWork, make_engine, make_redis, redis_url
from shared.storage import redis_keys
from shared.storage.tables import iteration_shards

log = structlog.get_logger(__name__)

GATEWAY = "order_gateway"
PROCESS_SECS = 20.0
COPIES = 3
Undo = Callable[[], object]


@dataclass
class Striker:
    """Strikes the running platform; ``due`` ends what has lasted long enough."""

    platform: RunningPlatform
    _undoes: list[tuple[float, Undo]] = field(default_factory=list)

    def strike(self, fault: Fault, lasts_secs: float) -> bool:
        """Put a fault in force; False if there was nothing to strike. May raise ``UNREACHABLE``."""
        log.info("strike", fault=fault.name, lasts_secs=lasts_secs)
        match fault.kind:
            case "kill":
                return self.platform.kill(fault.target) > 0
            case "venue":
                fault_id = self.platform.admin.strike(fault.body)
                if not fault.passes:
                    self._later(lasts_secs, partial(self.platform.admin.lift, fault_id))
                return True
            case "disk full":
                return self._fill_disk(lasts_secs)
            case "duplicated tasks":
                self._duplicate_tasks()
                return True
            case "foreign trade":
                symbol = self.platform.plan.settings.reconciliation_engine.symbols[0]
                return Person(self.platform.plan).trade(symbol)
            case "kill switch and kills":
                return Person(self.platform.plan).set_kill_switch() and self._kill_all()

    def due(self, *, at_once: bool = False) -> bool:
        """End what is due, or everything; whether anything is still in force."""
        now = math.inf if at_once else time.monotonic()
        for one in [one for one in self._undoes if one[0] <= now]:
            try:
                one[1]()
            except (*UNREACHABLE, ProcessLookupError) as error:
                log.info("fault_ended_by_itself", error=str(error))
            self._undoes.remove(one)
        return bool(self._undoes)

    def has_process(self, fault: Fault) -> bool:
        """Whether the process that the fault needs runs."""
        one = {"kill": fault.target, "disk full": GATEWAY}.get(fault.kind)
        needed = KILLED if fault.halts else () if one is None else (one,)
        return all(start_time(self.platform.pid(name)) is not None for name in needed)

    def _kill_all(self) -> bool:
        """Every process at the same moment, servers included."""
        killed = [self.platform.kill(name) for name in KILLED]
        return all(killed)

    def _later(self, lasts_secs: float, undo: Undo) -> None:
        self._undoes.append((time.monotonic() + lasts_secs, undo))

    def _fill_disk(self, lasts_secs: float) -> bool:
        """No file of the gateway may grow: every write to audit trail and journal fails."""
        pid = self.platform.pid(GATEWAY)
        try:
            before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
        except ProcessLookupError:
            return False
        self._later(lasts_secs, partial(resource.prlimit, pid, resource.RLIMIT_FSIZE, before))
        return True

    def _duplicate_tasks(self) -> None:
        """Looks at the same time, without the lease that spares them; old and next ticks again."""
        plan = self.platform.plan
        secrets = load_secrets(plan.paths.service_secrets)
        with UnitOfWork(make_engine(plan.settings, secrets)) as uow:
            columns = select(iteration_shards.c.id, iteration_shards.c.last_tick)
            shards = uow.conn.execute(columns).all()
        interval_ms = round(plan.settings.celery.schedules.providence_iteration_scheduler * 1000)
        client = make_redis(plan.settings, secrets)
        client.delete(redis_keys.lease("reconcile_positions"))
        client.connection_pool.disconnect()
        with Celery(broker=redis_url(plan.settings, secrets)) as sender:
            for _ in range(COPIES):
                high = redis_keys.HIGH_PRIORITY_QUEUE
                sender.send_task("reconcile_positions", queue=high, expires=5)
                for shard in shards:
                    for tick in (shard.last_tick, shard.last_tick + interval_ms):
                        self._send_iteration(sender, shard.id, tick)

    def _send_iteration(self, sender: Celery, shard_id: int, tick: int) -> None:
        sender.send_task(
            "providence_trading_iteration",
            args=(shard_id, tick),
            queue=redis_keys.LOW_PRIORITY_QUEUE,
            expires=5,
        )
