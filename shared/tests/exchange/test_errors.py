"""What a failure says about whether a request was processed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests

from shared.config import load_settings
from shared.exchange.boot_turn import BootTurn
from shared.exchange.breaker import NoBreaker
from shared.exchange.buckets import Limits
from shared.exchange.errors import (
    BadRequest,
    ConnectionLost,
    ConnectionRefused,
    DecodeError,
    PermanentVenueError,
    RateLimited,
    TransientVenueError,
    VenueError,
    VenueServerError,
    VenueTimeout,
)
from shared.exchange.http_errors import from_transport, raise_for_reply
from shared.exchange.rate_budget import RateBudget
from shared.exchange.transport import VenueTransport
from shared.network_monitor import NetworkMonitor
from shared.testing.http_server import LocalServer, Reply
from shared.testing.servers import free_port

CONFIG = Path(__file__).resolve().parents[3] / "config.yml"


def transport_to(url: str) -> VenueTransport:
    return VenueTransport(
        url,
        load_settings(CONFIG, {}).exchanges.hyperliquid,
        budget=RateBudget(Limits(1_000)),
        breaker=NoBreaker(),
        monitor=NetworkMonitor(),
        boot_turn=BootTurn(None, "direct", 0.0),
    )


def send(url: str, path: str = "/exchange") -> object:
    return transport_to(url).post(
        path, {"action": {}}, endpoint="exchange:test", weight=1, priority="exit"
    )


def test_a_post_is_sent_once_whatever_happens() -> None:
    for reply, error in (
        (Reply(500), VenueServerError),
        (Reply(429, "null"), RateLimited),
        (Reply(cut=True), ConnectionLost),
        (Reply(307), DecodeError),
    ):
        with LocalServer(lambda _, reply=reply: reply) as venue:
            with pytest.raises(error):
                send(venue.url)
            assert len(venue.requests) == 1


def test_a_redirect_is_not_followed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        location = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/exchange"
        reply = Reply(308, headers=(("Location", location),))
        with LocalServer(lambda _: reply) as venue, pytest.raises(DecodeError, match="308"):
            send(venue.url)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_a_reset_after_a_refusal_is_not_a_refusal() -> None:
    refused = _failure_of(f"http://127.0.0.1:{free_port()}")
    assert isinstance(from_transport(refused, "x"), ConnectionRefused)
    with LocalServer(lambda _: Reply(cut=True)) as venue:
        try:
            raise refused
        except requests.ConnectionError:
            lost = _failure_of(venue.url)
    assert lost.__context__ is not None
    assert isinstance(from_transport(lost, "x"), ConnectionLost)


def _failure_of(url: str) -> requests.RequestException:
    try:
        requests.post(url, json={}, timeout=2)
    except requests.RequestException as error:
        return error
    raise AssertionError("the request succeeded")


def test_a_connection_that_never_opens_is_a_timeout_not_a_refusal() -> None:
    assert isinstance(from_transport(requests.ConnectTimeout("late"), "x"), VenueTimeout)
    assert isinstance(from_transport(TimeoutError("late"), "x"), VenueTimeout)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (404, BadRequest),
        (422, BadRequest),
        (429, RateLimited),
        (500, VenueServerError),
        (503, VenueServerError),
        (204, DecodeError),
        (302, DecodeError),
    ],
)
def test_each_status_is_one_error_with_status_and_words(
    status: int, error: type[VenueError]
) -> None:
    with pytest.raises(error, match="info:meta") as caught:
        raise_for_reply(status, "words" * 100, "info:meta")
    assert caught.value.body == ("words" * 100)[:200]


def test_only_json_passes() -> None:
    assert raise_for_reply(200, "null", "x") is None
    assert raise_for_reply(200, '{"a": 1}', "x") == {"a": 1}
    for text in ("", "<html>", "{"):
        with pytest.raises(DecodeError):
            raise_for_reply(200, text, "x")


def test_the_families_are_told_by_type() -> None:
    assert issubclass(RateLimited, TransientVenueError)
    assert issubclass(DecodeError, PermanentVenueError)
    assert not issubclass(TransientVenueError, PermanentVenueError)
