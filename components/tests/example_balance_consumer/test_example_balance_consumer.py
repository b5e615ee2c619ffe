"""The example consumer: work is shared, taken over, and harmless when it comes twice."""

from __future__ import annotations

from decimal import Decimal

import redis

from example_balance_consumer import GROUP, AccountWatcher, BalanceConsumer
from shared.storage.balance_stream import BalanceUpdate, publish_balance
from shared.storage.balances import Balance
from shared.storage.consumer_group import ConsumerGroup
from shared.storage.redis_keys import BALANCE_STREAM


def publish(client: redis.Redis, value: int, venue_ms: int) -> None:
    usd = Decimal(value)
    publish_balance(client, Balance(usd, usd, Decimal(0), Decimal(0), venue_ms, venue_ms))


def member(client: redis.Redis, name: str) -> tuple[BalanceConsumer, ConsumerGroup]:
    group = ConsumerGroup(client, BALANCE_STREAM, GROUP, name, claim_after_ms=0)
    group.join()
    return BalanceConsumer(group, AccountWatcher()), group


def test_new_entries_are_handled_and_acknowledged(redis_client: redis.Redis) -> None:
    consumer, _ = member(redis_client, "one")
    publish(redis_client, 100, 1)
    publish(redis_client, 101, 2)
    assert consumer.step(block_ms=10) == 2
    assert redis_client.xpending(BALANCE_STREAM, GROUP)["pending"] == 0
    assert consumer.step(block_ms=10) == 0


def test_what_a_dead_member_left_is_taken_over(redis_client: redis.Redis) -> None:
    _, dead = member(redis_client, "dead")
    publish(redis_client, 100, 1)
    assert len(dead.read(10, 10)) == 1
    consumer, _ = member(redis_client, "alive")
    assert consumer.step(block_ms=10) == 1
    assert redis_client.xpending(BALANCE_STREAM, GROUP)["pending"] == 0


def test_an_unreadable_entry_is_passed_over(redis_client: redis.Redis) -> None:
    consumer, _ = member(redis_client, "one")
    redis_client.xadd(BALANCE_STREAM, {"status": "Known"})
    publish(redis_client, 100, 1)
    assert consumer.step(block_ms=10) == 2


def test_only_newer_known_readings_are_news() -> None:
    watcher = AccountWatcher()
    usd = Decimal(100)
    known = BalanceUpdate("Known", usd, usd, Decimal(0), 5, 5)
    assert watcher.handle(known)
    assert not watcher.handle(known)
    assert not watcher.handle(BalanceUpdate("Stale", usd, usd, Decimal(0), 9, 9))
    assert watcher.last == known
