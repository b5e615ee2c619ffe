"""A chat service on loopback, spoken to by Apprise's ``json://``."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr


class ChatService:
    """Keeps what it is told; ``status`` is what it answers, ``hangs`` makes it say nothing."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[dict[str, Any]] = []
        self.released = threading.Event()
        self.hangs = False
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if service.hangs:
                    service.released.wait(20)
                    return
                if service.status == 200:
                    service.received.append(body)
                self.send_response(service.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = SecretStr(f"json://127.0.0.1:{self._server.server_address[1]}/secret-path")

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def chat() -> Iterator[ChatService]:
    service = ChatService()
    yield service
    service.stop()


@pytest.fixture
def other_chat() -> Iterator[ChatService]:
    service = ChatService()
    yield service
    service.stop()
