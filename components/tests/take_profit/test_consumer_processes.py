"""The two consumers of ``balance:updated`` as processes: at work, and ended by SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from decimal import Decimal

import pytest
import redis
from sqlalchemy import Engine

from shared.storage.balance_stream import publish_balance
from shared.storage.balances import Balance
from shared.storage.redis_keys import BALANCE_STREAM
from shared.testing.servers import wait_until
from take_profit.service import current


def joined(client: redis.Redis) -> bool:
    try:
        return bool(client.xinfo_groups(BALANCE_STREAM))
    except redis.ResponseError:
        return False


def publish(client: redis.Redis, usd: int) -> None:
    now_ms, value = time.time_ns() // 1_000_000, Decimal(usd)
    publish_balance(client, Balance(value, value, Decimal(0), Decimal(0), now_ms, now_ms))


@pytest.mark.parametrize("module", ["take_profit", "example_balance_consumer"])
def test_a_consumer_works_survives_an_emptied_redis_and_ends_on_sigterm(
    module: str,
    engine: Engine,
    redis_client: redis.Redis,
    service_environ: Mapping[str, str],
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", module], env=dict(service_environ), stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: joined(redis_client), 30, f"{module} to join its group")
        publish(redis_client, 100)
        wait_until(lambda: done(redis_client), 20, "the entry to be acknowledged")
        redis_client.flushall()
        wait_until(lambda: joined(redis_client), 20, f"{module} to join again")
        publish(redis_client, 101)
        wait_until(lambda: done(redis_client), 20, "the second entry to be acknowledged")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        if process.poll() is None:
            process.kill()
        _, words = process.communicate()
    assert b"Traceback" not in words
    if module == "take_profit":
        assert [s.value for s in current(engine).samples] == [100.0, 101.0]


def done(client: redis.Redis) -> bool:
    (group,) = client.xinfo_groups(BALANCE_STREAM)
    return bool(group["entries-read"]) and group["pending"] == 0
