"""What was acknowledged survives kill -9; the command line speaks clearly."""

from __future__ import annotations

import itertools
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.utils.signing import sign_l1_action
from hyperliquid.utils.types import Cloid

from paper_exchange.__main__ import build, main, parser
from paper_exchange.exchange import BrokenVenueError
from shared.testing.servers import wait_until

GTC = {"limit": {"tif": "Gtc"}}


def noop(wallet: Any, nonce: int) -> dict[str, Any]:
    action = {"type": "noop"}
    signature = sign_l1_action(Account.from_key(wallet.key), action, None, nonce, None, True)
    return {"action": action, "nonce": nonce, "signature": signature}


def test_kill_nine_loses_nothing_acknowledged(
    start_paper: Callable[..., Any], master: Any, tmp_path: Path
) -> None:
    state = str(tmp_path / "state" / "paper.db")
    venue = start_paper("--state", state)
    client = Exchange(Account.from_key(master.key), venue.url)
    client.market_open("BTC", True, 0.01)
    client.order("ETH", True, 0.05, 2500.0, GTC, cloid=Cloid.from_int(5))
    client.update_leverage(7, "SOL")
    nonce = int(time.time() * 1000)
    assert requests.post(f"{venue.url}/exchange", json=noop(master, nonce), timeout=5).ok
    time.sleep(1.2)
    before = venue.admin("GET", "ledger")
    prices = venue.info("paperHistory", coins=["BTC"], spacingMs=1000, count=60)
    assert venue.stop(signal.SIGKILL) == -signal.SIGKILL

    again = start_paper("--state", state)
    after = again.admin("GET", "ledger")
    assert after["hash"] == before["hash"]
    for name in ("deposits", "realised", "fees", "positions", "cash", "agents"):
        assert after["accounts"][master.address][name] == before["accounts"][master.address][name]
    assert (
        again.info("orderStatus", user=master.address, oid=Cloid.from_int(5).to_raw())["status"]
        == "order"
    )
    data = again.info("activeAssetData", user=master.address, coin="SOL")
    assert data["leverage"]["value"] == 7
    replay = requests.post(f"{again.url}/exchange", json=noop(master, nonce), timeout=5).json()
    assert replay["response"] == f"Invalid nonce: duplicate nonce {nonce}"
    later = again.info("paperHistory", coins=["BTC"], spacingMs=1000, count=400)
    kept = dict(zip(later["times"], later["prices"]["BTC"], strict=True))
    # The last second may not have been saved; all before it are served as before.
    for at, price in list(zip(prices["times"], prices["prices"]["BTC"], strict=True))[:-2]:
        assert kept[at] == price
    moves = [
        abs(float(b) / float(a) - 1)
        for a, b in zip(later["prices"]["BTC"], later["prices"]["BTC"][1:], strict=False)
    ]
    assert max(moves) < 0.003
    candles = again.info("candleSnapshot", req={"coin": "BTC", "interval": "1m", "startTime": 0})
    assert len(candles) > 4_000
    second = Exchange(Account.from_key(master.key), again.url)
    assert second.market_close("BTC")["status"] == "ok"
    oids = [order["oid"] for order in again.admin("GET", "ledger")["orders"]]
    assert len(oids) == len(set(oids)) == 3


