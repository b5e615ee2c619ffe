"""Trials of an optimisation per minute: by workers through the queue, beside one process alone."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from shared.benchmarks.figure import Figure, NotMeasuredError
from shared.research.errors import ResearchError
from shared.research.optimize.local import Connected, LocalPlatform
from shared.research.optimize.search import plan, run
from shared.research.optimize.senders import CelerySender, InlineSender
from shared.research.optimize.studies import open_storage
from shared.research.request import Request
from shared.testing.servers import free_port

CONFIG: Final = Path(__file__).parents[2] / "config.yml"
DAYS: Final = 10
MINUTE_MS: Final = 60_000
FIRST_MS: Final = 1_700_000_040_000
RUNS: Final = 500
TRIALS: Final = 10
"""As many as the sampler draws before it learns: the same values, whatever the order."""
WORKERS: Final = (1, 2)


def _candles(folder: Path) -> Path:
    """A walk of minutes whose calm and restless hours take turns."""
    rng = np.random.default_rng(5)
    count = DAYS * 1_440
    scale = np.repeat(rng.choice([0.0003, 0.0009], count // 60 + 1), 60)[:count]
    price = 3_000.0 * np.exp(np.cumsum(rng.normal(0.0, scale)))
    lines = ["timestamp_ms,open,high,low,close"]
    lines += [f"{FIRST_MS + k * MINUTE_MS},{p},{p},{p},{p}" for k, p in enumerate(price.tolist())]
    file = folder / "ETH_1m.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _minutes(
    file: Path, connected: Connected, trials: int, balance_usd: float, *, inline: bool
) -> float:
    """Time of a search that nobody has begun: the balance makes it another one, not its work."""
    request = Request(data=(str(file),), runs=RUNS, balance_usd=balance_usd)
    wanted = plan(request, connected.settings, trials, folds=1)
    storage = open_storage(connected.settings, connected.secrets)
    sender = (
        InlineSender(storage) if inline else CelerySender(connected.settings, connected.secrets)
    )
    start = time.monotonic()
    run(wanted, storage, sender, lambda *_: None)
    return (time.monotonic() - start) / 60.0


def _environ() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("T3_")}
    return {
        **inherited,
        "T3__redis__port": str(free_port()),
        "T3__database__port": str(free_port()),
        "T3__research__pruning__looks": "0",
    }


def optimize_trials_per_min() -> list[Figure]:
    """Ten trials of ``config.yml`` with 500 runs on 10 days of minutes, none given up early.

    Servers and workers are up and have compiled: each has done a trial or two before.
    """
    rates: dict[int, float] = {}
    alone = 0.0
    with tempfile.TemporaryDirectory() as folder:
        file, environ = _candles(Path(folder)), _environ()
        try:
            for workers in WORKERS:
                with LocalPlatform(environ, CONFIG, workers, Path(folder) / "home") as connected:
                    _minutes(file, connected, 2 * workers, 1_000.0 + workers, inline=False)
                    rates[workers] = TRIALS / _minutes(
                        file, connected, TRIALS, 2_000.0 + workers, inline=False
                    )
                    if workers == WORKERS[-1]:
                        _minutes(file, connected, 2, 3_000.0, inline=True)
                        alone = TRIALS / _minutes(file, connected, TRIALS, 3_001.0, inline=True)
        except ResearchError as error:
            raise NotMeasuredError(str(error)) from None
    return [
        Figure(
            f"optimize_trials_per_min_{workers}",
            rate,
            "trials/min",
            peer="the same trials in one process",
            peer_value=alone,
        )
        for workers, rate in rates.items()
    ]
