"""Hints by WebSocket that the account may have traded.

What a message says is never read: that one came makes the next read of the fills come sooner, and
nothing else. Lost, repeated, late or invented messages therefore change when a fill is seen, never
what is seen.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import orjson
import structlog
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECS = 0.5
LONGEST_PAUSE_SECS = 30.0
PING_SECS = 20.0
SILENT_SECS = 50.0
"""Without any message, not even an answer to a ping, for so long, the connection is given up."""
OPEN_TIMEOUT_SECS = 10.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_LOOK_SECS = 0.5


class FillHints:
    """Follows the wallet's ``userFills`` on one connection after the other until ``stop``."""

    def __init__(
        self, url: str, wallet: str, origin: str | None, on_hint: Callable[[], None]
    ) -> None:
        self._url = url
        self._wallet = wallet
        self._origin = origin
        self._on_hint = on_hint
        self._pause_secs = FIRST_PAUSE_SECS
        self._connected = False

    def run(self, stop: threading.Event) -> None:
        """Follow and reconnect, with a pause that doubles and jitter, until ``stop`` is set."""
        while not stop.is_set():
            reason = self._one_connection(stop)
            if self._connected:
                log.warning("fill_hints_lost", reason=reason)
            else:
                log.debug("fill_hints_refused", reason=reason)
            self._connected = False
            stop.wait(random.uniform(self._pause_secs / 2, self._pause_secs))  # noqa: S311
            self._pause_secs = min(2 * self._pause_secs, LONGEST_PAUSE_SECS)

    def _one_connection(self, stop: threading.Event) -> str:
        """Follow over one connection; returns why it ended."""
        try:
            with connect(
                self._url,
                origin=Origin(self._origin) if self._origin else None,
                open_timeout=OPEN_TIMEOUT_SECS,
                close_timeout=1.0,
                max_size=MAX_MESSAGE_BYTES,
                proxy=None,
            ) as socket:
                subscription = {"type": "userFills", "user": self._wallet}
                _send(socket, {"method": "subscribe", "subscription": subscription})
                return self._follow(socket, stop)
        except (OSError, TimeoutError, WebSocketException) as error:
            return f"{type(error).__name__}: {error}"

    def _follow(self, socket: ClientConnection, stop: threading.Event) -> str:
        heard = pinged = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            if now - heard > SILENT_SECS:
                return f"silent for {SILENT_SECS:g} s"
            if now - max(heard, pinged) > PING_SECS:
                _send(socket, {"method": "ping"})
                pinged = now
            try:
                message = socket.recv(timeout=_LOOK_SECS)
            except TimeoutError:
                continue
            heard = time.monotonic()
            self._heard(message)
        return "stopped"

    def _heard(self, message: str | bytes) -> None:
        """Anything but an answer to a ping may be news: the snapshot after a gap, a fill."""
        if not self._connected:
            self._connected, self._pause_secs = True, FIRST_PAUSE_SECS
            log.info("fill_hints_connected")
        if message not in ('{"channel":"pong"}', b'{"channel":"pong"}'):
            self._on_hint()


def _send(socket: ClientConnection, message: dict[str, object]) -> None:
    socket.send(orjson.dumps(message).decode())
