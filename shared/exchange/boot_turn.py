"""Processes that start together make their first calls one after the other, not all at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import cast

import redis
import structlog

from shared.storage import redis_keys

log = structlog.get_logger(__name__)

LONGEST_WAIT_MS = 10_000

# KEYS[1] next turn; ARGV: spacing ms, longest wait ms. Returns the ms to wait, on Redis' clock.
_NEXT = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local turn = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, ms)
local wait = math.min(turn - ms, tonumber(ARGV[2]))
redis.call('SET', KEYS[1], ms + wait + ARGV[1], 'PX', wait + ARGV[1] + 1000)
return wait
"""


class BootTurn:
    """``wait`` pauses the first call of this process until its turn; later calls pass at once."""

    def __init__(
        self,
        client: redis.Redis | None,
        address: str,
        spacing_secs: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._key = redis_keys.boot_turn(address)
        self._spacing_ms = round(spacing_secs * 1000)
        self._sleep = sleep
        self._lock = Lock()
        self._over = client is None or self._spacing_ms == 0

    def wait(self) -> float:
        """Wait for the turn; returns for how many seconds. Without Redis nobody waits."""
        with self._lock:
            wait_secs = 0.0 if self._over else self._turn_ms() / 1000
            self._over = True
            if wait_secs > 0:
                log.info("venue_boot_turn", wait_secs=wait_secs)
                self._sleep(wait_secs)
            return wait_secs

    def _turn_ms(self) -> int:
        if self._client is None:
            return 0
        spacing, longest = str(self._spacing_ms), str(LONGEST_WAIT_MS)
        try:
            return int(cast(int, self._client.eval(_NEXT, 1, self._key, spacing, longest)))
        except redis.RedisError as error:
            log.warning("venue_boot_turn_unknown", reason=str(error))
            return 0
