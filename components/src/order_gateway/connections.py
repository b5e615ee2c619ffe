"""MariaDB connections that are kept between transactions.

The platform opens a connection per unit of work, because a prefork child or a green thread
must never inherit one. The gateway has neither: it keeps a few, since opening one takes longer
than the three transactions of an order. Each is pinged before use, so that a restart of the
database costs a reconnection and not an order.
"""

from __future__ import annotations

from sqlalchemy import Engine, QueuePool, create_engine
from sqlalchemy.engine.interfaces import DBAPIConnection

from shared.config import Secrets, Settings
from shared.database import make_engine

POOL_SIZE = 8
MAX_OVERFLOW = 40
POOL_TIMEOUT_SECS = 5
RECYCLE_SECS = 1_800


def make_pooled_engine(settings: Settings, secrets: Secrets) -> Engine:
    """An engine with the connections of ``make_engine``, kept in a pool."""
    direct = make_engine(settings, secrets)

    def connect() -> DBAPIConnection:
        borrowed = direct.raw_connection()
        connection = borrowed.dbapi_connection
        if connection is None:
            raise RuntimeError("the database driver returned no connection")
        borrowed.detach()
        return connection

    return create_engine(
        direct.url,
        creator=connect,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=MAX_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_SECS,
        pool_recycle=RECYCLE_SECS,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
    )
