"""The observer as a process: its report over HTTP, its silence, its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from shared.native_servers import PROJECT_ROOT
from shared.reconciliation.observer_report import parse_report
from shared.testing.http_server import LocalServer, Reply, Request
from shared.testing.servers import free_port, wait_until


class Venue:
    """Answers ``clearinghouseState`` per dex; ``fail`` lists dexes that answer 500."""

    def __init__(self) -> None:
        self.fail: set[str] = set()
        self._server = LocalServer(self._answer)
        self.url = self._server.url

    def _answer(self, request: Request) -> Reply:
        dex = request.json()["dex"]
        return Reply.json(self.state(dex), 500 if dex in self.fail else 200)

    def state(self, dex: str) -> dict[str, Any]:
        coin = "BTC" if dex == "" else f"{dex}:GOLD"
        margin = {
            "accountValue": "1000.5", "totalNtlPos": "50.0", "totalRawUsd": "950.0",
            "totalMarginUsed": "10.0",
        }  # fmt: skip
        position = {
            "coin": coin, "szi": "-0.001", "leverage": {"type": "cross", "value": 5},
            "entryPx": "50000.0", "positionValue": "50.0", "unrealizedPnl": "0.0",
            "returnOnEquity": "0.0", "liquidationPx": None, "marginUsed": "10.0",
            "maxLeverage": 40,
            "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
        }  # fmt: skip
        return {
            "marginSummary": margin, "crossMarginSummary": margin,
            "crossMaintenanceMarginUsed": "1.0", "withdrawable": "900.0",
            "assetPositions": [{"type": "oneWay", "position": position}],
            "time": time.time_ns() // 1_000_000,
        }  # fmt: skip

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def venue() -> Iterator[Venue]:
    served = Venue()
    yield served
    served.stop()


@pytest.fixture
def environ(venue: Venue, secrets_file: Any) -> dict[str, str]:
    return {
        "PATH": "",
        "T3_CONFIG": str(PROJECT_ROOT / "config.yml"),
        "T3_SECRETS": str(secrets_file),
        "T3__paper_exchange__url": venue.url,
        "T3__exchange_observer__max_age_secs": "0.8",
        "T3__exchange_observer__poll_interval_secs": "0.2",
        "T3__exchanges__hyperliquid__dexes": "[xyz]",
    }


def start(environ: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "exchange_observer", *arguments],
        env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_an_observer_publishes_complete_readings_only_and_ends_on_sigterm(
    venue: Venue, environ: dict[str, str]
) -> None:
    port = free_port()
    process = start(environ, "--observer-id", "observer_1", "--port", str(port))
    url = f"http://127.0.0.1:{port}"

    def status() -> int | None:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            return requests.get(f"{url}/3T-observer.json", timeout=2).status_code
        except requests.ConnectionError:
            return None

    try:
        wait_until(lambda: status() == 200, 20, "the first report")
        report = parse_report(requests.get(f"{url}/3T-observer.json", timeout=2).json())
        assert report.observer_id == "observer_1"
        assert report.dexes == {"", "xyz"}
        assert {s: str(p.size) for s, p in report.positions.items()} == {
            "BTC": "-0.001",
            "xyz:GOLD": "-0.001",
        }
        assert requests.get(f"{url}/health", timeout=2).json()["reading"] == "Known"
        venue.fail = {"xyz"}
        wait_until(lambda: status() == 503, 10, "the report to be withdrawn")
        failed = requests.get(f"{url}/3T-observer.json", timeout=2).json()
        assert "500" in failed["error"]
        assert requests.get(f"{url}/health", timeout=2).status_code == 200
        venue.fail = set()
        wait_until(lambda: status() == 200, 10, "the report to be back")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--observer-id", "local"], "local"),
        (["--observer-id", "a b"], "no name"),
        (["--observer-id", "a", "--port", "99999"], "port"),
        (["--observer-id", "a", "--proxy", "nonsense"], "URL"),
        (["--observer-id", "a", "--interval", "0"], "seconds"),
        ([], "--observer-id"),
    ],
)
def test_bad_arguments_are_one_sentence_and_exit_code_2(
    environ: dict[str, str], arguments: list[str], named: str
) -> None:
    process = start(environ, *arguments)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 2
    assert named in words
    assert "Traceback" not in words


def test_a_port_in_use_is_one_sentence_and_exit_code_2(
    venue: Venue, environ: dict[str, str]
) -> None:
    port = venue.url.rpartition(":")[2]
    process = start(environ, "--observer-id", "a", "--port", port)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in words
    assert "Traceback" not in words


def test_without_a_wallet_it_does_not_start(environ: dict[str, str], tmp_path: Any) -> None:
    empty = tmp_path / "secrets.yml"
    empty.write_text("{}\n")
    process = start({**environ, "T3_SECRETS": str(empty)}, "--observer-id", "a", "--port", "0")
    _, words = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "exchanges.hyperliquid.walletAddress" in words
