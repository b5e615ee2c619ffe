"""What the order gateway adds to an order.

The gateway, its MariaDB (flushed to disk at every commit), its Redis and the paper exchange are
processes of their own; orders come over HTTP at a fixed rate whether or not earlier ones have been
answered.
"""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final

from shared.benchmarks.figure import Figure
from shared.benchmarks.gateway_platform import (
    SYMBOLS,
    Answer,
    Client,
    GatewayPlatform,
    gateway_platform,
)

ORDERS_PER_S: Final = 50
ORDERS: Final = 1_000
WARM_UP_ORDERS: Final = 100


class _Load:
    """Orders at ``ORDERS_PER_S`` over all symbols, buying and selling in turns."""

    def __init__(self, gateway: GatewayPlatform) -> None:
        self._port = gateway.port
        self._sizes = gateway.sizes
        self._local = threading.local()
        self._number = 0
        self._pool = ThreadPoolExecutor(len(SYMBOLS))
        self._free: SimpleQueue[str] = SimpleQueue()
        for symbol in SYMBOLS:
            self._free.put(symbol)

    def send(self, count: int) -> list[Future[Answer]]:
        """Hand out ``count`` orders on time; returns when the last one is on its way."""
        begin = time.perf_counter()
        sent = []
        for place in range(count):
            time.sleep(max(0.0, begin + place / ORDERS_PER_S - time.perf_counter()))
            sent.append(self._pool.submit(self._one, self._number))
            self._number += 1
        return sent

    def _one(self, number: int) -> Answer:
        if not hasattr(self._local, "client"):
            self._local.client = Client(self._port)
        client: Client = self._local.client
        symbol = self._free.get()  # a symbol takes one order at a time
        try:
            return client.post("/execute_order", self._order(number, symbol))
        finally:
            self._free.put(symbol)

    def _order(self, number: int, symbol: str) -> dict[str, Any]:
        return {
            "intent_id": f"hand:bench-{number}",
            "symbol": symbol,
            "side": "buy" if number % 2 == 0 else "sell",
            "size": self._sizes[symbol],
            "type": "market",
            "origin": "hand",
        }

    def close(self) -> None:
        """Let the connections go."""
        self._pool.shutdown()


def gateway_latency() -> list[Figure]:
    """Added latency of an order at 50/s: from request to reply, less the venue's part."""
    with gateway_platform() as gateway:
        load = _Load(gateway)
        _filled(load.send(WARM_UP_ORDERS))
        cpu, start = gateway.cpu_secs(), time.perf_counter()
        answers = _filled(load.send(ORDERS))
        cpu, secs = gateway.cpu_secs() - cpu, time.perf_counter() - start
        load.close()
    added = [answer.secs * 1000 - answer.parts_ms["venue"] for answer in answers]
    cuts = statistics.quantiles(added, n=100)
    journal = statistics.median(answer.parts_ms["journal"] for answer in answers)
    venue = statistics.median(answer.parts_ms["venue"] for answer in answers)
    return [
        Figure("gateway_p50_ms", cuts[49], "ms", goal=8.0, better="lower"),
        Figure("gateway_p99_ms", cuts[98], "ms", goal=25.0, better="lower"),
        Figure("gateway_journal_p50_ms", journal, "ms", better="lower"),
        Figure("gateway_venue_p50_ms", venue, "ms", better="lower"),
        Figure("gateway_orders_per_s", ORDERS / secs, "orders/s"),
        Figure("gateway_cpu_ms_per_order", cpu * 1000 / ORDERS, "ms", better="lower"),
    ]


def _filled(sent: list[Future[Answer]]) -> list[Answer]:
    answers = [future.result() for future in sent]
    for answer in answers:
        if answer.status != 200 or answer.body["state"] != "FILLED":
            raise RuntimeError(f"an order was not filled: {answer.status} {answer.body}")
    return answers
