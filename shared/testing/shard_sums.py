"""Sums of a shard as an iteration would commit them, for tests of what follows them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine, delete, insert

from shared.database import UnitOfWork
from shared.storage.products import ProductStore
from shared.storage.tables import iteration_shards


def want(engine: Engine, directions: Mapping[str, float], tick_ms: int, runs: int = 0) -> None:
    """Replace all shards by one that asks for Σ w·d by symbol at ``tick_ms``.

    A hundred runs are active, no more than 50 on a symbol. ``runs`` is the number of current runs
    behind each, three of five of which have won.
    """
    active = 100 // max(len(directions), 2)
    with UnitOfWork(engine) as uow:
        products = ProductStore(uow.conn).all()
        sums = {
            str(products[symbol].id): {
                "active": active, "qualifying": active, "weighted_direction": direction,
                "current_runs": runs, "current_wins": runs * 3 // 5,
                "current_sum_win": 1.0 if runs else 0.0, "current_sum_loss": 0.5 if runs else 0.0,
                "history_runs": 0, "history_wins": 0,
                "history_sum_win": 0.0, "history_sum_loss": 0.0,
            }
            for symbol, direction in directions.items()
        }  # fmt: skip
        uow.conn.execute(delete(iteration_shards))
        uow.conn.execute(
            insert(iteration_shards).values(
                id=0, last_tick=tick_ms, interval_ms=1_000, version=1, sums=sums,
                sums_tick=tick_ms, committed_ms=tick_ms, worker="",
            )
        )  # fmt: skip
        uow.commit()
