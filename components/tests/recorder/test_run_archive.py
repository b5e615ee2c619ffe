"""Runs that ended long ago: on disk first, then out of the database; nothing is counted twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, func, insert, select, update

from recorder.fill_archive import ArchiveError
from recorder.run_archive import RunArchive
from recorder.service import EndedRuns
from shared.config import Settings
from shared.providence.run_state import from_json
from shared.providence.sizing import CohortSums
from shared.storage import cohorts, ended_runs, tables
from shared.storage.fill_days import DAY_MS
from shared.storage.run_store import MariaRunStore
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld

WORLD = RunWorld(length=1, gaps=False)
DAY = WORLD.start_ms // DAY_MS * DAY_MS
LATER = DAY + 20 * DAY_MS
SYMBOLS = {product_id: symbol for symbol, product_id in WORLD.product_ids.items()}


@pytest.fixture
def store(engine: Engine) -> MariaRunStore:
    store = MariaRunStore(engine.begin, FrozenClock())
    with engine.begin() as conn:
        WORLD.store_products(conn)
    store.create_shards([0], WORLD.start_ms, 1000)
    spawn(store, 6)
    return store


def spawn(store: MariaRunStore, count: int) -> list[int]:
    born = store.spawn(
        WORLD.newborns(count), np.zeros(count, dtype=np.int32), SYMBOLS,
        desired=100, tick_ms=WORLD.start_ms, interval_ms=1000, now_ms=1,
    )  # fmt: skip
    return [int(run_id) for run_id in born["run_id"]]


def end(engine: Engine, ticks: Mapping[int, int]) -> None:
    with engine.begin() as conn:
        for run_id, tick in ticks.items():
            conn.execute(
                update(tables.runs)
                .where(tables.runs.c.id == run_id)
                .values(status="completed", completed_tick=tick, live_pnl=run_id / 3)
            )


def earned(engine: Engine, run_id: int, usd: float) -> None:
    row = {"run_id": run_id, "symbol": symbol_of(engine, run_id), "pnl_usd": usd}
    with engine.begin() as conn:
        conn.execute(
            insert(tables.attribution_runs).values(**row, fees_usd=0.5, funding_usd=-0.25, fills=2)
        )


def symbol_of(engine: Engine, run_id: int) -> str:
    with engine.connect() as conn:
        query = select(tables.runs.c.symbol).where(tables.runs.c.id == run_id)
        return conn.execute(query).scalar_one()


def archive(engine: Engine, folder: Path, rows_per_file: int = 2) -> RunArchive:
    clock = FrozenClock(LATER)
    return RunArchive(
        engine.begin, folder, clock, retention_ms=14 * DAY_MS, rows_per_file=rows_per_file
    )


def stored(engine: Engine, table: str = "runs", column: str = "id") -> list[int]:
    key = tables.metadata.tables[table].c[column]
    with engine.connect() as conn:
        return list(conn.execute(select(key).distinct().order_by(key)).scalars())


def archived(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_runs_that_ended_long_ago_leave_with_their_whole_record(
    engine: Engine, store: MariaRunStore, tmp_path: Path
) -> None:
    births = store.births(np.array([1, 2, 3]))
    end(engine, {1: DAY + 5, 3: DAY + 4, 2: DAY + DAY_MS, 4: LATER - DAY_MS})
    assert archive(engine, tmp_path).rotate() == 3
    assert stored(engine) == stored(engine, "run_checkpoints", "run_id") == [4, 5, 6]
    rows = archived(tmp_path)
    assert [row["id"] for row in rows] == [3, 1, 2]
    assert [row["live_pnl"] for row in rows] == [1.0, 1 / 3, 2 / 3]
    states = {row["id"]: row["run_state"] for row in rows}
    for birth in births:
        assert from_json(orjson.loads(states[int(birth["run_id"])])).tobytes() == birth.tobytes()
    assert archive(engine, tmp_path).rotate() == 0


def test_what_they_made_of_the_account_is_in_the_file_and_still_in_the_sum(
    engine: Engine, store: MariaRunStore, tmp_path: Path
) -> None:
    end(engine, dict.fromkeys((1, 2, 3), DAY))
    for run_id, usd in ((1, 1.5), (2, -4.0), (5, 8.0)):
        earned(engine, run_id, usd)
    before = account(engine)
    archive(engine, tmp_path).rotate()
    assert account(engine) == before
    assert stored(engine, "attribution_runs", "run_id") == [ended_runs.SUMMARY_RUN, 5]
    made = [(r["id"], r["account_pnl_usd"], r["account_fills"]) for r in archived(tmp_path)]
    assert made == [(1, 1.5, 2), (2, -4.0, 2), (3, None, None)]


def test_what_the_cohorts_have_earned_is_still_known_by_epoch(
    engine: Engine, store: MariaRunStore, tmp_path: Path
) -> None:
    """Three ended with 1/3, -2/3 and 1 USD, one of them in an epoch that was closed."""
    end(engine, {1: DAY, 2: DAY + 1, 3: DAY + 2, 4: LATER})
    pnl = {1: 1 / 3, 2: -2 / 3, 3: 1.0, 4: 9.0}
    with engine.begin() as conn:
        conn.execute(update(tables.runs).values(product_id=1))
        conn.execute(update(tables.runs).where(tables.runs.c.id == 1).values(height=1))
        for run_id, usd in pnl.items():
            row = update(tables.runs).where(tables.runs.c.id == run_id)
            conn.execute(row.values(live_pnl=usd, fill_count=1, start_balance=1.0))
        epoch = {"height": 1, "kind": "take_profit", "effective_tick": DAY + 1, "run_count": 1}
        conn.execute(insert(tables.epochs).values(**epoch, created_ms=1))
        conn.execute(
            insert(tables.cohort_results),
            [
                {"epoch": 1, "product_id": 1, "runs": 1, "wins": 1, "sum_win": 1 / 3,
                 "sum_loss": 0},
                {"epoch": 2, "product_id": 1, "runs": 3, "wins": 2, "sum_win": 10.0,
                 "sum_loss": 2 / 3},
            ],
        )  # fmt: skip
        assert cohorts.retired(conn) == {}
    assert archive(engine, tmp_path).rotate() == 3
    with engine.connect() as conn:
        found = cohorts.retired(conn)
    assert found == {
        (1, 1): CohortSums(1, 1, 1 / 3, 0.0),
        (2, 1): CohortSums(2, 1, 1.0, 2 / 3),
    }


def account(engine: Engine) -> list[Any]:
    t = tables.attribution_runs.c
    sums = [func.sum(t[name]) for name in ("pnl_usd", "fees_usd", "funding_usd", "fills")]
    with engine.connect() as conn:
        return conn.execute(select(t.symbol, *sums).group_by(t.symbol)).all()


def test_an_id_is_never_given_twice(engine: Engine, store: MariaRunStore, tmp_path: Path) -> None:
    """The newest run may be the first to end: it stays, and holds up none that end after it."""
    end(engine, {6: DAY, 5: DAY + 2 * DAY_MS, 4: DAY + 1})
    assert archive(engine, tmp_path).rotate() == 2
    assert stored(engine) == [1, 2, 3, 6]
    assert spawn(store, 2) == [7, 8]
    assert archive(engine, tmp_path).rotate() == 1


def test_death_between_file_and_delete_writes_the_same_file_again(
    engine: Engine, store: MariaRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(engine, dict.fromkeys((1, 2, 3), DAY))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ended_runs, "forget", die)
        with pytest.raises(KeyboardInterrupt):
            archive(engine, tmp_path).rotate()
    assert stored(engine) == [1, 2, 3, 4, 5, 6]
    assert archive(engine, tmp_path).rotate() == 3
    assert [row["id"] for row in archived(tmp_path)] == [1, 2, 3]


def test_an_archive_that_cannot_be_written_loses_nothing_and_says_so(
    engine: Engine, store: MariaRunStore, settings: Settings, tmp_path: Path
) -> None:
    place = tmp_path / "archive"
    place.write_text("not a folder")
    purge = settings.purge.model_copy(update={"archive": place})
    ended = EndedRuns(settings.model_copy(update={"purge": purge}), engine, FrozenClock(LATER))
    end(engine, dict.fromkeys((1, 2), DAY))
    for _ in range(2):
        with pytest.raises(ArchiveError, match=r"archive cannot be written .*stay in MariaDB"):
            ended.move()
    assert stored(engine) == [1, 2, 3, 4, 5, 6]
    place.unlink()
    assert ended.move() == 2
    assert stored(engine) == [3, 4, 5, 6]
    assert len(archived(place)) == 2
