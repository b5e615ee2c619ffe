"""Keeps every price, candle, funding rate and fill in the archive, for research and for proof.

Prices are read from `prices:updated` and written every `recorder.flush_secs`; the archive itself
says after which entry to go on. Candles, funding and fills are copied from MariaDB day by day
whenever their number there and in the archive differ, so that what arrives late gets in. Runs that
ended long ago and their fills move: once they are on disk they leave MariaDB.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import cast

import redis
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from recorder.fill_archive import ArchiveError, FillArchive
from recorder.run_archive import RunArchive
from shared import instruments, service
from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.database import UnitOfWork, make_engine, make_redis
from shared.market_data.archive import FILLS, FUNDING, Archive, clear_drafts, day_of, start_of
from shared.market_data.price_recording import (
    EntryId,
    PricePart,
    days_with_parts,
    resume_after,
    sort_day,
)
from shared.ports import Clock
from shared.storage import redis_keys
from shared.storage.archive_days import ArchiveDays
from shared.storage.fill_days import DAY_MS
from shared.storage.streams import StoredPriceError, decode_entry

log = structlog.get_logger(__name__)

READ_EVERY_SECS = 1.0
COPY_EVERY_SECS = 60.0
ARCHIVE_EVERY_SECS = 60.0
COPIED_DAYS = 14
"""Days looked through at start for what came late; later only yesterday and today are."""
SORT_AFTER_MS = 600_000
"""A day is sorted into files per symbol this long after its end."""
MOST_UNWRITTEN_ROWS = 1_000_000
"""While so many rows wait for a disk that takes none, the rest stays in the stream."""
_PAGE = 1_000


class Busy(Exception):
    """Another recorder writes to the same folder."""


class PriceRecorder:
    """From the stream into parts. ``client`` decodes its replies."""

    def __init__(self, archive: Archive, client: redis.Redis, clock: Clock) -> None:
        self._archive = archive
        self._client = client
        self._clock = clock
        self._part = PricePart()
        self._after: EntryId | None = None

    def resume(self) -> None:
        """Go on after what the archive holds; says so if the stream has lost entries since."""
        self._after = resume_after(self._archive)
        if self._after is None:
            return
        oldest = self._page("-", 1)
        if oldest and oldest[0][0] > self._after:
            log.error("prices_not_recorded", after=_text(self._after), before=_text(oldest[0][0]))
            instruments.record_archive_gap()

    def read(self) -> int:
        """Take in all entries that are there; returns how many."""
        taken = 0
        while len(self._part) < MOST_UNWRITTEN_ROWS:
            start = "-" if self._after is None else f"({_text(self._after)}"
            page = self._page(start, _PAGE)
            for entry, fields in page:
                try:
                    self._part.add(entry, decode_entry(fields, _text(entry)))
                except StoredPriceError as error:
                    log.error("entry_not_understood", reason=str(error))  # noqa: TRY400
                self._after = entry
            taken += len(page)
            if len(page) < _PAGE:
                break
        return taken

    def flush(self) -> int:
        """Write what was read; returns how many prices."""
        rows = self._part.write(self._archive)
        instruments.record_archived("prices", rows)
        return rows

    def sort_finished_days(self) -> int:
        """Sort days that are over into files per symbol; returns how many prices they hold."""
        rows = 0
        for day in days_with_parts(self._archive, day_of(self._clock.now_ms() - SORT_AFTER_MS)):
            rows += sort_day(self._archive, day)
            log.info("prices_sorted", day=day.isoformat(), rows=rows)
        return rows

    def _page(self, start: str, count: int) -> list[tuple[EntryId, dict[str, str]]]:
        reply = cast(
            "list[tuple[str, dict[str, str]]]",
            self._client.xrange(redis_keys.PRICES_STREAM, min=start, count=count),
        )
        return [(_entry(entry_id), fields) for entry_id, fields in reply]


class TableRecorder:
    """Copies days of candles, funding and fills from MariaDB."""

    def __init__(
        self, archive: Archive, engine: Engine, timeframes: tuple[str, ...], clock: Clock
    ) -> None:
        self._archive = archive
        self._engine = engine
        self._datasets = (*(f"candles_{name}" for name in timeframes), FUNDING, FILLS)
        self._clock = clock
        self._days = COPIED_DAYS

    def copy(self) -> int:
        """Write every recent day that has other rows in MariaDB; returns how many files."""
        today = day_of(self._clock.now_ms())
        first = today - timedelta(days=self._days)
        written = sum(self._copy(dataset, first) for dataset in self._datasets)
        self._days = 1
        return written

    def _copy(self, dataset: str, first: date) -> int:
        with UnitOfWork(self._engine) as uow:
            counts = ArchiveDays(uow.conn).counts(dataset, start_of(first))
        written = 0
        for (symbol, day), rows in sorted(counts.items()):
            known = self._archive.rows_of_day(dataset, symbol, day)
            if known >= rows:
                continue
            with UnitOfWork(self._engine) as uow:
                table = ArchiveDays(uow.conn).day(dataset, symbol, day)
            self._archive.write_day(dataset, symbol, day, table)
            instruments.record_archived(dataset, table.num_rows - known)
            written += 1
        return written


class EndedRuns:
    """Moves runs that ended long ago, and days of fills, from MariaDB into ``purge.archive``."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self._folder = settings.purge.archive
        retention_ms = settings.purge.run_fill_days * DAY_MS
        self._fills = FillArchive(engine.begin, self._folder, clock, retention_ms=retention_ms)
        self._runs = RunArchive(engine.begin, self._folder, clock, retention_ms=retention_ms)

    def move(self) -> int:
        """One bounded piece of work; returns how many fills and runs were written.

        Raises ``ArchiveError`` if that cannot be; then they stay where they are.
        """
        try:
            fills, runs = self._fills.rotate(), self._runs.rotate()
        except OSError as error:
            raise ArchiveError(
                f"{self._folder} cannot be written ({error.strerror or error}): ended runs and "
                "their fills stay in MariaDB until it can"
            ) from error
        if fills.fills or fills.dropped or runs:
            log.info("archived", fills=fills.fills, day_dropped=fills.dropped, runs=runs)
        return fills.fills + runs


