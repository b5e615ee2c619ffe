"""Reads a recorded window from MariaDB, in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select

from shared.config import Settings
from shared.market_data.archive import DAY_MS
from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_inputs import TickInputStore, TickRow
from shared.providence.run_state import Records, join
from shared.providence.sizing import CohortSums
from shared.providence.step import FILL_DTYPE, Fills
from shared.research.errors import ResearchError
from shared.research.markets import MarketSpec
from shared.research.times import utc
from shared.research.twin.read_account import read_account
from shared.research.twin.recorded import NEVER, EndedBefore, Lives, Recorded
from shared.research.twin.replay import reach_ms
from shared.storage import checkpoints, cohorts, config_versions
from shared.storage.fills import COLUMNS
from shared.storage.products import ProductStore
from shared.storage.tables import epochs, iteration_shards, run_fills, runs

BIRTHS_AT_ONCE = 5_000
NOTHING = CohortSums(0, 0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """First and last time wanted (UTC ms), both included."""

    from_ms: int
    to_ms: int


def read(engine: Engine, settings: Settings, wanted: Wanted, now_ms: int) -> Recorded:
    """Everything recorded of the window.

    Raises
    ------
    ResearchError
        If nothing was recorded, or what was needed is no longer stored; one sentence.
    SQLAlchemyError
        If the database cannot be read.
    """
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.connect() as conn, conn.begin():
        return _Reader(conn, settings, now_ms).window(wanted)


class _Reader:
    def __init__(self, conn: Connection, settings: Settings, now_ms: int) -> None:
        self._conn = conn
        self._settings = settings
        self._now_ms = now_ms
        self._interval_ms = settings.interval_ms
        self._ticks = TickInputStore(conn)

    def window(self, wanted: Wanted) -> Recorded:
        from_ms, to_ms = self._bounds(wanted)
        lives = self._lives(from_ms, to_ms)
        oldest = int(lives.births["spawn_tick"].min())
        needed = min(oldest, from_ms) - reach_ms(lives.births, self._interval_ms)
        self._require_kept(needed)
        rows = self._rows(needed, to_ms)
        product_ids, markets = self._markets(lives.births)
        return Recorded(
            interval_ms=self._interval_ms,
            from_ms=from_ms,
            to_ms=to_ms,
            rows=tuple(rows),
            configs=self._configs(rows),
            product_ids=product_ids,
            markets=markets,
            lives=lives,
            fills=self._fills(lives.births, oldest, to_ms),
            ended_before=self._ended_before(from_ms),
            height_ticks=self._heights(from_ms, to_ms),
            account=read_account(
                self._conn, {m.symbol: c for c, m in enumerate(markets)}, from_ms, to_ms
            ),
        )

    def _bounds(self, wanted: Wanted) -> tuple[int, int]:
        """First and last tick: stored, wanted, and committed by every shard with runs."""
        step_ms = self._interval_ms
        newest, stored = self._ticks.latest_tick(step_ms), self._ticks.oldest_tick(step_ms)
        if newest is None or stored is None:
            raise ResearchError(
                f"no ticks of {step_ms / 1000:g} s are stored; the platform writes them while it "
                "runs, and celery.schedules.providence_iteration_scheduler sets their length"
            )
        born = self._conn.execute(select(func.min(runs.c.spawn_tick))).scalar_one()
        behind = self._conn.execute(
            select(func.min(iteration_shards.c.last_tick)).where(
                select(runs.c.id)
                .where(runs.c.shard_id == iteration_shards.c.id, runs.c.status == "active")
                .exists()
            )
        ).scalar_one()
        from_ms = max(wanted.from_ms, stored, int(born or 0))
        to_ms = min(wanted.to_ms, newest, newest if behind is None else int(behind))
        from_ms, to_ms = -(-from_ms // step_ms) * step_ms, to_ms // step_ms * step_ms
        if born is None or from_ms >= to_ms:
            first = "no run was born yet"
            if born is not None:
                first = f"the first run was born at {utc(int(born))}"
            raise ResearchError(
                f"no run was stepped between {utc(wanted.from_ms)} and {utc(wanted.to_ms)}; "
                f"ticks are stored from {utc(stored)} to {utc(newest)}, and {first}"
            )
        return from_ms, to_ms

    def _lives(self, from_ms: int, to_ms: int) -> Lives:
        t = runs.c
        rows = self._conn.execute(
            select(t.id, t.shard_id, t.completed_tick, t.exit_tick, t.height, t.height_tick)
            .where(
                t.spawn_tick < to_ms,
                (t.status == "active") | (t.completed_tick > from_ms),
            )
            .order_by(t.shard_id, t.id)
        ).all()
        if not rows:
            raise ResearchError(f"no run lived between {from_ms} and {to_ms}")
        columns = np.array(
            [
                (r.id, r.shard_id, r.completed_tick or NEVER, r.exit_tick or 0, r.height or 0,
                 r.height_tick or 0)
                for r in rows
            ],
            dtype=np.int64,
        )  # fmt: skip
        births = self._births(columns[:, 0])
        births["exit_at_tick"] = columns[:, 3]
        births["height"], births["height_at_tick"] = columns[:, 4], columns[:, 5]
        ended = np.where(columns[:, 2] <= to_ms, columns[:, 2], NEVER)
        return Lives(births, columns[:, 1].copy(), ended)

    def _births(self, run_ids: NDArray[np.int64]) -> Records:
        """In the order of ``run_ids``."""
        ordered = np.sort(run_ids)
        parts = [
            checkpoints.births(self._conn, ordered[start : start + BIRTHS_AT_ONCE])
            for start in range(0, len(ordered), BIRTHS_AT_ONCE)
        ]
        found = join(parts)
        known = found["run_id"].astype(np.int64)
        if not np.array_equal(known, ordered):
            gone = np.setdiff1d(ordered, known)
            raise ResearchError(
                f"{len(gone)} runs have no record of their birth any more (run {gone[0]} for one); "
                "purge.run_fill_days says how long it is kept after their end"
            )
        late = np.flatnonzero(found["tick"].astype(np.int64) != found["spawn_tick"])
        if len(late):
            raise ResearchError(f"the oldest record of run {known[late[0]]} is not that of a birth")
        births: Records = found[np.searchsorted(ordered, run_ids)]
        return births

    def _require_kept(self, needed_ms: int) -> None:
        purge = self._settings.purge
        days = min(purge.tick_input_days, purge.run_fill_days)
        kept_ms = self._now_ms - days * DAY_MS
        if needed_ms < kept_ms:
            raise ResearchError(
                f"ticks from {needed_ms} on are needed, and only those of the last {days} days are "
                "kept (purge.tick_input_days, purge.run_fill_days)"
            )

    def _rows(self, from_ms: int, to_ms: int) -> list[TickRow]:
        return self._ticks.rows(self._interval_ms, from_ms - from_ms % self._interval_ms, to_ms)

    def _configs(self, rows: Sequence[TickRow]) -> dict[str, TickConfig]:
        versions = sorted({row.config_version for row in rows})
        return {
            version: TickConfig.from_json(config_versions.content(self._conn, version))
            for version in versions
        }

    def _markets(self, births: Records) -> tuple[tuple[int, ...], tuple[MarketSpec, ...]]:
        """Columns: what is configured now, and what the runs were on."""
        products = {product.id: product for product in ProductStore(self._conn).all().values()}
        configured = set(self._settings.reconciliation_engine.symbols)
        wanted = {int(p) for p in np.unique(births["product_id"])}
        wanted |= {product.id for product in products.values() if product.symbol in configured}
        chosen = [products[product_id] for product_id in sorted(wanted)]
        return tuple(product.id for product in chosen), tuple(
            MarketSpec(p.symbol, p.sz_decimals, float(p.max_leverage)) for p in chosen
        )

    def _fills(self, births: Records, from_ms: int, to_ms: int) -> Fills:
        rows = self._conn.execute(
            select(*COLUMNS)
            .where(run_fills.c.tick_ms.between(from_ms, to_ms))
            .order_by(run_fills.c.run_id, run_fills.c.fill_seq)
        )
        fills: Fills = np.array([tuple(row) for row in rows], dtype=FILL_DTYPE)
        own: Fills = fills[np.isin(fills["run_id"], births["run_id"])]
        return own

    def _ended_before(self, from_ms: int) -> Mapping[int, EndedBefore]:
        """Results of runs that had ended by the first tick, by the epoch they belonged to then."""
        t = runs.c
        closed = self._conn.execute(
            select(func.max(epochs.c.effective_tick), func.max(epochs.c.height)).where(
                epochs.c.effective_tick <= from_ms
            )
        ).one()
        closed_ms, height = closed[0], int(closed[1] or 0)
        retired = cohorts.retired(self._conn)
        rows = self._conn.execute(
            select(t.product_id, t.height, t.completed_tick, t.live_pnl, t.start_balance).where(
                t.status == "completed", t.completed_tick <= from_ms, t.fill_count > 0
            )
        )
        growths: dict[tuple[int, bool], list[float]] = {}
        for row in rows:
            is_past = row.height is not None or row.completed_tick < (closed_ms or 0)
            growths.setdefault((row.product_id, is_past), []).append(
                row.live_pnl / row.start_balance
            )
        gone: dict[tuple[int, bool], CohortSums] = {}
        for (epoch, product_id), sums in retired.items():
            key = (product_id, epoch <= height)
            gone[key] = gone.get(key, NOTHING) + sums

        def ended(product_id: int, is_past: bool) -> CohortSums:
            known = _cohort(growths.get((product_id, is_past), []))
            return known + gone.get((product_id, is_past), NOTHING)

        return {
            product_id: EndedBefore(ended(product_id, False), ended(product_id, True))
            for product_id in sorted({product_id for product_id, _ in {**growths, **gone}})
        }

    def _heights(self, from_ms: int, to_ms: int) -> tuple[tuple[int, int], ...]:
        t = epochs.c
        rows: Any = self._conn.execute(
            select(t.effective_tick, t.height)
            .where(t.effective_tick > from_ms, t.effective_tick <= to_ms)
            .order_by(t.effective_tick)
        )
        return tuple((int(row.effective_tick), int(row.height)) for row in rows)


def _cohort(growths: list[float]) -> CohortSums:
    if not growths:
        return NOTHING
    values = np.array(growths)
    return CohortSums(
        len(values),
        int((values > 0.0).sum()),
        float(values[values > 0.0].sum()),
        float(-values[values <= 0.0].sum()) + 0.0,
    )
