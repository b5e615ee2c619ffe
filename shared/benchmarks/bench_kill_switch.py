"""How long after a person wants it the kill switch lets a last order through.

Orders come over HTTP on every symbol at once, each as soon as the one before is answered, to a
gateway that is a process of its own, as in ``bench_gateway``. A clock starts in the moment in which
the switch is asked for: when its request is sent, or when the command is started. It stops at the
answer to the last order that was still executed. An order that was sent after the switch was
acknowledged and is executed nevertheless is a fault, not a figure.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from shared.benchmarks.figure import Figure
from shared.benchmarks.gateway_platform import Client, GatewayPlatform, gateway_platform

OK: Final = 200
BLOCKED: Final = 403
WARM_UP_ORDERS: Final = 100
BLOCKED_ORDERS: Final = 40
WAIT_SECS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One order: when it was sent and answered (``perf_counter``), and with which status."""

    sent: float
    answered: float
    status: int


class Crowd:
    """One client per symbol, sending order after order while the block lasts."""

    def __init__(self, gateway: GatewayPlatform) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(s,)) for s in gateway.sizes]
        self.answers: list[Answered] = []

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, status: int, count: int) -> None:
        """Until so many more orders were answered like this."""
        begin, deadline = len(self.answers), time.monotonic() + WAIT_SECS
        while sum(a.status == status for a in self.answers[begin:]) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"fewer than {count} orders were answered by {status}")
            time.sleep(0.02)

    def _send(self, symbol: str) -> None:
        client, number = Client(self._gateway.port), 0
        while not self._stop.is_set():
            number += 1
            body: dict[str, Any] = {
                "intent_id": f"hand:{symbol}-{time.time_ns()}",
                "symbol": symbol,
                "side": "buy" if number % 2 else "sell",
                "size": self._gateway.sizes[symbol],
                "type": "market",
                "origin": "hand",
            }
            sent = time.perf_counter()
            status = client.post("/execute_order", body).status
            self.answers.append(Answered(sent, time.perf_counter(), status))
        client.close()


def kill_switch() -> list[Figure]:
    """From the request, and from the start of the command, to the last order that passed."""
    with gateway_platform() as gateway, Crowd(gateway) as crowd:
        by_http = _secs_to_block(gateway, crowd, lambda: _set_by_http(gateway))
        by_command = _secs_to_block(gateway, crowd, lambda: _set_by_command(gateway))
    return [
        Figure("kill_switch_to_block_s", by_http, "s", goal=1.0, better="lower"),
        Figure("kill_switch_cli_to_block_s", by_command, "s", goal=1.0, better="lower"),
    ]


def _secs_to_block(gateway: GatewayPlatform, crowd: Crowd, set_switch: Callable[[], None]) -> float:
    crowd.wait_for(OK, WARM_UP_ORDERS)
    asked = time.perf_counter()
    set_switch()
    acknowledged = time.perf_counter()
    crowd.wait_for(BLOCKED, BLOCKED_ORDERS)
    passed = [a for a in crowd.answers if a.status == OK and a.answered > asked]
    if any(a.sent > acknowledged for a in passed):
        raise RuntimeError("an order passed that was sent after the switch was set")
    _ask(gateway, {"action": "lift", "reason": "measured", "actor": "bench"})
    return max((a.answered for a in passed), default=asked) - asked


def _set_by_http(gateway: GatewayPlatform) -> None:
    _ask(gateway, {"action": "set", "reason": "a measurement", "actor": "bench"})


def _ask(gateway: GatewayPlatform, body: dict[str, Any]) -> None:
    client = Client(gateway.port)
    answer = client.post("/risk/kill-switch", body)
    client.close()
    if answer.status != OK:
        raise RuntimeError(f"the kill switch answers {answer.status}: {answer.body}")


def _set_by_command(gateway: GatewayPlatform) -> None:
    command = [sys.executable, "-m", "order_gateway.cli", "kill-switch", "set"]
    subprocess.run(
        [*command, "--reason", "a measurement"], env=gateway.environ, check=True,
        capture_output=True,
    )  # fmt: skip
