"""The shared request budget, on a real Redis and on its own."""

from __future__ import annotations

import threading
import time

import pytest
import redis

from shared.exchange.buckets import (
    PLACE_WAIT_MS,
    Ask,
    Bucket,
    Limits,
    LocalBucket,
    RedisBucket,
    new_place,
    split_budget,
)
from shared.exchange.errors import BudgetExhausted
from shared.exchange.rate_budget import (
    KEPT_FROM,
    Priority,
    RateBudget,
    weight_of,
    weight_of_reply,
)
from shared.exchange.transport import priority_of

PER_MINUTE = 1_000
LIMITS = Limits(PER_MINUTE, in_flight=50)
CAPACITY = 200


@pytest.fixture(params=["local", "redis"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    if request.param == "local":
        return LocalBucket(LIMITS)
    client: redis.Redis = request.getfixturevalue("redis_client")
    return RedisBucket(client, "direct", LIMITS)


def take(bucket: Bucket, weight: int, priority: Priority = "read") -> int:
    """Ms to wait; a place that was granted is given back at once."""
    place = new_place()
    wait_ms = bucket.take(ask_for(weight, priority), place)
    bucket.leave(place)
    return wait_ms


def ask_for(weight: int, priority: Priority) -> Ask:
    return Ask(weight, *KEPT_FROM[priority], exempt=priority == "exit")


def test_a_full_bucket_and_a_minute_of_refill_are_the_budget() -> None:
    burst, per_ms = split_budget(PER_MINUTE)
    assert burst + 60_000 * per_ms == pytest.approx(PER_MINUTE)


def test_reads_leave_what_is_kept_for_reconciliation_and_exits(bucket: Bucket) -> None:
    for _ in range(5):
        assert take(bucket, 20, "read") == 0
    assert take(bucket, 20, "read") > 0
    assert take(bucket, 20, "reconcile") == 0
    assert take(bucket, 20, "reconcile") == 0
    assert take(bucket, 20, "reconcile") == 0
    assert take(bucket, 20, "reconcile") > 0
    assert take(bucket, 20, "exit") == 0
    assert take(bucket, 15, "exit") == 0
    assert take(bucket, 20, "exit") > 0


def test_a_refused_call_takes_nothing_and_knows_its_wait(bucket: Bucket) -> None:
    take(bucket, CAPACITY, "exit")
    wait_ms = take(bucket, 10, "exit")
    assert 500 <= wait_ms <= 760  # 10 of 800 per minute
    assert take(bucket, 10, "exit") <= wait_ms
    time.sleep(wait_ms / 1000)
    assert take(bucket, 10, "exit") == 0


def test_a_call_that_outweighs_its_share_waits_for_a_full_bucket(bucket: Bucket) -> None:
    assert take(bucket, 150, "read") == 0
    assert take(bucket, 150, "read") > 9_000


def test_what_a_reply_weighed_is_charged_afterwards(bucket: Bucket) -> None:
    assert take(bucket, 20, "exit") == 0
    bucket.settle(200)
    assert take(bucket, 1, "exit") >= 1_000


def test_a_429_blocks_everyone_but_exits_and_doubles_when_it_returns(bucket: Bucket) -> None:
    first = bucket.penalise()
    assert first == 5_000
    assert 0 < bucket.penalise() <= 5_000  # another process hit by the same storm
    assert take(bucket, 2, "reconcile") > 4_000
    wait_ms = take(bucket, 2, "exit")
    assert wait_ms < 400  # the bucket is empty, but exits are not held back further
    time.sleep(wait_ms / 1000 + 0.05)
    assert take(bucket, 2, "exit") == 0


def test_repeated_storms_back_off_longer(redis_client: redis.Redis) -> None:
    bucket = RedisBucket(redis_client, "direct", LIMITS)
    lengths = []
    for _ in range(6):
        lengths.append(bucket.penalise())
        redis_client.hset("rate_budget:direct", "blocked_until", 0)  # the block has passed
    assert lengths == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]


def test_reads_leave_places_in_flight_to_exits(redis_client: redis.Redis) -> None:
    limits = Limits(PER_MINUTE, in_flight=4)
    for bucket in (LocalBucket(limits), RedisBucket(redis_client, "direct", limits)):
        places = [new_place() for _ in range(5)]
        assert bucket.take(ask_for(1, "read"), places[0]) == 0
        assert bucket.take(ask_for(1, "read"), places[1]) == 0
        assert bucket.take(ask_for(1, "read"), places[2]) == PLACE_WAIT_MS
        assert bucket.take(ask_for(1, "reconcile"), places[2]) == 0
        assert bucket.take(ask_for(1, "reconcile"), places[3]) == PLACE_WAIT_MS
        assert bucket.take(ask_for(1, "exit"), places[3]) == 0
        assert bucket.take(ask_for(1, "exit"), places[4]) == PLACE_WAIT_MS
        for place in places[:3]:
            bucket.leave(place)
        assert bucket.take(ask_for(1, "read"), places[4]) == 0


def test_the_places_of_a_dead_process_are_free_again_after_their_lease(
    redis_client: redis.Redis,
) -> None:
    limits = Limits(PER_MINUTE, in_flight=2, lease_ms=200)
    for bucket in (LocalBucket(limits), RedisBucket(redis_client, "direct", limits)):
        assert bucket.take(ask_for(1, "read"), new_place()) == 0
        assert bucket.take(ask_for(1, "read"), new_place()) > 0
        time.sleep(0.25)
        assert bucket.take(ask_for(1, "read"), new_place()) == 0


def test_addresses_have_budgets_of_their_own(redis_client: redis.Redis) -> None:
    one = RedisBucket(redis_client, "direct", LIMITS)
    take(one, CAPACITY, "exit")
    assert take(RedisBucket(redis_client, "proxy.example", LIMITS), 10, "read") == 0
    assert take(RedisBucket(redis_client, "direct", LIMITS), 10, "read") > 0


def test_many_threads_never_take_more_than_the_budget(redis_client: redis.Redis) -> None:
    taken = []
    lock = threading.Lock()
    end = time.monotonic() + 3.0

    def hammer() -> None:
        bucket = RedisBucket(redis_client, "direct", LIMITS)
        while time.monotonic() < end:
            if take(bucket, 2, "exit") == 0:
                with lock:
                    taken.append(2)
            else:
                time.sleep(0.005)

    threads = [threading.Thread(target=hammer) for _ in range(10)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    burst, per_ms = split_budget(PER_MINUTE)
    allowed = burst + (time.monotonic() - started) * 1000 * per_ms
    assert 0.9 * (burst + 3_000 * per_ms) <= sum(taken) <= allowed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, secs: float) -> None:
        self.now += secs


@pytest.fixture
def clock() -> Clock:
    return Clock()


def budget(clock: Clock, shared: Bucket | None = None) -> RateBudget:
    return RateBudget(LIMITS, shared, sleep=clock.sleep, monotonic=lambda: clock.now)


def test_a_caller_waits_for_its_turn(clock: Clock) -> None:
    b = budget(clock)
    for _ in range(12):
        b.acquire(20, "read", 30.0, "info:meta")
    # 240 of weight: 100 at once, the rest at 800 per minute.
    assert clock.now == pytest.approx(140 / 800 * 60, rel=0.05)


def test_a_call_whose_turn_comes_too_late_is_dropped_at_once(clock: Clock) -> None:
    b = budget(clock)
    b.acquire(CAPACITY, "exit", 0.0, "order")
    before = clock.now
    with pytest.raises(BudgetExhausted, match=r"info:meta: dropped unsent.*read"):
        b.acquire(20, "read", 2.0, "info:meta")
    assert clock.now == before


def test_without_redis_a_process_lives_on_a_tenth(clock: Clock, closed_port: int) -> None:
    away = redis.Redis(port=closed_port, retry=None)
    b = budget(clock, RedisBucket(away, "direct", LIMITS))
    b.acquire(2, "exit", 0.0, "cancel")
    b.acquire(10, "exit", 0.0, "cancel")
    with pytest.raises(BudgetExhausted):
        b.acquire(20, "exit", 0.0, "cancel")
    assert b.penalise() > 0


@pytest.fixture
def closed_port() -> int:
    from shared.testing.servers import free_port

    return free_port()


@pytest.mark.parametrize(
    ("info_type", "items", "weight"),
    [
        ("allMids", 300, 2),
        ("clearinghouseState", 0, 2),
        ("orderStatus", 0, 2),
        ("metaAndAssetCtxs", 2, 20),
        ("userFillsByTime", 2_000, 120),
        ("fundingHistory", 500, 45),
        ("candleSnapshot", 5_000, 103),
        ("userRole", 0, 60),
    ],
)
def test_weights_are_the_venues(info_type: str, items: int, weight: int) -> None:
    assert weight_of(info_type) + weight_of_reply(info_type, items) == weight


def test_an_empty_redis_starts_a_full_bucket(redis_client: redis.Redis) -> None:
    bucket = RedisBucket(redis_client, "direct", LIMITS)
    take(bucket, CAPACITY, "exit")
    redis_client.flushall()
    redis_client.script_flush()
    assert take(bucket, 10, "read") == 0


@pytest.mark.parametrize(
    ("info_type", "priority"),
    [
        ("clearinghouseState", "reconcile"),
        ("userNonFundingLedgerUpdates", "reconcile"),
        ("userFillsByTime", "reconcile"),
        ("allMids", "read"),
        ("candleSnapshot", "read"),
    ],
)
def test_what_the_account_rests_on_goes_before_the_market(info_type: str, priority: str) -> None:
    assert priority_of(info_type) == priority
