"""Runs the price producer that fits the network: polling behind a proxy, else streaming.

Run: `python -m price_producer_selector`
"""

from __future__ import annotations

import sys
import threading

import structlog

import price_poll_producer
import price_stream_producer
from shared import service
from shared.config import Secrets, Settings

log = structlog.get_logger(__name__)


def choose(settings: Settings) -> service.Body:
    """The producer's body: polling if and only if a proxy is configured."""
    if settings.exchanges.hyperliquid.proxy:
        return price_poll_producer.body
    return price_stream_producer.body


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    chosen = choose(settings)
    log.info("price_producer_chosen", producer=chosen.__module__)
    chosen(settings, secrets, stop)


def main() -> int:
    """Exit code of the process."""
    return service.run("price_producer", body)


if __name__ == "__main__":
    sys.exit(main())
