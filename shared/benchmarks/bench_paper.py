"""The paper exchange as its users meet it: orders over HTTP, events over WebSockets, long replays.

The clients run in processes of their own, so that the venue is measured as one process alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from shared.benchmarks.figure import Figure

ADMIN_TOKEN: Final = "bench-admin-token"  # noqa: S105 (of a venue that lives for a minute)
CLIENT_KEYS: Final = tuple(f"0x{i:064x}" for i in range(0xB1, 0xB5))
ORDER_SECS: Final = 8.0
MIN_ORDERS: Final = 500
WS_CLIENTS: Final = 50
WS_SYMBOLS: Final = 10
WS_UPDATES_PER_SEC: Final = 10
WS_SECS: Final = 12.0
WS_SKIP_SECS: Final = 2.0
STEP_MS: Final = 1000 // WS_UPDATES_PER_SEC
UPDATES: Final = 1_000_000
REPLAY_DAYS: Final = 3


@contextmanager
def venue(*arguments: str, addresses: tuple[str, ...] = ()) -> Iterator[str]:
    """A venue on a free port with its state in a file; yields its URL."""
    with tempfile.TemporaryDirectory() as folder:
        accounts = Path(folder, "accounts.json")
        entries = [{"address": name, "deposit_usdc": 1_000_000} for name in addresses]
        accounts.write_bytes(orjson.dumps(entries))
        process = subprocess.Popen(
            [
                sys.executable, "-m", "paper_exchange", "--port=0", "--no-rate-limit",
                f"--accounts={accounts}", f"--state={folder}/paper.db", *arguments,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            if process.stdout is None:
                raise RuntimeError("the venue has no output")
            yield process.stdout.readline().removeprefix("ready ").strip()
        finally:
            process.terminate()
            process.wait(20)


# --- orders -------------------------------------------------------------------------------


def _signed_orders(key: str, asset: int, count: int) -> list[bytes]:
    """Bodies of resting orders, signed beforehand: the clients' signing is not the venue's."""
    from eth_account import Account
    from hyperliquid.utils.signing import sign_l1_action

    wallet, first_nonce = Account.from_key(key), time.time_ns() // 1_000_000
    bodies = []
    for i in range(count):
        is_buy = i % 2 == 0
        wire = {"a": asset, "b": is_buy, "p": "2500" if is_buy else "3000", "s": "0.01",
                "r": False, "t": {"limit": {"tif": "Gtc"}}}  # fmt: skip
        # Each order replaces the one before, as a market maker's do: the book stays small.
        action: dict[str, Any] = {"type": "order", "orders": [wire], "grouping": "na"}
        nonce = first_nonce + i
        signature = sign_l1_action(wallet, action, None, nonce, None, True)
        bodies.append(orjson.dumps({"action": action, "nonce": nonce, "signature": signature}))
    return bodies


def _cancel_all(key: str, url: str, address: str) -> None:
    from eth_account import Account
    from hyperliquid.exchange import Exchange

    client = Exchange(Account.from_key(key), url)
    orders = client.info.open_orders(address)
    client.bulk_cancel([{"coin": o["coin"], "oid": o["oid"]} for o in orders])
