"""``kill -9`` in the middle of trading: nothing that was acknowledged is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action

from shared.testing.servers import wait_until

LOAD_ORDERS = 300
RESTING, FILLING = "70000", "99000"


class Client(threading.Thread):
    """Places orders as fast as they are answered; keeps the cloids of all that were."""

    def __init__(self, url: str, wallet: Any, number: int) -> None:
        super().__init__()
        self.url, self.wallet, self.number = url, Account.from_key(wallet.key), number
        self.acknowledged: dict[str, str] = {}

    def run(self) -> None:
        with requests.Session() as session:
            for i in range(100_000):
                nonce = time.time_ns() // 1_000_000 * 10 + self.number
                cloid = f"0x{self.number:08x}{i:024x}"
                try:
                    reply = self.place(session, cloid, nonce // 10 + self.number * 7_200_000, i)
                except requests.RequestException:  # killed, maybe in the middle of its answer
                    return
                (status,) = reply["response"]["data"]["statuses"]
                self.acknowledged[cloid] = next(iter(status))

    def place(self, session: requests.Session, cloid: str, nonce: int, i: int) -> Any:
        wire = {"a": 0, "b": True, "p": FILLING if i % 3 else RESTING, "s": "0.0002", "r": False,
                "t": {"limit": {"tif": "Gtc"}}, "c": cloid}  # fmt: skip
        action = {"type": "order", "orders": [wire], "grouping": "na"}
        signature = sign_l1_action(self.wallet, action, None, nonce + i, None, True)
        body = {"action": action, "nonce": nonce + i, "signature": signature}
        return session.post(f"{self.url}/exchange", json=body, timeout=10).json()


def test_kill_nine_during_load_loses_nothing_acknowledged(
    start_paper: Callable[..., Any], master: Any, agent: Any, other: Any, tmp_path: Path
) -> None:
    arguments = ["--state", str(tmp_path / "paper.db"), "--no-rate-limit"]
    venue = start_paper(*arguments)
    clients = [Client(venue.url, wallet, i) for i, wallet in enumerate((master, agent, other))]
    for client in clients:
        client.start()
    wait_until(
        lambda: sum(len(client.acknowledged) for client in clients) > LOAD_ORDERS,
        60,
        "orders to be answered",
    )
    venue.process.send_signal(signal.SIGKILL)
    for client in clients:
        client.join(15)
    venue.process.wait(10)

    again = start_paper(*arguments)
    ledger = again.admin("GET", "ledger")
    statuses = {order["cloid"]: order["status"] for order in ledger["orders"]}
    promised = {"resting": "open", "filled": "filled"}
    acknowledged = {c: promised[s] for client in clients for c, s in client.acknowledged.items()}
    assert len(acknowledged) > LOAD_ORDERS
    assert {cloid: statuses.get(cloid) for cloid in acknowledged} == acknowledged
    filled = {fill["cloid"] for fill in ledger["fills"]}
    assert {cloid for cloid, status in acknowledged.items() if status == "filled"} <= filled
    for account in ledger["accounts"].values():
        assert Decimal(account["identityGap"]) == 0
    for wallet in (master, other):
        size = sum(Decimal(f["sz"]) for f in ledger["fills"] if f["user"] == wallet.address)
        positions = ledger["accounts"][wallet.address]["positions"]
        assert Decimal(positions.get("BTC", "0")) == size


@pytest.mark.parametrize("speed", ["0.001", "1", "100000"])
def test_a_replay_at_any_speed_serves_and_ends(
    start_paper: Callable[..., Any], tmp_path: Path, speed: str
) -> None:
    start = 1_700_000_000_000
    rows = [f"{start + i * 60_000},{100 + i},{101 + i},{99 + i},{100 + i},1" for i in range(30)]
    path = tmp_path / "SOL_1m.csv"
    path.write_text("timestamp_ms,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    now = 1_800_000_000_000
    venue = start_paper("--data", str(path), "--speed", speed, "--start-time", str(now))
    venue.admin("POST", "time", {"advance_ms": 5_000})
    price = float(venue.info("allMids")["SOL"])
    expected = {"0.001": 100.0, "1": 99.8, "100000": 129.0}[speed]
    assert price == pytest.approx(expected, abs=0.3)
    (candle,) = venue.info(
        "candleSnapshot",
        req={"coin": "SOL", "interval": "1m", "startTime": now, "endTime": now + 5_000},
    )
    if speed == "100000":
        assert float(candle["h"]) == 130.0  # every recorded high and low was passed
        assert float(candle["l"]) == 99.0
    venue.admin("POST", "time", {"advance_ms": 600_000})
    if speed == "100000":
        assert float(venue.info("allMids")["SOL"]) == price
