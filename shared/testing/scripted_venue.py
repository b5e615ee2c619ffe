"""An HTTP server that answers `/info` by script: for faults that a healthy venue never shows."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Script = Callable[[dict[str, Any]], "Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; ``body`` is sent as it is, ``hang_secs`` delays it, ``cut`` drops the line."""

    status: int = 200
    body: str = "{}"
    hang_secs: float = 0.0
    cut: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(cls, value: object) -> Reply:
        """A good answer."""
        return cls(body=json.dumps(value))


@dataclass
class Request:
    """What the venue was asked, and with which headers."""

    path: str
    payload: dict[str, Any]
    headers: dict[str, str]


@dataclass
class ScriptedVenue:
    """Answers with ``script(payload)`` and remembers every request."""

    script: Script
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                payload = json.loads(self.rfile.read(length))
                headers = {name.lower(): value for name, value in self.headers.items()}
                venue.requests.append(Request(self.path, payload, headers))
                reply = venue.script(payload)
                time.sleep(reply.hang_secs)
                if reply.cut:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                data = reply.body.encode()
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Silence: the test looks at ``requests``."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
