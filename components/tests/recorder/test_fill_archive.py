"""Days of the fill journal: archived whole, dropped last, by a user who may not."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import DBAPIError

from recorder.fill_archive import ArchiveError, ArchiveResult, FillArchive
from shared.providence.fills import FILL_DTYPE, Fills
from shared.storage import fill_days, fills, tables
from shared.storage.fill_days import DAY_MS, FillDay
from shared.storage.run_store import MariaRunStore
from shared.testing.clock import FrozenClock
from shared.testing.run_world import RunWorld

TODAY = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS
OLD = FillDay(TODAY - 9 * DAY_MS)
RETENTION_MS = 5 * DAY_MS
WORLD = RunWorld(length=1, gaps=False)


@pytest.fixture
def old_days(migrate_engine: Engine) -> None:
    """Partitions as a platform has them that began ten days ago."""
    bounds = [TODAY - days * DAY_MS for days in (9, 8)]
    parts = ", ".join(f"PARTITION p{b} VALUES LESS THAN ({b})" for b in bounds)
    with migrate_engine.begin() as conn:
        conn.execute(
            text(
                "ALTER TABLE run_fills REORGANIZE PARTITION p_future INTO "
                f"({parts}, PARTITION p_future VALUES LESS THAN MAXVALUE)"
            )
        )


def journal(*, runs: int, each: int, tick: int) -> Fills:
    made = np.zeros(runs * each, dtype=FILL_DTYPE)
    made["run_id"] = np.repeat(np.arange(1, runs + 1), each)
    made["fill_seq"] = np.tile(np.arange(1, each + 1), runs)
    made["tick"], made["product_id"], made["size"] = tick, 1, -0.1 / 3
    made["price"], made["fee"] = 1e5 / 7, np.arange(runs * each) / 9
    return made


def insert(engine: Engine, *parts: Fills) -> None:
    with engine.begin() as conn:
        for part in parts:
            fills.insert(conn, part)


def archive(engine: Engine, folder: Path, **bounds: int) -> FillArchive:
    clock = FrozenClock(TODAY + 1000)
    return FillArchive(engine.begin, folder, clock, retention_ms=RETENTION_MS, **bounds)


def days(engine: Engine) -> list[int]:
    with engine.connect() as conn:
        return [day.end_ms for day in fill_days.days(conn)]


def test_a_journal_without_days_stays_whole(engine: Engine, tmp_path: Path) -> None:
    insert(engine, journal(runs=1, each=1, tick=TODAY - DAY_MS))
    assert archive(engine, tmp_path).rotate() == ArchiveResult(0, dropped=False)
    with engine.connect() as conn:
        assert len(fills.of_runs(conn, np.array([1]))) == 1


@pytest.mark.usefixtures("old_days")
def test_a_gap_of_days_is_closed(engine: Engine, tmp_path: Path) -> None:
    archive(engine, tmp_path).rotate()
    with engine.begin() as conn:
        fill_days.add_days(conn, TODAY + DAY_MS)
    assert days(engine) == [TODAY + n * DAY_MS for n in range(-8, 2)]


@pytest.mark.usefixtures("old_days")
def test_an_old_day_is_archived_piece_by_piece_and_dropped(engine: Engine, tmp_path: Path) -> None:
    old = journal(runs=5, each=7, tick=OLD.end_ms - 1)
    later = journal(runs=5, each=3, tick=OLD.end_ms)
    later["fill_seq"] += 7
    insert(engine, old, later)
    results = []
    while OLD.end_ms in days(engine) or not results:
        results.append(archive(engine, tmp_path, rows_per_file=8, files_per_call=2).rotate())
    assert results == [ArchiveResult(16, False), ArchiveResult(16, False), ArchiveResult(3, True)]
    (folder,) = (tmp_path / "run_fills").iterdir()
    table = pq.read_table(sorted(folder.glob("*.parquet")))
    for name in FILL_DTYPE.names:
        assert table[name].to_numpy().tobytes() == old[name].tobytes(), name
    with engine.connect() as conn:
        assert fills.of_runs(conn, old["run_id"]).tobytes() == later.tobytes()


@pytest.mark.usefixtures("old_days")
def test_fills_of_a_living_run_stay(engine: Engine, tmp_path: Path) -> None:
    store = MariaRunStore(engine.begin, FrozenClock())
    with engine.begin() as conn:
        WORLD.store_products(conn)
    store.create_shards([0], OLD.end_ms - 2, 1000)
    symbols = {p: s for s, p in WORLD.product_ids.items()}
    store.spawn(
        WORLD.newborns(1), np.zeros(1, dtype=np.int32), symbols,
        desired=1, tick_ms=OLD.end_ms - 2, interval_ms=1000, now_ms=1,
    )  # fmt: skip
    insert(engine, journal(runs=1, each=1, tick=OLD.end_ms - 1))
    assert archive(engine, tmp_path).rotate() == ArchiveResult(0, dropped=False)
    with engine.begin() as conn:
        conn.execute(update(tables.runs).values(status="completed"))
    assert archive(engine, tmp_path).rotate() == ArchiveResult(1, dropped=True)


@pytest.mark.usefixtures("old_days")
def test_a_day_stays_while_its_archive_is_incomplete(engine: Engine, tmp_path: Path) -> None:
    insert(engine, journal(runs=2, each=4, tick=OLD.end_ms - 1))
    archive(engine, tmp_path, rows_per_file=4, files_per_call=2).rotate()
    next(tmp_path.rglob("part-00000.parquet")).unlink()
    with pytest.raises(ArchiveError, match="holds 4 fills and the database 8"):
        archive(engine, tmp_path).rotate()
    assert days(engine)[0] == OLD.end_ms


@pytest.mark.usefixtures("old_days")
def test_the_application_may_rotate_days_and_nothing_else(engine: Engine) -> None:
    forbidden = [
        ("CALL drop_run_fills_day(:ms)", OLD.end_ms + DAY_MS, "ends at another time"),
        ("CALL drop_run_fills_day(:ms)", TODAY, "today and yesterday"),
        ("CALL add_run_fills_days(:ms)", TODAY + 9 * DAY_MS, "at most a week"),
        ("ALTER TABLE run_fills DROP PARTITION p_future", 0, "denied"),
        ("DROP TABLE run_fills", 0, "denied"),
        ("DROP PROCEDURE drop_run_fills_day", 0, "denied"),
    ]
    for statement, ms, reason in forbidden:
        with pytest.raises(DBAPIError, match=reason), engine.begin() as conn:
            conn.execute(text(statement), {"ms": ms} if ":ms" in statement else {})
    with engine.begin() as conn:
        fill_days.drop(conn, OLD)
    assert days(engine) == [OLD.end_ms + DAY_MS]
