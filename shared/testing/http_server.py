"""An HTTP server in the test's own process, on a free loopback port, that answers by a function."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

TRICKLE_SECS = 0.05


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked; the names of ``headers`` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; ``body`` is sent as it is, ``hang_secs`` delays it, ``cut`` drops the line.

    ``trickle``: that part of it comes a byte at a time, 20 a second.
    """

    status: int = 200
    body: str | bytes = "{}"
    hang_secs: float = 0.0
    cut: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    trickle: Literal["nothing", "headers", "body"] = "nothing"

    @classmethod
    def json(cls, value: object, status: int = 200) -> Reply:
        """A value, encoded."""
        return cls(status, json.dumps(value))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # headers and body in one packet
    answer: Callable[[Request], Reply]

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = type(self).answer(Request(self.command, self.path, headers, body))
        time.sleep(reply.hang_secs)
        if reply.cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        content = reply.body.encode() if isinstance(reply.body, str) else reply.body
        self.send_response(reply.status)
        for name, value in (("Content-Type", reply.content_type), *reply.headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        if reply.trickle == "headers":
            self._trickle(b"HTTP/1.1 200 OK\r\nX-Slow: " + 10_000 * b"x")
            return
        self.end_headers()
        if reply.trickle == "body":
            self._trickle(content)
            return
        self.wfile.write(content)

    def _trickle(self, content: bytes) -> None:
        self.close_connection = True
        self.wfile.flush()
        try:
            for byte in content:
                self.connection.sendall(bytes([byte]))
                time.sleep(TRICKLE_SECS)
        except OSError:  # the client has had enough
            return

    do_GET = do_POST = _handle  # noqa: N815  (names of http.server)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@dataclass(eq=False)
class LocalServer:
    """Serves in the background from its creation until ``stop``, or the end of a ``with`` block.

    ``answer`` is called on a thread of the request's own. ``requests`` keeps what was asked.
    """

    answer: Callable[[Request], Reply]
    requests: list[Request] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._stopped = False
        handler = type("Handler", (_Handler,), {"answer": staticmethod(self._note)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def _note(self, request: Request) -> Reply:
        if self._stopped:  # on a connection that the client has kept
            return Reply(cut=True)
        self.requests.append(request)
        return self.answer(request)

    def stop(self) -> None:
        """Stop to listen; a request that still hangs is left alone."""
        self._stopped = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
