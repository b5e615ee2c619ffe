"""A search that takes seconds: a day of two symbols, a small population, short lives."""

from __future__ import annotations

from pathlib import Path

from optuna.storages import RDBStorage
from sqlalchemy import event

from shared.config import Settings, load_settings
from shared.research.optimize.search import Optimisation, plan
from shared.research.optimize.studies import rdb_storage
from shared.research.request import Request
from shared.tests.research.samples import ROOT, candle_text, walk, write

PARAMETERS = (
    "{providence.lookbacks: {choices: [[5, 15], [15, 30]]}, "
    "providence.dead_band.1: {low: 0.005, high: 0.05}, "
    "providence.exits.judge_after_trades: {low: 12, high: 60}, "
    "reconciliation_engine.rebalance_frequency: {low: 60.0, high: 1200.0, log: true}}"
)
OVERRIDES = {
    "T3__providence__entropy__windows": "[30]",
    "T3__providence__lookbacks": "[5, 15]",
    "T3__providence__exits__max_duration_secs": "[600.0, 3600.0]",
    "T3__market_data__memory_candles": "60",
    "T3__research__parameters": PARAMETERS,
    "T3__research__runs": "30",
    "T3__research__min_orders": "1",
    "T3__research__heartbeat_secs": "1",
    "T3__research__walk_forward__folds": "2",
    "T3__research__walk_forward__train_tests": "2.0",
}


def settings(**more: str) -> Settings:
    """``config.yml`` made small."""
    return load_settings(ROOT / "config.yml", environ={**OVERRIDES, **more})


def files(folder: Path, minutes: int = 1_500) -> tuple[str, ...]:
    """Candles of BTC and ETH."""
    for place, symbol in enumerate(("BTC", "ETH")):
        write(folder / f"{symbol}_1m.csv", candle_text(walk(minutes, 50 + place, 3_000.0)))
    return tuple(str(folder / f"{symbol}_1m.csv") for symbol in ("BTC", "ETH"))


def storage(folder: Path, heartbeat_secs: int = 1) -> RDBStorage:
    """Trials in a file that is not flushed at every commit."""
    made = rdb_storage(f"sqlite:///{folder / 'trials.db'}", heartbeat_secs)
    made.engine.dispose()
    event.listen(made.engine, "connect", lambda db, _: db.execute("PRAGMA synchronous=OFF"))
    return made


def search(folder: Path, trials: int = 5, seed: int = 1, folds: int | None = None) -> Optimisation:
    """The search over these files."""
    return plan(Request(data=files(folder), seed=seed), settings(), trials, folds)