def hold(root: Path) -> int:
    """Keep other recorders out of the folder until the process ends; raises ``Busy``."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / ".recorder.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Busy(f"{root}: another recorder writes there") from None
    return descriptor


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    if not settings.recorder.enabled:
        log.info("recorder_disabled")
        stop.wait()
        return
    lock = service.wait_for("recorder lock", lambda: hold(settings.recorder.path), (Busy,), stop)
    try:
        _record(settings, secrets, stop)
    finally:
        os.close(lock)


def _record(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    clock = SystemClock()
    archive = Archive(settings.recorder.path)
    clear_drafts(archive.root)
    prices = PriceRecorder(archive, make_redis(settings, secrets), clock)
    engine = make_engine(settings, secrets)
    tables = TableRecorder(archive, engine, settings.market_data.timeframes, clock)
    ended = EndedRuns(settings, engine, clock)
    service.wait_for("redis", prices.resume, (redis.RedisError,), stop)
    read = _Periodic(clock, READ_EVERY_SECS, prices.read)
    flush = _Periodic(clock, settings.recorder.flush_secs, prices.flush)
    copy = _Periodic(clock, COPY_EVERY_SECS, tables.copy)
    jobs = [
        read,
        flush,
        copy,
        _Periodic(clock, COPY_EVERY_SECS, prices.sort_finished_days),
        _Periodic(clock, ARCHIVE_EVERY_SECS, ended.move),
    ]
    while not stop.is_set():
        for job in jobs:
            job.run_if_due()
        stop.wait(0.2)
    for job in (read, flush, copy):
        job.run()


class _Periodic:
    """A job that runs every so often; what the servers or the disk refuse is tried again."""

    def __init__(self, clock: Clock, every_secs: float, job: Callable[[], int]) -> None:
        self._clock = clock
        self._every_ms = every_secs * 1000
        self._job = job
        self._next_ms = clock.now_ms()
        self._failing = False

    def run_if_due(self) -> None:
        """Run the job if its time has come."""
        if self._clock.now_ms() >= self._next_ms:
            self._next_ms = self._clock.now_ms() + round(self._every_ms)
            self.run()

    def run(self) -> None:
        """Run the job now; one log line when failures begin and one when they end."""
        name = self._job.__name__
        try:
            self._job()
        except (redis.RedisError, DBAPIError, OSError, ArchiveError) as error:
            if not self._failing:
                log.warning("not_recorded", job=name, reason=str(error))
            self._failing = True
        else:
            if self._failing:
                log.info("recorded_again", job=name)
            self._failing = False


def _entry(entry_id: str) -> EntryId:
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)


def _text(entry: EntryId) -> str:
    return f"{entry[0]}-{entry[1]}"
