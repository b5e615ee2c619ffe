"""The last actions that the venue takes from an account are for those who want out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from prometheus_client import REGISTRY

from shared.config import load_settings
from shared.exchange.action_budget import ActionBudget
from shared.exchange.boot_turn import BootTurn
from shared.exchange.breaker import NoBreaker
from shared.exchange.buckets import Limits
from shared.exchange.errors import BudgetExhausted
from shared.exchange.rate_budget import RateBudget
from shared.exchange.transport import VenueTransport
from shared.native_servers import PROJECT_ROOT
from shared.network_monitor import NetworkMonitor
from shared.storage import redis_keys
from shared.testing.http_server import LocalServer, Reply, Request
from shared.testing.servers import free_port

WALLET = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
SHORT_SECS = 31.0


class Account:
    """What the venue says about the account's actions."""

    def __init__(self) -> None:
        self.used, self.cap, self.status, self.asked = 0, 10_000, 200, 0

    def answer(self, request: Request) -> Reply:
        assert request.json() == {"type": "userRateLimit", "user": WALLET}
        self.asked += 1
        if self.status != 200:
            return Reply(self.status)
        return Reply.json({"nRequestsUsed": self.used, "nRequestsCap": self.cap})


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def actions(
    account: Account, now: list[float], redis_client: redis.Redis
) -> Iterator[ActionBudget]:
    with LocalServer(account.answer) as venue:
        yield budget_at(venue.url, redis_client, now)


def budget_at(url: str, client: redis.Redis, now: list[float]) -> ActionBudget:
    transport = VenueTransport(
        url,
        load_settings(PROJECT_ROOT / "config.yml", {}).exchanges.hyperliquid,
        budget=RateBudget(Limits(1_000)),
        breaker=NoBreaker(),
        monitor=NetworkMonitor(),
        boot_turn=BootTurn(None, "direct", 0.0),
    )
    return ActionBudget(transport, client, WALLET, monotonic=lambda: now[0])


def test_opening_orders_leave_a_tenth_to_exits(actions: ActionBudget, account: Account) -> None:
    account.used = 8_998
    for _ in range(2):
        actions.take("reconcile", "exchange:order")
    with pytest.raises(BudgetExhausted, match=r"exchange:order: dropped unsent.*1000 more.*10000"):
        actions.take("reconcile", "exchange:order")
    for _ in range(2_000):  # more than there are: the venue itself may decide about an exit
        actions.take("exit", "exchange:order")
    assert account.asked == 1


def test_what_is_left_and_the_cap_are_published_together(
    actions: ActionBudget, account: Account
) -> None:
    account.used, account.cap = 9_000, 12_000
    actions.take("reconcile", "exchange:order")
    assert REGISTRY.get_sample_value("t3_venue_actions_left") == 2_999
    assert REGISTRY.get_sample_value("t3_venue_actions_cap") == 12_000


def test_trading_raises_the_cap_and_lets_orders_out_again(
    actions: ActionBudget, account: Account, now: list[float]
) -> None:
    account.used = 9_500
    with pytest.raises(BudgetExhausted):
        actions.take("reconcile", "exchange:order")
    account.cap = 50_000
    with pytest.raises(BudgetExhausted):
        actions.take("reconcile", "exchange:order")  # asked a moment ago
    now[0] += SHORT_SECS
    actions.take("reconcile", "exchange:order")
    assert account.asked == 2


def test_what_others_used_is_taken_over_now_and_then(
    actions: ActionBudget, account: Account, now: list[float]
) -> None:
    actions.take("reconcile", "exchange:order")
    account.used = 9_900
    actions.take("reconcile", "exchange:order")
    now[0] += 601
    with pytest.raises(BudgetExhausted):
        actions.take("reconcile", "exchange:order")


def test_gateways_that_follow_each_other_count_on(
    account: Account, now: list[float], redis_client: redis.Redis
) -> None:
    with LocalServer(account.answer) as venue:
        for _ in range(2):
            budget_at(venue.url, redis_client, now).take("exit", "exchange:cancel")
        budget_at(venue.url, redis_client, now).take("reconcile", "exchange:order")
        budget_at(venue.url, redis_client, now).take("exit", "exchange:cancel")
    key = redis_keys.action_budget(WALLET)
    assert redis_client.hgetall(key) == {"cap": "10000", "used": "2"}


def test_what_is_not_known_limits_nobody(
    actions: ActionBudget, account: Account, now: list[float]
) -> None:
    account.status = 503
    actions.take("reconcile", "exchange:order")
    actions.take("exit", "exchange:order")
    assert account.asked == 1  # an order waits for one attempt only, and not for each order
    away = redis.Redis(port=free_port(), retry=None)
    with LocalServer(account.answer) as venue:
        budget_at(venue.url, away, now).take("reconcile", "exchange:order")
