"""A paper exchange in a subprocess, and one in memory without sockets."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from paper_exchange.canonical import canonicalise
from paper_exchange.engine import execute, step
from paper_exchange.ledger import Account, identity_gap
from paper_exchange.market import Market
from paper_exchange.settings import deposit
from paper_exchange.state import Switches, Venue
from paper_exchange.universe import default_universe


@dataclass(frozen=True)
class Wallet:
    """A key for tests only, and its lower-case address."""

    key: str
    address: str


MASTER = Wallet(
    "0x0123456789012345678901234567890123456789012345678901234567890123",
    "0x14791697260e4c9a71f18484c9f997b308e59325",
)
OTHER = Wallet("0x" + "22" * 32, "0x1563915e194d8cfba1943570603f7606a3115508")
AGENT = Wallet("0x" + "33" * 32, "0x5cbdd86a2fa8dc4bddd8a8f69dba48572eec07fb")
ADMIN_TOKEN = "paper-admin"
READY_SECS = 30
START_MS = 1_800_000_000_000


@dataclass
class Paper:
    """A running venue: its process and its URL."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    arguments: list[str] = field(default_factory=list)

    @property
    def ws_url(self) -> str:
        return "ws" + self.url.removeprefix("http") + "/ws"

    def info(self, kind: str, **fields: Any) -> Any:
        reply = requests.post(f"{self.url}/info", json={"type": kind, **fields}, timeout=10)
        reply.raise_for_status()
        return reply.json()

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        url = f"{self.url}/admin/{path}"
        reply = requests.request(method, url, json=body, headers=headers, timeout=10)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; whatever happened, no error was logged."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(10)
        if self.log.exists():
            self.expect_clean_log()
            self.log.unlink()
        return code

    def expect_clean_log(self) -> None:
        """No traceback and nothing at error level."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        assert "Traceback" not in text, text[-3000:]
        assert '"level": "error"' not in text, text[-3000:]
        assert "Exception" not in text, text[-3000:]


def start(arguments: list[str], **environ: str) -> Paper:
    """Start a venue on a free port and wait for its ready line."""
    with tempfile.NamedTemporaryFile(prefix="paper-", suffix=".log", delete=False) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "paper_exchange", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | environ,
        )
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    stream = process.stdout
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    line = lines.get(timeout=READY_SECS)
    assert line.startswith("ready http://127.0.0.1:"), line
    return Paper(process, line.split()[1], Path(log.name), arguments)


@pytest.fixture(scope="session")
def accounts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two funded accounts; the first has an agent."""
    path = tmp_path_factory.mktemp("paper") / "accounts.json"
    accounts = [
        {"address": MASTER.address, "deposit_usdc": 100_000, "agents": [AGENT.address]},
        {"address": OTHER.address, "deposit_usdc": "100000"},
    ]
    path.write_text(json.dumps(accounts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def paper(accounts_file: Path) -> Iterator[Paper]:
    """A venue without rate limits, shared by a module."""
    arguments = ["--accounts", str(accounts_file), "--no-rate-limit", "--seed", "7"]
    venue = start([*arguments, "--admin-token", ADMIN_TOKEN])
    yield venue
    venue.stop()


@pytest.fixture
def start_paper(accounts_file: Path) -> Iterator[Callable[..., Paper]]:
    """Start venues with arguments of one's own; all are stopped afterwards."""
    yield from _starter(accounts_file)


@pytest.fixture(scope="module")
def start_module_paper(accounts_file: Path) -> Iterator[Callable[..., Paper]]:
    """The same for venues that a whole module shares."""
    yield from _starter(accounts_file)


def _starter(accounts_file: Path) -> Iterator[Callable[..., Paper]]:
    running: list[Paper] = []

    def launch(*arguments: str, **environ: str) -> Paper:
        common = ["--accounts", str(accounts_file), "--admin-token", ADMIN_TOKEN]
        running.append(start([*common, *arguments], **environ))
        return running[-1]

    yield launch
    for venue in running:
        venue.stop()


@pytest.fixture(scope="session")
def master() -> Wallet:
    """A funded account."""
    return MASTER


@pytest.fixture(scope="session")
def other() -> Wallet:
    """A second funded account."""
    return OTHER


@pytest.fixture(scope="session")
def agent() -> Wallet:
    """An agent of the first account."""
    return AGENT


class Desk:
    """The pure core with markets that stand still until told to move; no sockets, no disk."""

    def __init__(self, **switches: Any) -> None:
        self.now_ms = START_MS
        self.venue = Venue(default_universe(), 7, Switches(**switches))
        for asset in self.venue.universe.markets:
            self.venue.markets[asset.name] = Market(asset, 7, asset.reference_px, self.now_ms)
        for wallet in (MASTER, OTHER):
            deposit(self.venue, wallet.address, Decimal(100_000), self.now_ms)
        self.venue.take_changes()

    def act(self, action: dict[str, Any], wallet: Wallet = MASTER) -> dict[str, Any]:
        """Run an action of a wallet as if it had been signed."""
        account = self.venue.accounts[wallet.address]
        return execute(self.venue, account, canonicalise(action), self.now_ms)

    def order(
        self, coin: str, side: str, size: str, price: str, wallet: Wallet = MASTER, **more: Any
    ) -> Any:
        """Place one order; ``more``: tif, reduce_only, cloid, trigger."""
        return self.orders([order_wire(self.venue, coin, side, size, price, **more)], wallet)[0]

    def orders(
        self, wires: list[dict[str, Any]], wallet: Wallet = MASTER, grouping: str = "na"
    ) -> list[Any]:
        action = {"type": "order", "orders": wires, "grouping": grouping}
        statuses: list[Any] = self.act(action, wallet)["data"]["statuses"]
        return statuses

    def wire(self, coin: str, side: str, size: str, price: str, **more: Any) -> dict[str, Any]:
        return order_wire(self.venue, coin, side, size, price, **more)

    def account(self, wallet: Wallet = MASTER) -> Account:
        return self.venue.accounts[wallet.address]

    def move(self, elapsed_ms: int = 100, **prices: float) -> None:
        """Let time pass and set fair prices of some coins."""
        self.now_ms += elapsed_ms
        fair = {coin: market.fair_px for coin, market in self.venue.markets.items()}
        step(self.venue, self.now_ms, fair | prices)

    def gap(self, wallet: Wallet = MASTER) -> Decimal:
        """How far the ledger identity is off (zero unless broken)."""
        marks = {coin: market.mark for coin, market in self.venue.markets.items()}
        return identity_gap(self.account(wallet), marks)

    def best(self, coin: str, is_ask: bool) -> Decimal:
        market = self.venue.markets[coin]
        return market.price(market.quote.ask if is_ask else market.quote.bid)


def order_wire(
    venue: Venue,
    coin: str,
    side: str,
    size: str,
    price: str,
    *,
    tif: str = "Gtc",
    reduce_only: bool = False,
    cloid: str | None = None,
    trigger: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An order as it appears in an action."""
    wire: dict[str, Any] = {
        "a": venue.universe.by_coin[coin].asset_id,
        "b": side == "buy",
        "p": price,
        "s": size,
        "r": reduce_only,
        "t": {"trigger": trigger} if trigger else {"limit": {"tif": tif}},
    }
    return wire | ({"c": cloid} if cloid else {})


@pytest.fixture
def desk() -> Desk:
    """The pure core with two funded accounts."""
    return Desk()


@pytest.fixture
def make_desk() -> Callable[..., Desk]:
    """The pure core with switches of one's own."""
    return Desk


@pytest.fixture
def data_dir() -> Path:
    """Folder with real data and recorded payloads; skips when it is absent."""
    root = Path(__file__).resolve().parents[3]
    found = Path(os.environ.get("T3_DATA_DIR", root.parent / "shared" / "data"))
    if not found.is_dir():
        pytest.skip(f"no recorded data: {found} does not exist (set T3_DATA_DIR)")
    return found


@pytest.fixture
def vectors(data_dir: Path) -> dict[str, Any]:
    """Signing and rounding vectors beside the data folder; skips when they are absent."""
    path = data_dir.parent / "hyperliquid_vectors.json"
    if not path.is_file():
        pytest.skip(f"no signing vectors: {path} does not exist")
    vectors: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return vectors
