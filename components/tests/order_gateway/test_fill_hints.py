"""The stream that hints at fills: lost, repeated or invented messages change only when."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, select
from websockets.sync.server import ServerConnection, serve

from order_gateway import fill_hints
from order_gateway.fill_hints import FillHints
from order_gateway.fills import OVERLAP_MS, SHORT_OVERLAP_MS, FillsConsumer
from order_gateway.risk_gate import limits_of
from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.payloads import Fill
from shared.storage.risk_state import RiskStateStore
from shared.storage.tables import order_fills
from shared.testing.servers import wait_until

START_MS = 1_700_000_000_000
LENGTH_MS = 100_000


class Listener:
    """``FillHints`` in a thread against a server whose connections a test plays."""

    def __init__(self, play: Callable[[ServerConnection, int], None]) -> None:
        self.hints = self.connections = 0
        self.subscriptions: list[Any] = []
        self._play = play
        self._stop = threading.Event()

    def _connected(self, socket: ServerConnection) -> None:
        self.connections += 1
        self.subscriptions.append(orjson.loads(socket.recv()))
        self._play(socket, self.connections)

    def _hinted(self) -> None:
        self.hints += 1

    def __enter__(self) -> Listener:
        self._server = serve(self._connected, "127.0.0.1", 0)
        port = self._server.socket.getsockname()[1]
        hints = FillHints(f"ws://127.0.0.1:{port}", "0xab", None, self._hinted)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, daemon=True),
            threading.Thread(target=hints.run, args=(self._stop,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads[1].join(10)
        assert not self._threads[1].is_alive()
        self._server.shutdown()


def test_it_reconnects_subscribes_again_and_takes_any_message_as_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fill_hints, "FIRST_PAUSE_SECS", 0.02)
    done = threading.Event()

    def play(socket: ServerConnection, number: int) -> None:
        if number < 3:  # the line is cut in the middle of it
            socket.send(b"\xff not JSON")
            socket.send('{"channel":"pong"}')
            socket.close_socket()
            return
        for _ in range(3):
            socket.send('{"channel":"userFills","data":{"fills":"nonsense"}}')
        done.wait(20)

    with Listener(play) as listener:
        wait_until(lambda: listener.hints >= 5, 20, "the hints of three connections")
        done.set()
    assert listener.hints == 5
    wanted = {"method": "subscribe", "subscription": {"type": "userFills", "user": "0xab"}}
    assert listener.subscriptions[:3] == [wanted] * 3


def test_a_silent_connection_is_pinged_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secs in (("PING_SECS", 0.05), ("SILENT_SECS", 0.3), ("FIRST_PAUSE_SECS", 0.02)):
        monkeypatch.setattr(fill_hints, name, secs)
    monkeypatch.setattr(fill_hints, "_LOOK_SECS", 0.02)
    heard: list[Any] = []

    def play(socket: ServerConnection, _: int) -> None:
        heard.extend(orjson.loads(message) for message in socket)

    with Listener(play) as listener:
        wait_until(lambda: listener.connections >= 2, 20, "another connection")
    assert {"method": "ping"} in heard
    assert listener.hints == 0


@dataclass
class Venue:
    """Fills that become visible some time after they happened."""

    fills_: list[tuple[int, Fill]]
    now_ms: int = START_MS
    reads: int = 0

    def fills(self, start_ms: int) -> tuple[Fill, ...]:
        self.reads += 1
        visible = [f for at, f in self.fills_ if at <= self.now_ms and f.time_ms >= start_ms]
        return tuple(sorted(visible, key=lambda f: f.time_ms))


def fills_with_delays(rng: random.Random, longest_ms: int) -> list[tuple[int, Fill]]:
    found, position = [], Decimal(0)
    for tid in range(60):
        time_ms = START_MS + 1 + tid * LENGTH_MS // 60 + rng.randrange(1_000)
        size = Decimal(rng.randrange(1, 9)) / 10
        buys = position <= 0
        fill = Fill(
            symbol=rng.choice(["BTC", "ETH"]), price=Decimal(100), size=size,
            side="buy" if buys else "sell", time_ms=time_ms, start_position=position,
            direction="Open Long", closed_pnl=Decimal(0), oid=tid // 2, crossed=True,
            fee=Decimal("0.1"), fee_token="USDC", tid=tid, cloid=None,
        )  # fmt: skip
        position += size if buys else -size
        found.append((time_ms + rng.randrange(longest_ms), fill))
    return found


@dataclass
class Consumed:
    """What came of reading a venue by one schedule of reads."""

    rows: list[tuple[int, int, str]]
    reported: list[int] = field(default_factory=list)


def consume(
    engine: Engine, settings: Settings, venue: Venue, schedule: list[tuple[int, int]]
) -> Consumed:
    reported: list[int] = []
    consumer = consumer_of(
        engine,
        settings,
        venue,
        on_external=lambda fills: reported.extend(f.tid for f in fills),
    )
    consumer.step()
    for at_ms, overlap_ms in schedule:
        venue.now_ms = at_ms
        consumer.step(overlap_ms)
    with engine.connect() as conn:
        rows = conn.execute(select(order_fills.c.time_ms, order_fills.c.tid, order_fills.c.coin))
        return Consumed(sorted(tuple(row) for row in rows), reported)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_becomes_of_the_hints_every_fill_is_stored_once(
    engine: Engine, settings: Settings, seed: int
) -> None:
    rng = random.Random(seed)
    venue = Venue(fills_with_delays(rng, OVERLAP_MS - 11_000))
    end_ms = START_MS + LENGTH_MS + OVERLAP_MS
    whole = [(at, OVERLAP_MS) for at in range(START_MS, end_ms + 10_000, 10_000)]
    hinted = []
    for at_ms, _ in venue.fills_:
        if rng.random() < 0.7:  # the others are lost
            late_ms = rng.randrange(5_000)  # and overtake each other
            hinted += [(at_ms + late_ms, SHORT_OVERLAP_MS)] * rng.choice([1, 1, 2])
    hinted += [(rng.randrange(START_MS, end_ms), SHORT_OVERLAP_MS) for _ in range(10)]  # invented
    consumed = consume(engine, settings, venue, sorted(whole + hinted))
    expected = sorted((f.time_ms, f.tid, f.symbol) for _, f in venue.fills_)
    assert consumed.rows == expected
    assert sorted(consumed.reported) == sorted(tid for _, tid, _ in expected)


def consumer_of(engine: Engine, settings: Settings, venue: Venue, **changes: Any) -> FillsConsumer:
    parts: dict[str, Any] = {
        "limits": limits_of(settings.risk),
        "clock_ms": lambda: venue.now_ms,
        "waiting": frozenset,
        "pause_on_external": True,
        "on_external": lambda _: None,
        "on_large_loss": lambda _: None,
    }
    return FillsConsumer(engine, venue, **{**parts, **changes})  # type: ignore[arg-type]


def test_a_fill_of_an_exit_that_waits_for_its_import_is_not_someone_elses(
    engine: Engine, settings: Settings
) -> None:
    (_, ours), (_, other), *_ = fills_with_delays(random.Random(1), 10)
    ours = dataclasses.replace(ours, cloid="0xexit")
    venue = Venue([(ours.time_ms, ours), (other.time_ms, other)])
    waiting = {"0xexit"}
    reported: list[Fill] = []
    consumer = consumer_of(
        engine, settings, venue, waiting=lambda: waiting, on_external=reported.extend
    )
    consumer.step()
    venue.now_ms = other.time_ms + 10 * OVERLAP_MS
    assert consumer.step() == 1
    assert reported == [other]
    waiting.clear()
    assert consumer.step(overlap_ms=0) == 1  # however late: the cursor has waited for it
    assert reported == [other, ours]


def test_a_trade_of_someone_else_pauses_its_symbol_though_nobody_lives_to_report_it(
    engine: Engine, settings: Settings
) -> None:
    (_, fill), *_ = fills_with_delays(random.Random(1), 10)
    venue = Venue([(0, fill)])

    def dies(_: object) -> None:
        raise RuntimeError("killed")

    consumer = consumer_of(engine, settings, venue, on_external=dies)
    with pytest.raises(RuntimeError, match="killed"):
        consumer.step()
    with UnitOfWork(engine) as uow:
        assert list(RiskStateStore(uow.conn).load().pauses) == [fill.symbol]


def test_a_hint_alone_brings_a_trade_in(gateway: Any, outside: Any, venue_url: str) -> None:
    gateway.restart(T3__paper_exchange__url=venue_url, T3__order_gateway__fills_interval_secs="600")
    wait_until(lambda: "fill_hints_connected" in gateway.log(), 20, "the stream")
    before = gateway.audit_file.read_text().count('"event":"external_fill"')
    outside.market_open("ETH", True, 0.05)
    wait_until(
        lambda: gateway.audit_file.read_text().count('"event":"external_fill"') > before,
        20,
        "the trade",
    )
    resume = {"symbol": "ETH", "reason": "that was me"}
    assert gateway.post("/risk/resume", resume).status_code == 200
