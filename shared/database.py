"""Connections: MariaDB sessions as a unit of work, Redis through pools.

MariaDB connections are direct (no pool): a prefork child or a green thread never inherits
one. The pure-Python connector is used because eventlet can make it cooperative.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from shared.config import Secrets, Settings

T = TypeVar("T")

DEADLOCK = 1213
LOCK_WAIT_TIMEOUT = 1205
READ_TIMEOUT_SECS = 30
MIGRATION_TIMEOUT_SECS = 6 * 3_600
"""Changing a large table takes as long as it takes."""


def make_engine(settings: Settings, secrets: Secrets, *, migrate: bool = False) -> Engine:
    """An engine for the application user, or for the user that may change the schema."""
    db = settings.database
    password = secrets.database.migrate_password if migrate else secrets.database.app_password
    url = URL.create(
        "mariadb+mysqlconnector",
        username=db.migrate_user if migrate else db.user,
        password=password.get_secret_value(),
        host=db.host,
        port=db.port,
        database=db.name,
    )
    engine = create_engine(
        url,
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        connect_args=connection_arguments(
            settings, MIGRATION_TIMEOUT_SECS if migrate else READ_TIMEOUT_SECS
        ),
    )
    prepare_connections(engine)
    return engine


def connection_arguments(
    settings: Settings, timeout_secs: int = READ_TIMEOUT_SECS
) -> dict[str, Any]:
    """How every connection to MariaDB is made; a statement may take ``timeout_secs``."""
    return {
        "use_pure": True,
        "charset": "utf8mb4",
        "collation": "utf8mb4_bin",
        "connection_timeout": settings.database.connect_timeout_secs,
        "read_timeout": timeout_secs,
        "write_timeout": timeout_secs,
    }


def prepare_connections(engine: Engine) -> None:
    """Teach the engine's connections what the connector does not know of MariaDB."""
    event.listen(engine, "connect", _without_query_attributes)
    event.listen(engine, "connect", _without_pings)


def _without_query_attributes(connection: Any, _: object) -> None:
    """The connector would send trace ids as query attributes, which MariaDB does not know."""
    connection.otel_context_propagation = False


def _without_pings(connection: Any, _: object) -> None:
    """The connector would ask the server before every statement whether it is still there.

    A connection that is lost is found by the statement itself, and SQLAlchemy invalidates it.
    """
    connection.is_connected = lambda: True


class UnitOfWork:
    """One transaction: leaving the block without ``commit()`` rolls everything back.

    ``with UnitOfWork(engine) as uow: uow.conn.execute(...); uow.commit()``
    """

    conn: Connection

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> Self:
        self.conn = self._engine.connect()
        return self

    def commit(self) -> None:
        """Make everything done so far permanent."""
        self.conn.commit()

    def __exit__(self, *_: object) -> None:
        self.conn.close()


def retry_deadlocks(work: Callable[[], T], attempts: int = 5) -> T:
    """Call ``work``, which opens its own unit of work, again after a deadlock.

    ``work`` must be safe to repeat from its start. Other errors, and the last deadlock, rise.
    """
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except DBAPIError as error:
            if not is_deadlock(error) or attempt == attempts:
                raise
            time.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311
    raise AssertionError("attempts must be at least 1")


def is_deadlock(error: DBAPIError) -> bool:
    """Whether the database gave up this transaction in favour of another."""
    return getattr(error.orig, "errno", None) in (DEADLOCK, LOCK_WAIT_TIMEOUT)


def make_redis(settings: Settings, secrets: Secrets, *, decode: bool = True) -> redis.Redis:
    """A pooled client; ``decode=False`` for binary values, from a pool of its own."""
    r = settings.redis
    pool = redis.BlockingConnectionPool(
        host=r.host,
        port=r.port,
        db=r.db,
        password=secrets.redis.password.get_secret_value() or None,
        decode_responses=decode,
        max_connections=r.max_connections,
        timeout=r.timeout_secs,
        socket_timeout=r.timeout_secs,
        socket_connect_timeout=r.timeout_secs,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
    )
    return redis.Redis(connection_pool=pool)


def redis_url(settings: Settings, secrets: Secrets) -> str:
    """URL of the broker for Celery and Flower; it may hold the password, so never log it."""
    r = settings.redis
    password = secrets.redis.password.get_secret_value()
    return f"redis://{f':{password}@' if password else ''}{r.host}:{r.port}/{r.db}"
