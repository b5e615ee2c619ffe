"""A small Redis client for health probes: the full one takes longer to import than to ask."""

from __future__ import annotations

import socket
from typing import BinaryIO, Self

Reply = str | int | list["Reply"] | None

TIMEOUT_SECS = 5.0


class RedisReplyError(RuntimeError):
    """Redis refused a command."""


class RespClient:
    """One connection; ``call`` sends a command and returns the decoded reply.

    Raises ``OSError`` when Redis cannot be reached and ``RedisReplyError`` when it refuses.
    """

    def __init__(self, host: str, port: int, password: str) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT_SECS)
        self._stream: BinaryIO = self._socket.makefile("rb")
        if password:
            self.call("AUTH", password)

    @property
    def own_ip(self) -> str:
        """The address that Redis sees this host under."""
        return str(self._socket.getsockname()[0])

    def call(self, *words: str) -> Reply:
        """One command and its reply."""
        parts = [word.encode() for word in words]
        frame = b"*%d\r\n" % len(parts)
        frame += b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(frame)
        return self._read()

    def _read(self) -> Reply:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RedisReplyError(rest)
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [self._read() for _ in range(size)]
        return self._stream.read(size + 2)[:-2].decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()
