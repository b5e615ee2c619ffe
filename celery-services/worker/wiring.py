"""Composition root of the workers: which real adapters a task gets, once per process.

Nothing is connected here: MariaDB is dialled per unit of work, Redis and the venue at first use. So
a pool process that was forked from a parent, or a green thread, never inherits an open socket; the
worker's start-up signals make sure that it does not inherit the clients either.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any


from celery.signals import eventlet_pool_started, worker_process_init
from redis import Redis
from sqlalchemy import Engine

from shared.clock import SystemClock
from shared.config import Secrets, Settings, load_secrets, load_settings
from shared.database import make_engine, make_redis
from shared.ports import Clock

if TYPE_CHECKING:
    from shared.exchange_manager import ExchangeManager


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

    @cached_property
    def exchange(self) -> ExchangeManager:
        """The venue; its markets are loaded at first use."""
        from shared.exchange_manager import ExchangeManager  # ccxt takes a second to import

        wallet = self.secrets.exchanges.hyperliquid.walletAddress
        return ExchangeManager.get(self.settings, wallet, self.redis)


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
    return Wiring(
        settings=settings,
        secrets=secrets,
        engine=make_engine(settings, secrets),
        redis=make_redis(settings, secrets),
        redis_raw=make_redis(settings, secrets, decode=False),
        clock=SystemClock(),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def use(wiring: Wiring | None) -> None:
    """Make ``wiring`` the one of this process (None: build it anew at the next call)."""
    global _current, _owner_pid
    _current, _owner_pid = wiring, os.getpid()


@worker_process_init.connect
@eventlet_pool_started.connect
def _start_afresh(**_: Any) -> None:
    use(None)
    get()