def test_two_venues_never_share_a_state_file(
    start_paper: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(tmp_path / "paper.db")
    start_paper("--state", state)
    assert main(["--port", "0", "--state", state]) == 2
    assert "database is locked" in capsys.readouterr().err


def test_a_failed_commit_stops_the_venue_instead_of_acknowledging(
    master: Any, accounts_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, store = build(parser().parse_args(["--port=0", f"--accounts={accounts_file}"]))

    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("disk is full")

    monkeypatch.setattr(store, "save", full)
    now = int(time.time() * 1000)
    with pytest.raises(sqlite3.OperationalError):
        exchange.submit(noop(master, now))
    monkeypatch.undo()
    with pytest.raises(BrokenVenueError):
        exchange.submit(noop(master, now + 1))
    with pytest.raises(BrokenVenueError):
        exchange.advance()


def test_termination_is_clean(start_paper: Callable[..., Any]) -> None:
    assert start_paper().stop(signal.SIGTERM) == 0
    assert start_paper().stop(signal.SIGINT) == 0


def test_port_in_use_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = subprocess.run(
            [sys.executable, "-m", "paper_exchange", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (finished.returncode, finished.stdout) == (2, "")
    message = finished.stderr
    assert message == f"paper_exchange: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/nowhere/BTC_1m.csv"], "/nowhere/BTC_1m.csv: cannot read the data file"),
        (["--data", "x.csv"], "x.csv: there is no such file"),
        (["--speed", "0"], "--speed must be above 0"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--accounts", "/nowhere/a.json"], "/nowhere/a.json: cannot read the accounts file"),
        (["--universe", "/nowhere/u.json"], "/nowhere/u.json: cannot read the universe file"),
        (["--state", "/proc/nowhere/x.db"], "/proc/nowhere/x.db: cannot open the state file"),
        (["--switch", "duplicate_cloid=maybe"], "allowed is accept, reject"),
        (["--switch", "warp=9"], "--switch warp=9: allowed is duplicate_cloid, partial_gtc"),
        (["--switch", "schedule_cancel_volume=much"], "'much' is not an amount of USD"),
        (["--speed", "100001"], "--speed must be above 0 and at most 100000"),
        (["--book-interval", "50"], "--book-interval must be 100 to 60000, found 50"),
        (["--weight-per-minute", "0"], "--weight-per-minute must be 1 to 1000000, found 0"),
        (["--ws-idle", "0"], "--ws-idle must be 0.1 to 86400, found 0"),
        (["--start-time", "5"], "--start-time needs --admin-token"),
        (["--start-time", "-5", "--admin-token", "t"], "--start-time must be Unix milliseconds"),
        (["--port", "70000"], "--port must be 0 to 65535, found 70000"),
        (["--host", "nowhere.invalid"], "cannot listen on nowhere.invalid:0"),
    ],
)
def test_bad_input_is_one_clear_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", *arguments]) == 2
    out, text = capsys.readouterr()
    assert out == ""
    assert message in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --port"),
        (["--port", "high"], "argument --port: invalid int value: 'high'"),
        (["--port", "0", "--warp"], "unrecognized arguments: --warp"),
        (["--port", "0", "--network", "moon"], "argument --network: invalid choice: 'moon'"),
    ],
)
def test_bad_usage_is_one_sentence_too(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(arguments)
    text = capsys.readouterr().err
    assert exit_code.value.code == 2
    assert text.startswith(f"paper_exchange: {message}")
    assert text.count("\n") == 1


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["--help"])
    text = capsys.readouterr().out
    assert exit_code.value.code == 0
    for word in ("examples:", "accounts.json:", "ready http://127.0.0.1", "ccxt.hyperliquid(",
                 "duplicate_cloid=accept|reject", "/admin/time", "exit 2"):  # fmt: skip
        assert word in text


def test_switches_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPER_EXCHANGE_SWITCHES", "duplicate_cloid=reject,partial_gtc=filled")
    exchange, store = build(parser().parse_args(["--port=0", "--switch=partial_gtc=resting"]))
    store.close()
    assert exchange.venue.switches.duplicate_cloid == "reject"
    assert exchange.venue.switches.partial_gtc == "resting"


def test_replayed_data_is_served_and_stays_after_its_end(
    start_paper: Callable[..., Any], tmp_path: Path
) -> None:
    start = 1_700_000_000_000
    rows = [
        f"{start + i * 60_000},{50_000 + i},{50_001 + i},{49_999 + i},{50_000 + i},1"
        for i in range(4)
    ]
    path = tmp_path / "perp_BTC_1m.csv"
    path.write_text("timestamp_ms,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    venue = start_paper("--data", str(path), "--speed", "240", "--no-rate-limit")
    wait_until(lambda: venue.info("allMids")["BTC"] == "50003.5", 30, "the end of the data")
    history = venue.info("paperHistory", coins=["BTC"], spacingMs=1000, count=30)
    values = [float(px) for px in history["prices"]["BTC"]]
    assert max(abs(b / a - 1) for a, b in itertools.pairwise(values)) < 0.003
    time.sleep(0.3)
    assert venue.info("allMids")["BTC"] == "50003.5"
    assert venue.info("allMids")["ETH"] != ""


def test_a_universe_file_replaces_the_default(
    start_paper: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "universe.json"
    path.write_text(
        '{"dexes": [{"name": "", "universe": [{"name": "KPEPE", "szDecimals": 0, '
        '"maxLeverage": 10, "marginTableId": 10, "referencePx": 0.0123}]}]}'
    )
    venue = start_paper("--universe", str(path))
    assert list(venue.info("allMids")) == ["KPEPE", "PURR/USDC"]
    assert venue.info("perpDexs") == [None]
