"""What every long-running process does alike: configuration, signals, waiting for others."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from shared.config import ConfigError, Secrets, Settings, load_secrets, load_settings
from shared.metrics_server import serve
from shared.opentelemetry_config import flush_traces, setup

log = structlog.get_logger(__name__)

T = TypeVar("T")
EXIT_BAD_CONFIGURATION = 2
_FIRST_PAUSE_SECS = 0.2
_LONGEST_PAUSE_SECS = 5.0

Body = Callable[[Settings, Secrets, threading.Event], None]


class Stopped(Exception):
    """The process was asked to end while it waited for something."""


def run(name: str, body: Body, require: Iterable[str] = ()) -> int:
    """Run ``body(settings, secrets, stop)`` until it returns; the exit code of the process.

    ``stop`` is set by SIGTERM and SIGINT. ``require`` names secrets that must be there. Bad
    configuration is one message on stderr and code 2, before anything is started.
    """
    try:
        settings = load_settings()
        secrets = load_secrets(require=require)
    except ConfigError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_BAD_CONFIGURATION
    setup(name, settings.observability)
    try:
        metrics = serve(name, settings.mode, settings.observability)
    except OSError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_BAD_CONFIGURATION
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("service_started", mode=settings.mode)
    try:
        body(settings, secrets, stop)
    except Stopped:
        log.info("service_stopped_while_waiting")
    finally:
        if metrics is not None:
            metrics.close()
        flush_traces()
    log.info("service_stopped")
    return 0


def wait_for(
    what: str,
    probe: Callable[[], T],
    errors: tuple[type[Exception], ...],
    stop: threading.Event,
) -> T:
    """Call ``probe`` until it does not raise one of ``errors``; returns its value.

    Pauses grow from 0.2 to 5 s, with jitter. One log line when the wait begins and one when it
    ends. Raises ``Stopped`` when ``stop`` is set meanwhile.
    """
    pause = _FIRST_PAUSE_SECS
    waiting = False
    while not stop.is_set():
        try:
            value = probe()
        except errors as error:
            if not waiting:
                log.warning("waiting", what=what, reason=str(error))
                waiting = True
        else:
            if waiting:
                log.info("waited", what=what)
            return value
        stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
        pause = min(pause * 2, _LONGEST_PAUSE_SECS)
    raise Stopped(what)
