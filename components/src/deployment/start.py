"""Starts a Celery process with what ``config.yml`` says: ``python -m deployment.start NAME``.

Options after the name are handed on.

Pool sizes are options of Celery's command line, and a change of ``config.yml`` is to take effect by
a restart alone; so the command line is made here, and replaces this process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from shared.config import ConfigError, Secrets, Settings, load_secrets, load_settings

BAD_CONFIGURATION = 2
CELERY = (sys.executable, "-m", "celery", "-A", "shared.celery_app")
POOL_METRICS = Path("/tmp/3t_metrics")  # noqa: S108  # nosec B108  # in this container's memory
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
QUIET = ("--without-mingle", "--without-gossip")


def main(arguments: list[str]) -> int:
    """Replaces this process; returns 2 when that is not possible."""
    if not arguments or arguments[0] not in COMMANDS:
        usage = f"usage: python -m deployment.start {{{','.join(COMMANDS)}}} [OPTION…]\n"
        sys.stderr.write(usage)
        return BAD_CONFIGURATION
    try:
        command, environ = prepared(arguments[0])
    except ConfigError as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return BAD_CONFIGURATION
    return os.execve(command[0], [*command, *arguments[1:]], environ)  # noqa: S606


def prepared(name: str) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a process; raises ``ConfigError``."""
    command = COMMANDS[name](load_settings())
    if name == "celery-worker":
        POOL_METRICS.mkdir(exist_ok=True)
        return command, {**os.environ, FOLDER_VARIABLE: str(POOL_METRICS)}
    if name != "flower":
        return command, dict(os.environ)
    secrets = load_secrets(require=["flower.password"])
    return command, {**os.environ, **flower_environ(secrets)}


def celery_beat(_: Settings) -> list[str]:
    """Beat; its schedule file is on a volume."""
    return [*CELERY, "beat", "--schedule=/var/lib/3t/celerybeat-schedule", "--pidfile="]


def celery_worker_high(settings: Settings) -> list[str]:
    """Green threads for the queue that must never wait."""
    return [
        *CELERY,
        "worker",
        "--queues=high_priority",
        "-P",
        "eventlet",
        f"--autoscale={settings.celery.high_priority_max_concurrency},10",
        "--hostname=high@%h",
        *QUIET,
    ]


def celery_worker(settings: Settings) -> list[str]:
    """Processes for iterations."""
    return [
        *CELERY,
        "worker",
        "--queues=low_priority",
        "-P",
        "prefork",
        f"--concurrency={settings.celery.low_priority_concurrency}",
        "--hostname=low@%h",
        *QUIET,
    ]


def celery_worker_research(_: Settings) -> list[str]:
    """Processes for optimisation, for hosts or processors on which nothing trades."""
    return [
        *("/usr/bin/nice", "-n", "10"),
        *CELERY,
        "worker",
        "--queues=research",
        "-P",
        "prefork",
        "--hostname=research@%h",
        *QUIET,
    ]


def flower(_: Settings) -> list[str]:
    """The view of workers and tasks, which cannot change them."""
    return [*CELERY, "flower", "--address=0.0.0.0", "--port=5555", "--read_only=True"]


def flower_environ(secrets: Secrets) -> dict[str, str]:
    """Basic authentication, by the environment because a command line can be read by others."""
    return {"FLOWER_BASIC_AUTH": f"flower:{secrets.flower.password.get_secret_value()}"}


COMMANDS: Mapping[str, Callable[[Settings], list[str]]] = {
    "celery-beat": celery_beat,
    "celery-worker-high": celery_worker_high,
    "celery-worker": celery_worker,
    "celery-worker-research": celery_worker_research,
    "flower": flower,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
