"""The consumer-group example on a real Redis."""

from __future__ import annotations

import time
from decimal import Decimal

import redis

from price_stream_consumer import GROUP, LastSeen, PriceStreamConsumer
from shared.market_data.quotes import Quote
from shared.storage import redis_keys
from shared.storage.consumer_group import ConsumerGroup
from shared.storage.streams import PriceStore


def quote(symbol: str, received_ms: int, mid: str = "100") -> Quote:
    return Quote(symbol, Decimal(mid), Decimal(mid), received_ms, received_ms, "ws")


def member(client: redis.Redis, name: str, claim_after_ms: int = 50) -> ConsumerGroup:
    group = ConsumerGroup(
        client, redis_keys.PRICES_STREAM, GROUP, name, claim_after_ms=claim_after_ms
    )
    group.join()
    return group


def pending(client: redis.Redis) -> int:
    return client.xpending(redis_keys.PRICES_STREAM, GROUP)["pending"]


def test_each_entry_is_handled_by_exactly_one_member(redis_client: redis.Redis) -> None:
    seen = [LastSeen(), LastSeen()]
    consumers = [PriceStreamConsumer(member(redis_client, f"m{i}"), seen[i].take) for i in range(2)]
    store = PriceStore(redis_client)
    store.publish([quote("BTC", 1_000), quote("ETH", 1_000)])
    assert consumers[0].step(block_ms=10) == 1
    store.publish([quote("SOL", 2_000)])
    assert consumers[1].step(block_ms=10) == 1
    assert consumers[0].step(block_ms=10) == 0
    assert seen[0].ages_ms(5_000) == {"BTC": 4_000, "ETH": 4_000}
    assert seen[1].ages_ms(5_000) == {"SOL": 3_000}
    assert pending(redis_client) == 0


def test_what_a_crashed_member_left_pending_is_claimed(redis_client: redis.Redis) -> None:
    crashed = member(redis_client, "crashed")
    survivor_group = member(redis_client, "survivor")
    PriceStore(redis_client).publish([quote("BTC", 1_000)])
    assert len(crashed.read(10, block_ms=10)) == 1  # and never acknowledged
    seen = LastSeen()
    survivor = PriceStreamConsumer(survivor_group, seen.take)
    assert survivor.step(block_ms=10) == 0
    time.sleep(0.1)
    assert survivor.recover() == 1
    assert seen.ages_ms(1_500) == {"BTC": 500}
    assert pending(redis_client) == 0
    assert survivor.recover() == 0


def test_a_restarted_member_first_handles_its_own_pending_entries(
    redis_client: redis.Redis,
) -> None:
    before = member(redis_client, "same", claim_after_ms=60_000)
    PriceStore(redis_client).publish([quote("BTC", 1_000)])
    before.read(10, block_ms=10)
    seen = LastSeen()
    again = PriceStreamConsumer(member(redis_client, "same", claim_after_ms=60_000), seen.take)
    assert again.recover() == 1
    assert set(seen.quotes) == {"BTC"}


def test_an_entry_that_cannot_be_read_does_not_stop_the_next(redis_client: redis.Redis) -> None:
    group = member(redis_client, "m")
    redis_client.xadd(redis_keys.PRICES_STREAM, {"payload": "{not json"})
    PriceStore(redis_client).publish([quote("BTC", 1_000)])
    seen = LastSeen()
    assert PriceStreamConsumer(group, seen.take).step(block_ms=10) == 2
    assert set(seen.quotes) == {"BTC"}
    assert pending(redis_client) == 0


def test_an_emptied_redis_gets_its_group_back(redis_client: redis.Redis) -> None:
    group = member(redis_client, "m")
    redis_client.flushall()
    seen = LastSeen()
    consumer = PriceStreamConsumer(group, seen.take)
    assert consumer.step(block_ms=10) == 0
    PriceStore(redis_client).publish([quote("BTC", 1_000)])
    assert consumer.step(block_ms=10) == 1


def test_late_and_repeated_entries_change_nothing() -> None:
    seen = LastSeen()
    seen.take([quote("BTC", 2_000, "101")])
    seen.take([quote("BTC", 1_000, "100"), quote("BTC", 2_000, "102")])
    assert seen.quotes["BTC"].mid == Decimal(101)
