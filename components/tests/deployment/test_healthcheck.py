"""Probes against real servers: healthy only while the work is done."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from sqlalchemy import Engine, insert

from deployment import healthcheck
from deployment.resp import RedisReplyError, RespClient
from recorder.service import PriceRecorder
from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.market_data.archive import Archive
from shared.market_data.quotes import Quote
from shared.storage.streams import PriceStore
from shared.storage.tables import iteration_shards, tick_inputs
from shared.testing.http_server import LocalServer, Reply, Request


@pytest.fixture(autouse=True)
def _environment(
    monkeypatch: pytest.MonkeyPatch, service_environ: Mapping[str, str], redis_client: redis.Redis
) -> None:
    for name, value in service_environ.items():
        if name.startswith("T3"):
            monkeypatch.setenv(name, value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _probe(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = healthcheck.main([name])
    return code, capsys.readouterr().out


def test_small_client_speaks_redis(
    redis_client: redis.Redis, settings: Settings, secrets: Secrets
) -> None:
    password = secrets.redis.password.get_secret_value()
    with RespClient(settings.redis.host, settings.redis.port, password) as client:
        assert client.call("SET", "ключ", "a\r\nb") == "OK"
        assert client.call("GET", "ключ") == "a\r\nb"
        assert client.call("GET", "absent") is None
        assert client.call("RPUSH", "list", "1", "2") == 2
        assert client.call("LRANGE", "list", "0", "-1") == ["1", "2"]
        with pytest.raises(RedisReplyError, match="WRONGTYPE"):
            client.call("GET", "list")
    with pytest.raises(RedisReplyError, match="WRONGPASS"):
        RespClient(settings.redis.host, settings.redis.port, "wrong")


def test_producer_is_healthy_while_prices_come(
    redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _probe("price-producer", capsys) == (1, "newest price: none yet\n")
    old = _now_ms() - 60_000
    redis_client.xadd(healthcheck.PRICE_STREAM, {"mid": "1"}, id=f"{old}-0")
    code, said = _probe("price-producer", capsys)
    assert code == 1
    assert said.startswith("newest price: 60 s ago, allowed are 20 s")
    redis_client.xadd(healthcheck.PRICE_STREAM, {"mid": "1"})
    assert _probe("price-producer", capsys)[0] == 0


def test_sampler_is_healthy_while_ticks_of_its_interval_come(
    engine: Engine, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(interval_ms: int, age_ms: int) -> None:
        row: dict[str, Any] = {
            "interval_ms": interval_ms,
            "tick_ms": _now_ms() - age_ms,
            "config_version": "v",
            "source": "live",
            "payload": b"",
            "created_ms": _now_ms(),
        }
        with engine.begin() as connection:
            connection.execute(insert(tick_inputs).values(row))

    write(settings.interval_ms + 1000, 0)
    assert _probe("price-sampler", capsys) == (1, "newest tick: none yet\n")
    write(settings.interval_ms, 60_000)
    assert _probe("price-sampler", capsys)[0] == 1
    write(settings.interval_ms, 1_000)
    assert _probe("price-sampler", capsys)[0] == 0


def test_recorder_is_healthy_while_its_archive_follows_the_stream(
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("T3__recorder__path", str(tmp_path))
    store = PriceStore(redis_client)
    now_ms = _now_ms()
    quote = Quote("BTC", Decimal(7), Decimal(7), now_ms, now_ms, "ws")
    assert _probe("recorder", capsys) == (1, "newest price: none yet\n")
    store.publish([quote])
    assert _probe("recorder", capsys) == (1, "newest recorded price: none yet\n")
    recorder = PriceRecorder(Archive(tmp_path), redis_client, SystemClock())
    recorder.resume()
    recorder.read()
    recorder.flush()
    assert _probe("recorder", capsys) == (0, "the archive is 0 s behind the stream\n")
    redis_client.xadd(healthcheck.PRICE_STREAM, {"mid": "1"}, id=f"{now_ms + 120_000}-0")
    code, said = _probe("recorder", capsys)
    assert code == 1
    assert said.startswith("the archive is 1")
    monkeypatch.setenv("T3__recorder__enabled", "false")
    assert _probe("recorder", capsys) == (0, "disabled by recorder.enabled\n")


def test_worker_is_healthy_while_iterations_are_committed(
    engine: Engine, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_client.ping()  # a connection of this host, as a worker has
    code, said = _probe("celery-worker", capsys)
    assert (code, "no iteration was committed yet" in said) == (0, True)
    shard = {"last_tick": 0, "interval_ms": 5000, "sums": {}}
    with engine.begin() as connection:
        old = _now_ms() - 600_000
        connection.execute(insert(iteration_shards).values(id=1, committed_ms=old, **shard))
    assert _probe("celery-worker", capsys)[0] == 1
    with engine.begin() as connection:
        connection.execute(insert(iteration_shards).values(id=2, committed_ms=_now_ms(), **shard))
    assert _probe("celery-worker", capsys)[0] == 0


def test_high_priority_worker_is_healthy_while_balances_come(
    redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _probe("celery-worker-high", capsys) == (1, "newest balance: none yet\n")
    redis_client.xadd(healthcheck.BALANCE_STREAM, {"status": "Known"})
    assert _probe("celery-worker-high", capsys)[0] == 0


def test_beat_without_a_connection_is_not_healthy(
    redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_client.connection_pool.disconnect()
    assert _probe("celery-beat", capsys) == (1, "last message sent: none yet\n")
    redis_client.ping()
    assert _probe("celery-beat", capsys)[0] == 0


def test_consumer_is_healthy_only_by_its_own_reads(
    redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, group = healthcheck.BALANCE_STREAM, healthcheck.TAKE_PROFIT_GROUP
    assert _probe("take-profit", capsys)[0] == 1
    redis_client.xgroup_create(stream, group, id="0", mkstream=True)
    redis_client.xadd(stream, {"status": "Known"})
    redis_client.xreadgroup(group, "elsewhere:1", {stream: ">"})
    assert _probe("take-profit", capsys)[0] == 1
    redis_client.xadd(stream, {"status": "Known"})
    redis_client.xreadgroup(group, f"{socket.gethostname()}:1", {stream: ">"})
    assert _probe("take-profit", capsys)[0] == 0


def test_missing_redis_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("T3__redis__port", "1")
    code, said = _probe("price-producer", capsys)
    assert code == 1
    assert said.startswith("no answer: ConnectionRefusedError")


def test_unknown_name_is_bad_input() -> None:
    assert healthcheck.main(["nobody"]) == 2


@dataclass
class _Answer:
    """What the server says next, and what it was asked for last."""

    status: int = 200
    content: object = None
    path: str = ""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Answer]:
    """A server that answers for the service of this container."""
    said = _Answer()
    original = healthcheck.http.client.HTTPConnection

    def reply(request: Request) -> Reply:
        said.path = request.path
        return Reply.json(said.content, said.status)

    with LocalServer(reply) as server:
        port = urlsplit(server.url).port

        def connect(host: str, _: int, timeout: float) -> Any:
            return original(host, port, timeout=timeout)

        monkeypatch.setattr(healthcheck.http.client, "HTTPConnection", connect)
        yield said


@pytest.mark.parametrize(
    ("status", "unmet", "code", "words"),
    [
        (200, {}, 0, "ready to trade"),
        (503, {"kill_switch": "a person"}, 0, "kill switch is on: only exits are taken"),
        (503, {"venue": "away", "kill_switch": "x"}, 1, "not ready to trade: venue: away"),
        (500, {}, 1, "not ready to trade: HTTP 500"),
    ],
)
def test_gateway_is_healthy_when_it_can_trade_or_is_told_not_to(
    answer: _Answer,
    capsys: pytest.CaptureFixture[str],
    status: int,
    unmet: dict[str, str],
    code: int,
    words: str,
) -> None:
    answer.status, answer.content = status, {"ready": not unmet, "unmet": unmet}
    assert _probe("order-gateway", capsys) == (code, f"{words}\n")


def test_gateway_that_cannot_trade_is_alive(
    answer: _Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer.content = {"status": "alive"}
    assert _probe("order-gateway-alive", capsys) == (0, "alive\n")
    assert answer.path == "/health"
    answer.status = 500
    assert _probe("order-gateway-alive", capsys) == (1, "HTTP 500\n")


def test_observer_without_a_reading_is_not_healthy(
    answer: _Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer.content = {"positions": {"BTC": {}}}
    assert _probe("exchange-observer", capsys) == (0, "complete reading with 1 positions\n")
    answer.status, answer.content = 503, {"error": "venue away"}
    assert _probe("exchange-observer", capsys) == (1, "no complete reading: venue away\n")


def test_venue_without_prices_is_not_healthy(
    answer: _Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer.content = {"BTC": "1"}
    assert _probe("paper-exchange", capsys)[0] == 0
    answer.content = {}
    assert _probe("paper-exchange", capsys) == (1, "the venue serves no prices\n")
    answer.content = "text"
    assert _probe("paper-exchange", capsys) == (1, "the answer is not a JSON object\n")


def test_secrets_are_read_from_the_file_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secrets.yml"
    file.write_text("redis: {password: wrong}\n", encoding="utf-8")
    monkeypatch.setenv("T3_SECRETS", str(file))
    code, said = _probe("price-producer", capsys)
    assert code == 1
    assert "WRONGPASS" in said
