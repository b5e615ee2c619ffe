"""Fan-out of venue events to WebSocket connections: every message is serialised once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import orjson
import structlog

from paper_exchange.exchange import Exchange
from paper_exchange.faults import FaultBox
from paper_exchange.info_user import order_entry
from paper_exchange.state import Changes
from paper_exchange.topics import TOPICS, channel_of, funding_payload
from paper_exchange.transport import forget, reset

QUEUE_LENGTH = 4_000
WS_PATH = "/ws"

log = structlog.get_logger("paper_exchange")

Key = tuple[Any, ...]


def encode(channel: str, data: Any) -> str:
    """One event frame."""
    return orjson.dumps({"channel": channel, "data": data}).decode()


def key_of(sub: dict[str, Any]) -> Key:
    """Hashable identity of a canonical subscription."""
    return (sub["type"], *(sub.get(name) for name in TOPICS[sub["type"]].fields))


class Outbox:
    """Frames waiting for one connection; a reader that falls far behind is cut off."""

    def __init__(self, client: Any = None) -> None:
        self.client = client
        self.host: str = client[0] if client else ""
        self.posts: set[asyncio.Task[None]] = set()
        self.sent_at = time.monotonic()
        self.frames: asyncio.Queue[str | None] = asyncio.Queue(QUEUE_LENGTH)
        self.subscriptions: dict[Key, dict[str, Any]] = {}
        self.closed = False

    def send(self, frame: str) -> None:
        if self.closed:
            return
        self.sent_at = time.monotonic()
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:
            log.warning("slow_reader_cut_off", waiting=QUEUE_LENGTH)
            self.close()

    def close(self) -> None:
        """Ask the writer to close the connection after what is queued fits."""
        self.closed = True
        if self.frames.full():
            self.frames.get_nowait()
        self.frames.put_nowait(None)


def cut(outbox: Outbox) -> None:
    """Reset one connection."""
    outbox.closed = True
    reset(outbox.client)


class Hub:
    """All connections and what each listens to."""

    def __init__(self, exchange: Exchange, faults: FaultBox, book_interval_ms: int = 500) -> None:
        self.exchange = exchange
        self.faults = faults
        self._book_interval_ms = book_interval_ms
        self._held: dict[Outbox, str] = {}
        self.connections: set[Outbox] = set()
        self._listeners: dict[Key, set[Outbox]] = {}
        self._subs: dict[Key, dict[str, Any]] = {}
        self._sent_ms: dict[Key, int] = {}
        self._last: dict[Key, str] = {}
        exchange.subscribers.on_changes.append(self.publish_changes)
        exchange.subscribers.on_prices.append(self.publish_prices)

    # --- membership -----------------------------------------------------------------------

    def subscribe(self, outbox: Outbox, sub: dict[str, Any]) -> bool:
        """Add a subscription; False if the connection already has it."""
        key = key_of(sub)
        if key in outbox.subscriptions:
            return False
        outbox.subscriptions[key] = sub
        self._listeners.setdefault(key, set()).add(outbox)
        self._subs[key] = sub
        return True

    def snapshot(self, outbox: Outbox, sub: dict[str, Any]) -> None:
        """Send the current state of a new subscription to its connection."""
        build = TOPICS[sub["type"]].build
        data = build(self.exchange, sub) if build is not None else None
        if data is None:
            return
        frame = encode(channel_of(self.exchange, sub), data)
        if self.faults.faults:
            key = f"{key_of(sub)}"
            frame = self.faults.stale(WS_PATH, sub["type"], key, frame.encode()).decode()
        outbox.send(frame)

    def unsubscribe(self, outbox: Outbox, sub: dict[str, Any]) -> bool:
        """Drop a subscription; False if there was none."""
        key = key_of(sub)
        if outbox.subscriptions.pop(key, None) is None:
            return False
        self._forget(key, outbox)
        return True

    def peers(self, host: str) -> list[Outbox]:
        """Connections of one host: the venue's limits hold for all of them together."""
        return [outbox for outbox in self.connections if outbox.host == host]

    def leave(self, outbox: Outbox) -> None:
        """Forget a connection that ended."""
        self.connections.discard(outbox)
        for post in outbox.posts:
            post.cancel()
        self._held.pop(outbox, None)
        forget(outbox.client)
        for key in outbox.subscriptions:
            self._forget(key, outbox)
        outbox.subscriptions.clear()

    def _forget(self, key: Key, outbox: Outbox) -> None:
        listeners = self._listeners.get(key, set())
        listeners.discard(outbox)
        if not listeners:
            for table in (self._listeners, self._subs, self._sent_ms, self._last):
                table.pop(key, None)

    def _send(self, key: Key, frame: str) -> None:
        for outbox in tuple(self._listeners.get(key, ())):
            if self.faults.faults:
                self._send_faulty(outbox, key[0], frame)
            else:
                outbox.send(frame)

    def _send_faulty(self, outbox: Outbox, kind: str, frame: str) -> None:
        """Send an event through the WebSocket faults in force."""
        if self.faults.draw("ws_cut", WS_PATH, kind) is not None:
            cut(outbox)
            return
        if self.faults.draw("ws_silence", WS_PATH, kind) is not None:
            return
        held = self._held.pop(outbox, None)
        if held is None and self.faults.draw("ws_reorder", WS_PATH, kind) is not None:
            self._held[outbox] = frame
            return
        outbox.send(frame)
        if self.faults.draw("ws_duplicate", WS_PATH, kind) is not None:
            outbox.send(frame)
        if held is not None:
            outbox.send(held)

    def cut_all(self) -> None:
        """Reset every connection."""
        for outbox in list(self.connections):
            cut(outbox)

    def _publish(self, kind: str, user: str, data: Any) -> None:
        key = (kind, user)
        if key in self._listeners:
            self._send(key, encode(TOPICS[kind].channel, data))

    # --- events ---------------------------------------------------------------------------

    def publish_changes(self, changes: Changes) -> None:
        """Tell subscribers what an action or a price step changed."""
        for trade_coin, trades in _grouped((t["coin"], t) for t in changes.trades):
            self._publish("trades", trade_coin, trades)
        for user, updates in _grouped(changes.order_updates):
            self._publish("orderUpdates", user, updates)
        for user, fills in _grouped((f.user, f.payload()) for f in changes.fills):
            self._publish("userFills", user, {"user": user, "fills": fills})
            self._publish("userEvents", user, {"fills": fills})
        for user, event in changes.user_events:
            self._publish("userEvents", user, event)
        for user, entries in _grouped(changes.fundings):
            fundings = [funding_payload(entry) for entry in entries]
            self._publish("userFundings", user, {"user": user, "fundings": fundings})
            for funding in fundings:
                self._publish("userEvents", user, {"funding": funding})
        for user, updates in _grouped(changes.ledger):
            data = {"user": user, "nonFundingLedgerUpdates": updates}
            self._publish("userNonFundingLedgerUpdates", user, data)
        for user, ended in _grouped((o.user, o) for o in changes.orders.values()):
            if ("userHistoricalOrders", user) in self._listeners:
                history = [order_entry(self.exchange, order) for order in ended]
                self._publish("userHistoricalOrders", user, {"user": user, "orderHistory": history})
        users = changes.accounts | {order.user for order in changes.orders.values()}
        for key in list(self._listeners) if users else ():
            topic = TOPICS[key[0]]
            if topic.on_account and self._subs[key]["user"] in users:
                self._push(key, self.exchange.feed.time_ms)

    def publish_prices(self, now_ms: int) -> None:
        """Send the periodic messages that are due."""
        for key in list(self._listeners):
            period_ms = TOPICS[key[0]].period_ms
            if key[0] == "l2Book":
                period_ms = self._book_interval_ms
            if period_ms is not None and now_ms - self._sent_ms.get(key, 0) >= period_ms:
                self._push(key, now_ms)

    def _push(self, key: Key, now_ms: int) -> None:
        sub = self._subs[key]
        topic = TOPICS[sub["type"]]
        data = topic.build(self.exchange, sub) if topic.build is not None else None
        if data is None:
            return
        self._sent_ms[key] = now_ms
        if topic.on_change_only:
            # The time in a message is not a change.
            body = {k: v for k, v in data.items() if k != "time"} if isinstance(data, dict) else {}
            fingerprint = orjson.dumps(body).decode()
            if self._last.get(key) == fingerprint:
                return
            self._last[key] = fingerprint
        self._send(key, encode(channel_of(self.exchange, sub), data))


def _grouped(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, list[Any]]]:
    groups: dict[str, list[Any]] = {}
    for name, entry in pairs:
        groups.setdefault(name, []).append(entry)
    return list(groups.items())
