"""A chat service on loopback, spoken to by Apprise's ``json://``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from shared.testing.http_server import LocalServer, Reply, Request


class ChatService:
    """Keeps what it is told; ``status`` is what it answers, ``hangs`` makes it say nothing."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[dict[str, Any]] = []
        self.released = threading.Event()
        self.hangs = False
        self._server = LocalServer(self._answer)
        self.url = SecretStr(self._server.url.replace("http:", "json:") + "/secret-path")

    def _answer(self, request: Request) -> Reply:
        if self.hangs:
            self.released.wait(20)
            return Reply(cut=True)
        if self.status == 200:
            self.received.append(request.json())
        return Reply(self.status, "")

    def stop(self) -> None:
        self.released.set()
        self._server.stop()


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
