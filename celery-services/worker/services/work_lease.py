"""A lease in Redis that keeps two workers from doing the same work at the same time.

It only saves work. Whoever loses it, or cannot reach Redis, may go on: what makes effects
happen once is the intent journal.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import structlog

from shared.storage import redis_keys

log = structlog.get_logger(__name__)

_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then
    return redis.call('del', KEYS[1])
end
return 0
"""


@contextmanager
def work_lease(client: redis.Redis, name: str, ttl_secs: float) -> Iterator[bool]:
    """Whether this caller has the work; another one that has it keeps it for ``ttl_secs``.

    Released at the end of the block by its owner's token, so that a holder that took too long
    does not release its successor's. Without Redis everybody has the work.
    """
    key, token = redis_keys.lease(name), secrets.token_hex(16)
    try:
        held = bool(client.set(key, token, nx=True, px=max(1, round(ttl_secs * 1000))))
    except redis.RedisError as error:
        log.warning("lease_without_redis", lease=name, error=str(error))
        yield True
        return
    try:
        yield held
    finally:
        if held:
            _release(client, key, token)


def _release(client: redis.Redis, key: str, token: str) -> None:
    try:
        client.eval(_RELEASE, 1, key, token)
    except redis.RedisError as error:
        log.warning("lease_not_released", key=key, error=str(error))
