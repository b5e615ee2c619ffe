"""A reply that trickles ends with the timeout; all others come as they always did."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Literal

import pytest
import requests

from shared.http_deadline import DeadlineAdapter
from shared.testing.http_server import LocalServer, Reply, Request

TIMEOUT_SECS = 0.5
AT_ONCE_SECS = 3.0

Part = Literal["headers", "body"]


def answer(request: Request) -> Reply:
    """Trickle the part that the path names; take ``/wait`` seconds; else echo what was sent."""
    if request.path in ("/headers", "/body"):
        part: Part = "headers" if request.path == "/headers" else "body"
        return Reply(body=b"x" * 10_000, trickle=part)
    if request.path.startswith("/wait/"):
        return Reply(hang_secs=float(request.path.removeprefix("/wait/")))
    return Reply(body=request.body)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(answer) as server:
        yield server


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", DeadlineAdapter())
        yield session


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_reply_that_trickles_is_given_up(
    server: LocalServer, session: requests.Session, part: Part
) -> None:
    begun = time.monotonic()
    with pytest.raises((requests.Timeout, requests.ConnectionError), match="timed out"):
        session.post(f"{server.url}/{part}", timeout=TIMEOUT_SECS)
    assert TIMEOUT_SECS <= time.monotonic() - begun < AT_ONCE_SECS


def test_it_would_keep_its_caller_otherwise(server: LocalServer) -> None:
    """What the adapter is for: ten times the timeout, and the plain one still waits."""
    with requests.Session() as plain:
        plain.trust_env = False
        begun = time.monotonic()
        reply = plain.post(f"{server.url}/body", timeout=TIMEOUT_SECS, stream=True)
        reply.raw.read(100)
        assert time.monotonic() - begun > 5 * TIMEOUT_SECS


def test_a_proxy_that_trickles_is_given_up(server: LocalServer, session: requests.Session) -> None:
    session.proxies = {"http": server.url}

    def trickles(_: Request) -> Reply:
        return Reply(body=b"x" * 10_000, trickle="body")

    server.answer = trickles
    begun = time.monotonic()
    with pytest.raises((requests.Timeout, requests.ConnectionError), match="timed out"):
        session.post("http://nowhere.invalid/", timeout=TIMEOUT_SECS)
    assert time.monotonic() - begun < AT_ONCE_SECS


def test_connections_are_kept_and_have_all_of_the_timeout_again(
    server: LocalServer, session: requests.Session
) -> None:
    for _ in range(3):
        reply = session.post(f"{server.url}/wait/0.3", timeout=TIMEOUT_SECS)
        assert reply.status_code == 200
    adapter = session.get_adapter(server.url)
    assert isinstance(adapter, DeadlineAdapter)
    pools = adapter.poolmanager.pools
    (pool,) = [pools[key] for key in pools.keys()]  # noqa: SIM118  (it cannot be iterated over)
    assert (pool.num_connections, pool.num_requests) == (1, 3)


@pytest.mark.parametrize("size", [0, 1, 8_192, 3_000_000])
def test_replies_of_any_size_are_whole(
    server: LocalServer, session: requests.Session, size: int
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert session.post(f"{server.url}/", data=body, timeout=30).content == body


def test_without_a_timeout_there_is_no_end(server: LocalServer, session: requests.Session) -> None:
    assert session.post(f"{server.url}/wait/0.2", timeout=None).status_code == 200


GREEN = """
import eventlet
eventlet.monkey_patch()
import sys, time, requests
from shared.http_deadline import DeadlineAdapter
session = requests.Session()
session.trust_env = False
session.mount("http://", DeadlineAdapter())
assert session.post(sys.argv[1] + "/", data=b"whole", timeout=10).content == b"whole"
ticks = 0
def tick():
    global ticks
    while True:
        eventlet.sleep(0.05)
        ticks += 1
eventlet.spawn(tick)
begun = time.monotonic()
try:
    session.post(sys.argv[1] + "/body", timeout=0.5)
except (requests.Timeout, requests.ConnectionError):
    print(time.monotonic() - begun, ticks)
"""


def test_green_threads_go_on_meanwhile(server: LocalServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GREEN, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    took_secs, ticks = done.stdout.split()
    assert TIMEOUT_SECS <= float(took_secs) < AT_ONCE_SECS
    assert int(ticks) >= 3
