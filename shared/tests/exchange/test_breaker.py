"""The circuit breaker: alone, shared through Redis, and while Redis is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from prometheus_client import REGISTRY
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.exchange.breaker import VenueBreaker
from shared.exchange.errors import BreakerOpen
from shared.testing.servers import free_port

Make = Callable[[], VenueBreaker]
RESET_SECS = 0.3


@pytest.fixture(params=["alone", "shared"])
def breaker(request: pytest.FixtureRequest) -> VenueBreaker:
    client = request.getfixturevalue("redis_client") if request.param == "shared" else None
    return VenueBreaker("venue", 3, RESET_SECS, client)


def shown() -> float | None:
    return REGISTRY.get_sample_value("t3_breaker_state", {"name": "venue"})


def fail(breaker: VenueBreaker, times: int) -> None:
    for _ in range(times):
        breaker.before("call")
        breaker.failed()


def test_it_opens_after_failures_in_a_row_only(breaker: VenueBreaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"
    assert shown() == 2
    with pytest.raises(BreakerOpen, match="call: not sent, 3 venue calls"):
        breaker.before("call")


def test_one_trial_goes_out_and_closes_it(breaker: VenueBreaker) -> None:
    fail(breaker, 3)
    time.sleep(RESET_SECS + 0.05)
    assert breaker.state == "half_open"
    breaker.before("trial")
    assert shown() == 1
    with pytest.raises(BreakerOpen):
        breaker.before("another")
    breaker.succeeded()
    assert breaker.state == "closed"
    assert shown() == 0
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_a_failed_trial_opens_it_for_as_long_again(breaker: VenueBreaker) -> None:
    fail(breaker, 3)
    time.sleep(RESET_SECS + 0.05)
    fail(breaker, 1)
    assert breaker.state == "open"
    with pytest.raises(BreakerOpen):
        breaker.before("call")
    time.sleep(RESET_SECS + 0.05)
    breaker.before("next trial")


def test_a_trial_that_never_reports_back_is_given_up(breaker: VenueBreaker) -> None:
    fail(breaker, 3)
    time.sleep(RESET_SECS + 0.05)
    breaker.before("trial of a process that dies")
    with pytest.raises(BreakerOpen):
        breaker.before("call")
    time.sleep(RESET_SECS + 0.05)
    breaker.before("next trial")


def test_a_success_while_it_is_open_closes_it(breaker: VenueBreaker) -> None:
    fail(breaker, 3)
    breaker.failed()  # an exit that did not wait for the breaker
    assert breaker.state == "open"
    breaker.succeeded()
    assert breaker.state == "closed"


def test_processes_share_failures_state_and_trial(redis_client: redis.Redis) -> None:
    here, there = (VenueBreaker("venue", 3, RESET_SECS, redis_client) for _ in range(2))
    fail(here, 2)
    fail(there, 1)
    assert (here.state, there.state) == ("open", "open")
    with pytest.raises(BreakerOpen):
        here.before("call")
    time.sleep(RESET_SECS + 0.05)
    ready = threading.Barrier(8)

    def trial(number: int) -> bool:
        ready.wait()
        try:
            (here, there)[number % 2].before("trial")
        except BreakerOpen:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(trial, range(8))) == 1
    there.succeeded()
    assert here.state == "closed"
    here.before("call")


def test_breakers_of_other_names_are_others(redis_client: redis.Redis) -> None:
    fail(VenueBreaker("one route", 3, RESET_SECS, redis_client), 3)
    VenueBreaker("another", 3, RESET_SECS, redis_client).before("call")


def test_it_works_alone_while_redis_is_away() -> None:
    gone = redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0), decode_responses=True)
    breaker = VenueBreaker("venue", 3, RESET_SECS, gone)
    fail(breaker, 3)
    assert breaker.state == "open"
    time.sleep(RESET_SECS + 0.05)
    breaker.before("trial")
    breaker.succeeded()
    assert breaker.state == "closed"
