"""Keeps the lease that makes this process the only gateway."""

from __future__ import annotations

import os
import secrets
import socket

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from order_gateway.errors import NotReady
from shared.database import UnitOfWork
from shared.storage.leases import Lease, LeaseLost, LeaseStore

log = structlog.get_logger(__name__)

LEASE_NAME = "order_gateway"
TTL_MS = 5_000
RENEW_SECS = 1.5


class LeaseKeeper:
    """Takes, renews and gives back the lease. ``step`` is called every ``RENEW_SECS``.

    ``times_taken`` grows with every new term: between two terms another gateway may have traded.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self._lease: Lease | None = None
        self.times_taken = 0

    def held(self) -> Lease:
        """The lease; raises ``NotReady`` while another process may have it."""
        if self._lease is None:
            raise NotReady("another gateway holds the lease, or the database cannot be reached")
        return self._lease

    @property
    def is_held(self) -> bool:
        """Whether the lease was held at the last look."""
        return self._lease is not None

    def step(self) -> str | None:
        """Renew the lease, or try to take it; returns why the database does not answer, if so."""
        try:
            with UnitOfWork(self._engine) as uow:
                store = LeaseStore(uow.conn)
                if self._lease is None:
                    self._lease = store.acquire(LEASE_NAME, self._owner, TTL_MS)
                    if self._lease is not None:
                        self.times_taken += 1
                        log.info("lease_taken", fence=self._lease.fence)
                else:
                    store.renew(self._lease, TTL_MS)
                uow.commit()
        except LeaseLost as error:
            self._lease = None
            log.error("lease_lost", reason=str(error))  # noqa: TRY400
            return self.step()
        except SQLAlchemyError as error:
            return self._database_away(error)
        return None

    def _database_away(self, error: SQLAlchemyError) -> str:
        """While the database is away nobody can take the lease; afterwards it may be gone."""
        reason = type(error).__name__
        log.warning("lease_not_renewed", reason=reason)
        return f"MariaDB does not answer ({reason})"

    def give_back(self) -> None:
        """Release the lease, so that the next gateway starts at once."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            with UnitOfWork(self._engine) as uow:
                LeaseStore(uow.conn).release(lease)
                uow.commit()
        except SQLAlchemyError as error:
            log.warning("lease_not_released", reason=str(error.__class__.__name__))
