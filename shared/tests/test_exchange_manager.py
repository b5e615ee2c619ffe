"""Venue access: retries, breaker, errors by class, and nothing that could place an order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from shared import time_budget
from shared.config import Settings, load_settings
from shared.exchange.breaker import VenueBreaker
from shared.exchange.errors import (
    BadRequest,
    BreakerOpen,
    BudgetExhausted,
    ConnectionLost,
    ConnectionRefused,
    DecodeError,
    NameResolutionFailed,
    PermanentVenueError,
    RateLimited,
    TimeExhausted,
    TlsFailed,
    VenueError,
    VenueRejected,
    VenueServerError,
    VenueTimeout,
)
from shared.exchange.market_cache import FRESH_SECS
from shared.exchange_manager import ExchangeManager
from shared.storage import redis_keys
from shared.testing.http_server import LocalServer, Reply, Request
from shared.testing.paper_venue import PaperVenue
from shared.testing.servers import free_port

WALLET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
CONFIG = Path(__file__).resolve().parents[2] / "config.yml"
STATUS = Reply.json({"time": 1_700_000_000_000, "specialStatuses": None})


def settings_for(url: str, **overrides: str) -> Settings:
    environ = {"T3__paper_exchange__url": url, **overrides}
    return load_settings(CONFIG, environ)


def manager_for(url: str, pauses: list[float] | None = None, **options: Any) -> ExchangeManager:
    """A manager whose pauses are noted, and over at once."""
    overrides = options.pop("overrides", {})
    noted = pauses if pauses is not None else []
    return ExchangeManager(
        settings_for(url, **overrides),
        WALLET,
        sleep=noted.append,
        monotonic=lambda: sum(noted),
        **options,
    )


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperVenue]:
    with PaperVenue(tmp_path_factory.mktemp("venue"), {WALLET: "25000"}) as venue:
        yield venue


def test_reads_of_the_paper_exchange(paper: PaperVenue) -> None:
    manager = manager_for(paper.url)
    markets = manager.markets()
    assert markets["BTC"].index == 0
    assert markets["BTC"].size_decimals == 5
    account = manager.whole_account()
    assert account.account_value == 25_000
    assert account.positions == {}
    contexts = {context.asset.symbol: context for context in manager.contexts()}
    mid = manager.mids()["BTC"]
    assert abs(mid / contexts["BTC"].mark - 1) < 0.01
    book = manager.book("BTC")
    assert book.bids[0].price < book.asks[0].price
    now_ms = time.time_ns() // 1_000_000
    minute = now_ms // 60_000 * 60_000
    bars = manager.candles("BTC", "1m", minute - 10 * 60_000, minute - 60_000)
    assert [bar.open_ms for bar in bars] == list(range(minute - 600_000, minute, 60_000))
    assert manager.order_status("0x" + "0" * 32) is None
    assert manager.fills(now_ms - 1_000) == ()
    assert abs(manager.check_health().clock_offset_ms) < 2_000


def test_a_symbol_the_venue_does_not_list_is_refused(paper: PaperVenue) -> None:
    with pytest.raises(VenueRejected, match="NOCOIN"):
        manager_for(paper.url).candles("NOCOIN", "1m", 0, 60_000)
    with pytest.raises(DecodeError):
        manager_for(paper.url).book("NOCOIN")


def test_only_reads_are_sent_and_nothing_unasked(paper: PaperVenue) -> None:
    kinds: list[str] = []
    with LocalServer(lambda request: Reply.json(_relay(paper, request.json(), kinds))) as venue:
        manager = manager_for(venue.url)
        manager.whole_account()
        manager.markets()
        manager.candles("BTC", "1m", 0, 60_000)
        manager._ccxt.privateKey = "0x" + "11" * 32
        with pytest.raises(PermanentVenueError, match="only reads"):
            manager._ccxt.create_order("BTC/USDC:USDC", "limit", "buy", 1, 1)
    assert {request.path for request in venue.requests} == {"/info"}
    assert kinds == ["clearinghouseState", "metaAndAssetCtxs", "candleSnapshot"]


def _relay(paper: PaperVenue, payload: dict[str, Any], kinds: list[str]) -> object:
    kinds.append(payload.pop("type"))
    return manager_for(paper.url).info(kinds[-1], **payload)


def test_transient_failures_are_repeated_after_1_2_and_4_seconds() -> None:
    replies = iter([Reply(500), Reply(503), Reply(502, "null"), STATUS])
    pauses: list[float] = []
    with LocalServer(lambda _: next(replies)) as venue:
        health = manager_for(venue.url, pauses).check_health()
    assert health.special_statuses is None
    assert pauses == [1, 2, 4]
    assert len(venue.requests) == 4


def test_the_last_failure_rises_after_four_attempts() -> None:
    with (
        LocalServer(lambda _: Reply(500, "oops")) as venue,
        pytest.raises(VenueServerError, match="500") as caught,
    ):
        manager_for(venue.url).check_health()
    assert (caught.value.status, caught.value.body) == (500, "oops")
    assert len(venue.requests) == 4


def test_nothing_is_repeated_that_the_task_has_no_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: sum(pauses)))
    with LocalServer(lambda _: Reply(500)) as venue:
        manager = manager_for(venue.url, pauses)
        with time_budget.within(6.0), pytest.raises(VenueServerError):
            manager.check_health()
        assert (pauses, len(venue.requests)) == ([1, 2], 3)
        with time_budget.within(0.9), pytest.raises(TimeExhausted, match="no time left"):
            manager.check_health()
        assert len(venue.requests) == 3
        assert manager.breaker_state == "closed"


def test_a_turn_that_comes_after_the_end_of_the_task_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: sum(pauses)))
    with LocalServer(lambda _: Reply(429, "null")) as venue:
        manager = manager_for(venue.url, pauses)
        with time_budget.within(5.0), pytest.raises(VenueError):
            manager.candles("BTC", "1m", 0, 60_000)
    assert sum(pauses) < 5.0


def test_a_venue_that_never_answers_holds_a_task_no_longer_than_its_time() -> None:
    with LocalServer(lambda _: Reply(hang_secs=120)) as venue:
        manager = manager_for(venue.url)
        with time_budget.within(1.2), pytest.raises(VenueTimeout):
            manager.check_health()
    assert len(venue.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(422, "Failed to deserialize"), Reply(404), Reply(200, "<html>"), Reply(204, "")],
)
def test_permanent_failures_are_not_repeated(reply: Reply) -> None:
    pauses: list[float] = []
    with LocalServer(lambda _: reply) as venue, pytest.raises((BadRequest, DecodeError)):
        manager_for(venue.url, pauses).check_health()
    assert len(venue.requests) == 1
    assert pauses == []


def one_attempt(url: str, **options: Any) -> VenueError:
    """The error of one request that is not repeated."""
    transport = manager_for(url, **options).transport
    with pytest.raises(VenueError) as caught:
        transport.post(
            "/info",
            {"type": "exchangeStatus"},
            endpoint="info:exchangeStatus",
            weight=2,
            priority="read",
        )
    return caught.value


def test_errors_are_told_apart() -> None:
    quick = {"overrides": {"T3__exchanges__hyperliquid__timeout_secs": "1"}}
    assert isinstance(one_attempt(f"http://127.0.0.1:{free_port()}"), ConnectionRefused)
    assert isinstance(one_attempt("http://no-such-host.invalid"), NameResolutionFailed)
    with LocalServer(lambda _: Reply(cut=True)) as venue:
        assert isinstance(one_attempt(venue.url), ConnectionLost)
        secure = venue.url.replace("http://", "https://")
        assert isinstance(one_attempt(secure), TlsFailed)
    with LocalServer(lambda _: Reply(hang_secs=1.5)) as venue:
        error = one_attempt(venue.url, **quick)
    assert isinstance(error, VenueTimeout)
    assert error.error_class == "timeout"
    for part in ("headers", "body"):
        trickling = Reply(body="x" * 1_000, trickle=part)
        with LocalServer(lambda _, reply=trickling: reply) as venue:
            assert isinstance(one_attempt(venue.url, **quick), VenueTimeout)


def test_failures_are_counted_by_class() -> None:
    labels = {"call": "info:exchangeStatus", "error_class": "server_error"}
    before = REGISTRY.get_sample_value("t3_venue_errors_total", labels) or 0.0
    with LocalServer(lambda _: Reply(500)) as venue:
        one_attempt(venue.url)
    assert REGISTRY.get_sample_value("t3_venue_errors_total", labels) == before + 1


def test_the_breaker_opens_after_five_failed_reads_and_closes_after_a_good_trial() -> None:
    now = [0.0]
    healthy = threading.Event()
    breaker = VenueBreaker("test", 5, 300.0, monotonic=lambda: now[0])
    with LocalServer(lambda _: STATUS if healthy.is_set() else Reply(500)) as venue:
        manager = manager_for(venue.url, breaker=breaker)
        for _ in range(5):
            with pytest.raises(VenueServerError):
                manager.check_health()
        assert manager.breaker_state == "open"
        sent = len(venue.requests)
        with pytest.raises(BreakerOpen):
            manager.check_health()
        assert len(venue.requests) == sent
        now[0] = 299.0
        with pytest.raises(BreakerOpen):
            manager.check_health()
        now[0] = 300.0
        assert manager.breaker_state == "half_open"
        with pytest.raises(VenueServerError):
            manager.check_health()
        assert manager.breaker_state == "open"
        now[0] = 600.0
        healthy.set()
        manager.check_health()
        assert manager.breaker_state == "closed"


def test_what_an_exit_needs_is_asked_while_the_breaker_is_open() -> None:
    healthy = threading.Event()
    book = Reply.json({"coin": "BTC", "time": 1, "levels": [[], []]})
    with LocalServer(lambda _: book if healthy.is_set() else Reply(500)) as venue:
        manager = manager_for(venue.url)
        for _ in range(5):
            with pytest.raises(VenueServerError):
                manager.book("BTC")
        healthy.set()
        with pytest.raises(BreakerOpen):
            manager.book("BTC")
        assert manager.book("BTC", priority="exit").symbol == "BTC"
        assert manager.breaker_state == "closed"


def test_refusals_of_the_venue_do_not_open_the_breaker() -> None:
    with LocalServer(lambda _: Reply(422, "no")) as venue:
        manager = manager_for(venue.url)
        for _ in range(10):
            with pytest.raises(BadRequest):
                manager.check_health()
        assert manager.breaker_state == "closed"


def test_429_makes_the_next_read_wait() -> None:
    replies = iter([Reply(429, "null"), STATUS])
    pauses: list[float] = []
    with LocalServer(lambda _: next(replies)) as venue:
        manager_for(venue.url, pauses).check_health()
    assert pauses[0] == 1
    assert sum(pauses[1:]) >= 3  # until the budget lets reads out again


def test_429_that_goes_on_is_dropped_unsent_in_the_end() -> None:
    pauses: list[float] = []
    with (
        LocalServer(lambda _: Reply(429, "null")) as venue,
        pytest.raises(VenueError) as caught,
    ):
        manager_for(venue.url, pauses).check_health()
    assert isinstance(caught.value, RateLimited) or caught.value.error_class == "budget"
    assert len(venue.requests) <= 4


def test_one_manager_per_process_venue_and_wallet() -> None:
    settings = settings_for(f"http://127.0.0.1:{free_port()}")
    with ThreadPoolExecutor(8) as pool:
        managers = set(pool.map(lambda _: ExchangeManager.get(settings, WALLET), range(32)))
    assert len(managers) == 1
    manager = managers.pop()
    assert ExchangeManager.get(settings, WALLET) is manager
    manager.close()
    other = ExchangeManager.get(settings, WALLET)
    assert other is not manager
    other.close()


def test_a_forked_child_gets_a_manager_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(f"http://127.0.0.1:{free_port()}")
    parent = ExchangeManager.get(settings, WALLET)
    pid = os.getpid()
    monkeypatch.setattr("shared.exchange_manager.os.getpid", lambda: pid + 1)
    child = ExchangeManager.get(settings, WALLET)
    assert child is not parent
    child.close()
    parent.close()


def test_markets_are_loaded_once_for_all_processes(
    paper: PaperVenue, redis_client: redis.Redis
) -> None:
    loads: list[str] = []

    def script(request: Request) -> Reply:
        time.sleep(0.2)
        return Reply.json(_relay(paper, request.json(), loads))

    with LocalServer(script) as venue:
        settings = settings_for(venue.url)
        managers = [ExchangeManager(settings, WALLET, redis_client) for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda manager: manager.markets(), managers))
    assert loads == ["metaAndAssetCtxs"]
    assert all(markets == found[0] for markets in found)
    assert found[0]["ETH"].max_leverage == 25
    assert redis_client.ttl(redis_keys.MARKETS) > 0


def test_cached_markets_of_another_venue_are_not_used(
    paper: PaperVenue, redis_client: redis.Redis
) -> None:
    kinds: list[str] = []
    ExchangeManager(settings_for(paper.url), WALLET, redis_client).markets()
    with LocalServer(lambda request: Reply.json(_relay(paper, request.json(), kinds))) as venue:
        ExchangeManager(settings_for(venue.url), WALLET, redis_client).markets()
    assert kinds == ["metaAndAssetCtxs"]


def test_markets_that_grow_old_are_read_again_by_one_and_kept_when_that_fails(
    paper: PaperVenue, redis_client: redis.Redis
) -> None:
    loads: list[str] = []
    silent = threading.Event()

    def script(request: Request) -> Reply:
        return Reply(500) if silent.is_set() else Reply.json(_relay(paper, request.json(), loads))

    def markets() -> Any:
        return ExchangeManager(settings, WALLET, redis_client, sleep=lambda _: None).markets()

    with LocalServer(script) as venue:
        settings = settings_for(venue.url)
        first = markets()
        markets()
        assert len(loads) == 1
        redis_client.expire(redis_keys.MARKETS, redis_keys.MARKETS_TTL_SECS - FRESH_SECS - 10)
        markets()
        assert len(loads) == 2
        assert redis_client.ttl(redis_keys.MARKETS) > redis_keys.MARKETS_TTL_SECS - 10
        redis_client.expire(redis_keys.MARKETS, redis_keys.MARKETS_TTL_SECS - FRESH_SECS - 10)
        silent.set()
        assert markets() == first


def test_an_empty_list_of_markets_is_no_list() -> None:
    """Taken at its word it would delist everything, and end every run."""
    empty = [{"universe": [], "marginTables": [], "collateralToken": 0}, []]
    with (
        LocalServer(lambda _: Reply.json(empty)) as venue,
        pytest.raises(DecodeError, match="no perpetual at all"),
    ):
        manager_for(venue.url).markets()


def test_what_is_past_waits_longer_for_its_turn_than_what_is_present() -> None:
    pauses: list[float] = []
    with LocalServer(lambda _: Reply.json([])) as venue:
        manager = manager_for(venue.url, pauses)
        manager.budget.acquire(180, "exit", 0.0, "test")  # all of the burst
        manager.budget.settle("candleSnapshot", 5_000)  # and a debt of 83
        with pytest.raises(BudgetExhausted, match=r"info:metaAndAssetCtxs.* 10\.0 s were left"):
            manager.contexts()
        assert venue.requests == []
        assert manager.funding_history("BTC", 0) == ()
        waited = sum(pauses)
        assert 15 < waited < 18  # debt, weight and the half that reads leave, at 12 a second
        assert len(venue.requests) == 1
