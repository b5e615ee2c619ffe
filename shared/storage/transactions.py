"""How a store gets its transactions: a new connection for each, or one that a process keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from sqlalchemy import Connection, Engine

Transactions: TypeAlias = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction that commits at the end of the block and rolls back on an exception.

``engine.begin`` is one: a direct connection per transaction, for green threads and services.
"""

IDLE_SECS = 30.0


class KeptConnection:
    """One direct connection of a process that does one thing at a time (a prefork child).

    It is dialled at first use, and again after a failure or ``IDLE_SECS`` without use, so that a
    database that closed it meanwhile goes unnoticed. Not for threads or green threads.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._used = 0.0

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction on the kept connection; commits at the end of the block."""
        connection = self._fresh()
        try:
            with connection.begin():
                yield connection
        except BaseException:
            if connection.invalidated:
                self.close()
            raise
        self._used = time.monotonic()

    def close(self) -> None:
        """Hang up; the next transaction dials again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _fresh(self) -> Connection:
        if self._connection is not None and time.monotonic() - self._used > IDLE_SECS:
            self.close()
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection
