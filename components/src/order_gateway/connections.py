"""MariaDB connections that are kept between transactions.

The platform opens a connection per unit of work, because a prefork child or a green thread
must never inherit one. The gateway has neither: it keeps a few, since opening one takes longer
than the transactions of an order. One that was not used for a moment is pinged first, so that a
restart of the database costs a reconnection and not an order.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError

from shared.config import Secrets, Settings
from shared.database import make_engine

POOL_SIZE = 8
MAX_OVERFLOW = 40
POOL_TIMEOUT_SECS = 5
RECYCLE_SECS = 1_800
PING_AFTER_SECS = 0.5
"""A connection that worked this recently is used without asking; a shorter outage than this
fails the transaction, as it does in the middle of one."""


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

    engine = create_engine(
        direct.url,
        creator=connect,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=MAX_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_SECS,
        pool_recycle=RECYCLE_SECS,
        pool_reset_on_return=None,  # a unit of work that was not committed rolls back itself
        isolation_level="READ COMMITTED",
    )
    event.listen(engine, "checkin", _stamp)
    event.listen(engine, "checkout", _ping_if_idle)
    return engine


def _stamp(_: object, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _ping_if_idle(connection: Any, record: Any, _: object) -> None:
    """Let the pool replace a connection that has gone away while nobody used it."""
    if time.monotonic() - record.info.get("used", float("inf")) <= PING_AFTER_SECS:
        return
    try:
        connection.ping()
    except Exception as error:
        raise DisconnectionError from error
