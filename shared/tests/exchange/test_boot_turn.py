"""A fleet that starts at once makes its first calls one after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from shared.exchange.boot_turn import BootTurn
from shared.testing.servers import free_port


def test_processes_that_start_together_take_turns(redis_client: redis.Redis) -> None:
    slept: list[float] = []
    turns = [BootTurn(redis_client, "direct", 0.5, slept.append) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        waits = sorted(pool.map(lambda turn: turn.wait(), turns))
    assert waits == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5], abs=0.25)
    assert sorted(slept) == waits[1:]
    assert [turn.wait() for turn in turns] == [0.0] * 6  # only the first call of a process


def test_other_addresses_and_later_starts_do_not_wait(redis_client: redis.Redis) -> None:
    assert BootTurn(redis_client, "direct", 0.5, lambda _: None).wait() == 0.0
    assert BootTurn(redis_client, "proxy.example", 0.5, lambda _: None).wait() == 0.0
    redis_client.delete("boot_turn:direct")  # as after a second
    assert BootTurn(redis_client, "direct", 0.5, lambda _: None).wait() == 0.0


def test_nobody_waits_for_a_redis_that_is_away() -> None:
    away = redis.Redis(port=free_port(), retry=None)
    assert BootTurn(away, "direct", 0.5).wait() == 0.0
    assert BootTurn(None, "direct", 0.5).wait() == 0.0
