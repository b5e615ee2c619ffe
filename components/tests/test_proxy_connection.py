"""Behind a proxy every read goes through it, with the configured origin.

The proxy is a real forwarding proxy, the venue the real paper exchange; the venue is reached
under a host name that only the proxy can resolve, so nothing could get past it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import requests

import price_poll_producer
import price_producer_selector
import price_stream_producer
from shared.config import Settings, load_settings
from shared.exchange.errors import ConnectionRefused
from shared.exchange_manager import ExchangeManager
from shared.native_servers import PROJECT_ROOT
from shared.storage.streams import PriceStore
from shared.testing.http_server import LocalServer, Reply, Request
from shared.testing.paper_venue import PaperVenue
from shared.testing.servers import free_port, wait_until

WALLET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
HIDDEN_HOST = "venue.behind-the-proxy.invalid"
ORIGIN = "https://trader.example"


class ForwardProxy(LocalServer):
    """Forwards absolute-URI requests for the hidden host to the paper exchange."""

    def __init__(self, upstream: str) -> None:
        super().__init__(self._forward)
        self._upstream = upstream
        self._session = requests.Session()
        self._session.trust_env = False

    def _forward(self, request: Request) -> Reply:
        target = urlsplit(request.path)
        if target.hostname != HIDDEN_HOST:
            return Reply(502, "")
        found = self._session.post(
            self._upstream + target.path,
            request.body,
            headers={"Content-Type": request.headers["content-type"]},
            timeout=10,
        )
        return Reply(found.status_code, found.content)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperVenue]:
    with PaperVenue(tmp_path_factory.mktemp("venue"), {WALLET: "5000"}) as venue:
        yield venue


@pytest.fixture
def proxy(paper: PaperVenue) -> Iterator[ForwardProxy]:
    with ForwardProxy(paper.url) as forward:
        yield forward


def overrides(proxy_url: str) -> dict[str, str]:
    return {
        "T3__paper_exchange__url": f"http://{HIDDEN_HOST}",
        "T3__exchanges__hyperliquid__proxy": proxy_url,
        "T3__exchanges__hyperliquid__origin": ORIGIN,
        "T3__exchanges__hyperliquid__poll_interval": "0.2",
    }


def settings_behind(proxy_url: str) -> Settings:
    return load_settings(PROJECT_ROOT / "config.yml", overrides(proxy_url))


def test_every_kind_of_read_passes_the_proxy_with_the_origin(proxy: ForwardProxy) -> None:
    manager = ExchangeManager(settings_behind(proxy.url), WALLET)
    now_ms = time.time_ns() // 1_000_000
    reads = [
        manager.markets,
        manager.whole_account,
        manager.check_health,
        manager.mids,
        manager.contexts,
        lambda: manager.book("BTC"),
        lambda: manager.candles("BTC", "1m", now_ms - 300_000, now_ms),
        lambda: manager.funding_history("BTC", now_ms - 3_600_000),
        lambda: manager.order_status(7),
        lambda: manager.fills(now_ms - 1_000),
        lambda: manager.info("perpDexs"),
    ]
    for read in reads:
        before = len(proxy.requests)
        read()
        assert len(proxy.requests) == before + 1
    assert {request.headers["origin"] for request in proxy.requests} == {ORIGIN}
    assert {request.path for request in proxy.requests} == {f"http://{HIDDEN_HOST}/info"}
    assert manager.whole_account().account_value == 5_000


def test_the_environments_proxies_are_not_asked(
    proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.setenv("no_proxy", HIDDEN_HOST)
    ExchangeManager(settings_behind(proxy.url), WALLET).check_health()
    assert len(proxy.requests) == 1


def test_without_its_proxy_nothing_is_read() -> None:
    settings = settings_behind(f"http://127.0.0.1:{free_port()}")
    manager = ExchangeManager(settings, WALLET, sleep=lambda _: None)
    with pytest.raises(ConnectionRefused):
        manager.check_health()


def test_a_proxy_selects_polling(proxy: ForwardProxy) -> None:
    assert price_producer_selector.choose(settings_behind(proxy.url)) is price_poll_producer.body
    direct = load_settings(PROJECT_ROOT / "config.yml", {})
    assert price_producer_selector.choose(direct) is price_stream_producer.body


def test_the_selected_producer_polls_prices_through_the_proxy(
    proxy: ForwardProxy,
    service_environ: Mapping[str, str],
    redis_client: redis.Redis,
    tmp_path: Path,
) -> None:
    log = (tmp_path / "producer.log").open("wb")
    producer = subprocess.Popen(
        [sys.executable, "-m", "price_producer_selector"],
        env=dict(service_environ) | overrides(proxy.url),
        stderr=log,
    )
    store = PriceStore(redis_client)
    symbols = ["BTC", "ETH", "SOL", "HYPE"]
    try:
        wait_until(lambda: len(store.latest(symbols)) == 4, 30, "four polled prices")
        first = store.latest(symbols)
        wait_until(
            lambda: all(
                store.latest(symbols)[s].received_ms > first[s].received_ms for s in symbols
            ),
            10,
            "newer prices",
        )
    finally:
        producer.terminate()
        code = producer.wait(20)
        log.close()
    assert code == 0
    assert {quote.source for quote in store.latest(symbols).values()} == {"poll"}
    assert {request.headers["origin"] for request in proxy.requests} == {ORIGIN}
    kinds = [request.body for request in proxy.requests]
    assert any(b"allMids" in body for body in kinds)
