"""What the processes of each image import: ``python -m deployment.imports FAMILY``.

The last step of an image's build, so that a library left out of it, or trimmed too far, breaks the
build and not a service at night. ``FAMILIES`` is also the list of who runs on which image.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

from shared.celery_app import TASK_MODULES

BAD_INPUT = 2

_EVERY = ("deployment.healthcheck", "mysql.connector", "shared.celery_app")
_SERVICES = (
    *_EVERY,
    "deployment.migrate",
    "deployment.prepare",
    "deployment.restored",
    "deployment.swarm",
    "deployment.symbols",
    "example_balance_consumer",
    "exchange_observer.app",
    "order_gateway.cli",
    "order_gateway.server",
    "paper_exchange.app",
    "price_producer_selector",
    "price_sampler",
    "price_stream_consumer",
    "shared.risk.audit",
    "take_profit.service",
    "uvicorn.loops.uvloop",
)
_WORKER = (
    *_EVERY,
    *TASK_MODULES,
    "balance_report",
    "celery.bin.celery",
    "deployment.start",
    "flower.command",
    "platform_metrics.__main__",
    "shared.alerts.channels",
    "shared.alerts.cli",
    "worker.cli",
    "worker.wiring",
)
_PARQUET = ("pyarrow.compute", "pyarrow.csv", "pyarrow.parquet")

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "services": _SERVICES,
    "worker": _WORKER,
    "recorder": (*_EVERY, *_PARQUET, "recorder.__main__"),
    "research": (
        *_WORKER,
        *_PARQUET,
        "matplotlib.pyplot",
        "optuna",
        "shared.research.backtest",
        "shared.research.optimize.api",
        "worker.services.reoptimisation",
    ),
}


def main(arguments: list[str]) -> int:
    """Exit code: 0 all there, 2 for a family that is none; what is missing raises."""
    if len(arguments) != 1 or arguments[0] not in FAMILIES:
        sys.stderr.write(f"usage: python -m deployment.imports {{{','.join(FAMILIES)}}}\n")
        return BAD_INPUT
    for name in FAMILIES[arguments[0]]:
        importlib.import_module(name)
    sys.stdout.write(f"{arguments[0]}: {len(FAMILIES[arguments[0]])} modules import\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
