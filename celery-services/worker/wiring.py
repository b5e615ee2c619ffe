"""Composition root of the workers: which real adapters a task gets, once per process.

Nothing is connected here: MariaDB is dialled per unit of work, Redis and the venue at first use. So
a pool process that was forked from a parent, or a green thread, never inherits an open socket; the
worker's start-up signals make sure that it does not inherit the clients either.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog
from celery.signals import eventlet_pool_started, worker_process_init, worker_process_shutdown
from redis import Redis
from sqlalchemy import Engine

from shared.alerts.raising import Alerts
from shared.clock import SystemClock
from shared.config import ConfigError, Secrets, Settings, load_secrets, load_settings
from shared.database import make_engine, make_redis
from shared.market_data.tick_markets import DatabaseTickRows, TickMarkets
from shared.ports import Clock
from shared.providence.step import Grid
from shared.storage import config_versions
from shared.storage.products import ProductStore
from shared.storage.run_state_store import RedisRunStateStore
from shared.storage.run_store import MariaRunStore
from shared.storage.sent_iterations import RedisSentIterations
from shared.storage.transactions import KeptConnection, Transactions
from worker.services.iteration import IterationService
from worker.services.stepping import ConfigVersions, Stepper, Steppers

if TYPE_CHECKING:
    from shared.alerts.channels import Channel
    from shared.exchange_manager import ExchangeManager

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wiring:
    """Settings, secrets and clients of one process."""

    settings: Settings
    secrets: Secrets
    engine: Engine
    redis: Redis
    """Decoded replies."""
    redis_raw: Redis
    """Raw replies, from a pool of its own."""
    clock: Clock
    worker: str
    """Name of this process in what it commits."""
    since_ms: int = 0
    """When this process began."""

    @cached_property
    def exchange(self) -> ExchangeManager:
        """The venue; its markets are loaded at first use."""
        from shared.exchange_manager import ExchangeManager  # ccxt takes a second to import

        wallet = self.secrets.exchanges.hyperliquid.walletAddress
        return ExchangeManager.get(self.settings, wallet, self.redis)

    @cached_property
    def alerts(self) -> Alerts:
        """Where alerts are raised."""
        return Alerts(self.engine, self.settings.alerts, self.clock.now_ms)

    @cached_property
    def alert_channels(self) -> Sequence[Channel]:
        """Where they are delivered."""
        from shared.alerts.channels import channels_of  # Apprise takes a while to import

        return channels_of(self.secrets.alerts.urls, self.settings.alerts.timeout_secs)

    @cached_property
    def runs(self) -> MariaRunStore:
        """The journal of runs, a direct connection per transaction: safe for green threads."""
        return MariaRunStore(self.engine.begin, self.clock)

    @cached_property
    def run_states(self) -> RedisRunStateStore:
        """Records of runs in Redis."""
        return RedisRunStateStore(self.redis_raw)

    @cached_property
    def sent_iterations(self) -> RedisSentIterations:
        """What is on the queue of iterations."""
        return RedisSentIterations(self.redis)

    @cached_property
    def _kept(self) -> KeptConnection:
        return KeptConnection(self.engine)

    @cached_property
    def iterations(self) -> IterationService:
        """Iterations on one kept connection: for a prefork child, one task at a time."""
        begin = self._kept.begin
        return IterationService(
            MariaRunStore(begin, self.clock),
            self.run_states,
            steppers(begin, self.settings),
            self.clock,
            interval_ms=self.settings.interval_ms,
            checkpoint_every=self.settings.providence.db_checkpoint_iterations,
            worker=self.worker,
        )

    def close(self) -> None:
        """Hang up whatever was opened; everything is dialled again at its next use."""
        self._kept.close()
        self.redis.connection_pool.disconnect()
        self.redis_raw.connection_pool.disconnect()


def steppers(begin: Transactions, settings: Settings) -> Steppers:
    """Steppers over the stored ticks, sharing what is known of configuration versions."""

    def read_config(version: str) -> Mapping[str, Any]:
        with begin() as conn:
            return config_versions.content(conn, version)

    def read_products() -> Mapping[str, int]:
        with begin() as conn:
            return {p.symbol: p.id for p in ProductStore(conn).all().values()}

    configs = ConfigVersions(read_config, read_products)
    grid = Grid.of(settings.parameter_space())
    rows = DatabaseTickRows(begin)
    return Steppers(lambda interval_ms: Stepper(TickMarkets(rows, interval_ms, grid), configs))


_current: Wiring | None = None
_owner_pid = 0


def get() -> Wiring:
    """The wiring of this process, built at the first call and again after a fork.

    Raises ``ConfigError`` when configuration or secrets are unusable.
    """
    global _current, _owner_pid
    if _current is None or _owner_pid != os.getpid():
        _current, _owner_pid = build(load_settings(), load_secrets()), os.getpid()
    return _current


def build(settings: Settings, secrets: Secrets) -> Wiring:
    """Real adapters for these settings; opens nothing."""
    clock = SystemClock()
    return Wiring(
        settings=settings,
        secrets=secrets,
        engine=make_engine(settings, secrets),
        redis=make_redis(settings, secrets),
        redis_raw=make_redis(settings, secrets, decode=False),
        clock=clock,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        since_ms=clock.now_ms(),
    )


def refresh_settings() -> Settings:
    """The settings as ``config.yml`` has them now, for what may change while a worker runs.

    A file that has become unusable is reported, and the settings in force stay.
    """
    try:
        return load_settings()
    except ConfigError as error:
        log.warning("config_change_refused", reason=str(error))
        return get().settings


def use(wiring: Wiring | None) -> None:
    """Make ``wiring`` the one of this process (None: build it anew at the next call)."""
    global _current, _owner_pid
    _current, _owner_pid = wiring, os.getpid()


@worker_process_init.connect
@eventlet_pool_started.connect
def _start_afresh(**_: Any) -> None:
    use(None)
    get()


@worker_process_shutdown.connect
def _hang_up(**_: Any) -> None:
    if _current is not None and _owner_pid == os.getpid():
        _current.close()
