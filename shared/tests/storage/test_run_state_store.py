"""One contract for the records of runs: in memory and in Redis."""

from __future__ import annotations

import numpy as np
import pytest
from redis import Redis

from shared.ports import RunStateStore, SentIteration, SentIterations, ids
from shared.providence.run_state import Records
from shared.storage import redis_keys
from shared.storage.run_state_store import RedisRunStateStore
from shared.storage.sent_iterations import RedisSentIterations
from shared.testing.memory_runs import MemoryRunStateStore, MemorySentIterations
from shared.testing.run_world import RunWorld

WORLD = RunWorld(length=0)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> RunStateStore:
    if request.param == "memory":
        return MemoryRunStateStore()
    return RedisRunStateStore(request.getfixturevalue("raw_redis_client"))


@pytest.fixture(params=["memory", "redis"])
def sent(request: pytest.FixtureRequest) -> SentIterations:
    if request.param == "memory":
        return MemorySentIterations()
    return RedisSentIterations(request.getfixturevalue("redis_client"))


def records(count: int = 3, tick: int = 1_700_000_000_000) -> Records:
    made = WORLD.newborns(count)
    made["tick"] = tick
    return made


def test_what_was_saved_is_loaded_in_the_order_asked(store: RunStateStore) -> None:
    saved = records(3)
    assert store.save(saved) == 3
    loaded, there = store.load(ids([3, 1]))
    assert there.all()
    assert loaded.tobytes() == saved[[2, 0]].tobytes()
    assert loaded.flags.writeable


def test_missing_records_are_reported(store: RunStateStore) -> None:
    saved = records(2)
    store.save(saved)
    loaded, there = store.load(ids([2, 7, 1]))
    assert there.tolist() == [True, False, True]
    assert loaded[there].tobytes() == saved[[1, 0]].tobytes()
    assert len(store.load(ids([]))[0]) == 0


def test_only_newer_records_replace_older(store: RunStateStore) -> None:
    old, new = records(3), records(3)
    new["tick"] = old["tick"] + [1000, 0, -1000]
    new["theta"] = 0.123
    store.save(old)
    assert store.save(new) == 1
    loaded, _ = store.load(ids([1, 2, 3]))
    assert loaded["theta"].tolist() == [0.123, *old["theta"][1:].tolist()]


@pytest.mark.parametrize("step", [1, 255, 256, 2**31, 2**32, 2**40])
def test_ticks_compare_as_numbers_over_all_bytes(store: RunStateStore, step: int) -> None:
    low, high = records(1, 2**40 - 1), records(1, 2**40 - 1 + step)
    assert store.save(high) == 1
    assert store.save(low) == 0
    assert store.load(ids([1]))[0]["tick"].tolist() == high["tick"].tolist()


def test_discarded_records_are_gone(store: RunStateStore) -> None:
    store.save(records(2))
    store.discard(ids([1]))
    assert store.load(ids([1, 2]))[1].tolist() == [False, True]


def test_unreadable_records_count_as_missing(raw_redis_client: Redis) -> None:
    store = RedisRunStateStore(raw_redis_client)
    saved = records(4)
    store.save(saved)
    raw_redis_client.set(redis_keys.run_state(1), b"short")
    raw_redis_client.setrange(redis_keys.run_state(2), 8, bytes([99]))
    raw_redis_client.set(redis_keys.run_state(3), saved[3:].tobytes())
    loaded, there = store.load(ids([1, 2, 3, 4]))
    assert there.tolist() == [False, False, False, True]
    assert loaded[3].tobytes() == saved[3].tobytes()
    saved["tick"] += 1000
    assert store.save(saved) == 4


def test_records_expire_after_a_day(raw_redis_client: Redis) -> None:
    RedisRunStateStore(raw_redis_client).save(records(1))
    assert 86_000 < raw_redis_client.ttl(redis_keys.run_state(1)) <= 86_400


def test_signals_name_run_and_reason(raw_redis_client: Redis) -> None:
    store = RedisRunStateStore(raw_redis_client)
    ended = records(1)
    ended["exit_reason"], ended["live_pnl"] = 3, -1.25
    store.notify_completed(ended)
    store.notify_exit(ids([7]), "shrink")
    assert raw_redis_client.get(redis_keys.run_completed(1)) == (
        b'{"tick_ms":1700000000000,"reason":"duration","live_pnl":-1.25}'
    )
    assert raw_redis_client.get(redis_keys.run_exit(7)) == b'{"reason":"shrink"}'
    assert raw_redis_client.ttl(redis_keys.run_completed(1)) > 0


def test_memory_per_run_stays_within_its_budget(raw_redis_client: Redis) -> None:
    count = 20_000
    before = int(raw_redis_client.info("memory")["used_memory"])
    many = np.repeat(records(1), count)
    many["run_id"] = 100_000 + np.arange(count)
    for start in range(0, count, 500):
        RedisRunStateStore(raw_redis_client).save(many[start : start + 500])
    used = int(raw_redis_client.info("memory")["used_memory"]) - before
    assert used / count <= 700


def test_sent_iterations_are_remembered_per_shard(sent: SentIterations) -> None:
    assert sent.read() == {}
    sent.record([0, 1], SentIteration(5000, 5100))
    sent.record([], SentIteration(1, 1))
    sent.record([1], SentIteration(6000, 6200))
    assert sent.read() == {0: SentIteration(5000, 5100), 1: SentIteration(6000, 6200)}


def test_failed_iteration_is_forgotten_alone(sent: SentIterations) -> None:
    sent.record([1, 2], SentIteration(5000, 5001))
    sent.forget([2, 9])
    sent.forget([])
    assert sent.read() == {1: SentIteration(5000, 5001)}
