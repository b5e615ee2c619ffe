"""What the population saw at each tick: one immutable row per tick, and windows over rows.

A tick is a wall time in ms, a multiple of the interval. Its row holds, for every product, mid,
mark, funding index, volatility and whether the sample was fresh. Live iterations, replays and
back-tests read the same rows, so a row, once written, never changes, and rows are only ever
added after the newest one: what a reader has seen as a gap stays a gap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from shared.storage.tables import config_versions, tick_inputs

TickSource: TypeAlias = Literal["live", "backfill", "history", "missing"]
"""``live``: sampled at the tick. ``backfill``: taken later from prices of that time.
``history``: the paper exchange's own past. ``missing``: nothing is known of this tick."""

LAYOUT = 1
TICK_DTYPE = np.dtype(
    [
        ("product_id", "<i4"),
        ("ok", "u1"),
        ("mid", "<f8"),
        ("mark", "<f8"),
        ("funding_index", "<f8"),
        ("volatility", "<f8"),
    ]
)
"""One product at one tick, packed. ``ok`` is 1 if the price was fresh and tradable; prices in
USD per coin, ``funding_index`` in USD per coin held since the index began, ``volatility`` per
square root of an hour; NaN where unknown."""

_DUPLICATE_KEY = 1062


class TickLayoutError(ValueError):
    """A stored payload that this version cannot read."""


def empty_samples(product_ids: Iterable[int]) -> NDArray[np.void]:
    """Samples of the products in rising order, all not ok and NaN."""
    ids = np.array(sorted(product_ids), dtype="<i4")
    samples = np.zeros(len(ids), dtype=TICK_DTYPE)
    samples["product_id"] = ids
    for name in ("mid", "mark", "funding_index", "volatility"):
        samples[name] = np.nan
    return samples


def pack(samples: NDArray[np.void]) -> bytes:
    """Bytes of one tick: a layout byte, then the samples in order of product.

    Raises ``ValueError`` for another dtype, products out of order, or an ok sample whose
    prices are not positive numbers.
    """
    if samples.dtype != TICK_DTYPE or samples.ndim != 1:
        raise ValueError(f"expected a vector of TICK_DTYPE, got {samples.dtype} {samples.shape}")
    if np.any(np.diff(samples["product_id"]) <= 0):
        raise ValueError("product ids must rise")
    if np.any(samples["ok"] > 1):
        raise ValueError("ok must be 0 or 1")
    ok = samples["ok"] == 1
    for name in ("mid", "mark"):
        if not np.all(samples[name][ok] > 0) or np.any(np.isinf(samples[name])):
            raise ValueError(f"{name} of an ok sample must be a positive number")
    return bytes([LAYOUT]) + samples.tobytes()


def unpack(payload: bytes) -> NDArray[np.void]:
    """The samples of one tick (read-only); an empty payload has none.

    Raises ``TickLayoutError`` if the bytes were not written by ``pack``.
    """
    if not payload:
        return np.zeros(0, dtype=TICK_DTYPE)
    if payload[0] != LAYOUT or (len(payload) - 1) % TICK_DTYPE.itemsize:
        raise TickLayoutError(
            f"tick payload of {len(payload)} bytes with layout {payload[0]}; expected {LAYOUT}"
        )
    return np.frombuffer(payload, dtype=TICK_DTYPE, offset=1)


@dataclass(frozen=True, slots=True)
class TickRow:
    """One stored tick."""

    interval_ms: int
    tick_ms: int
    config_version: str
    source: TickSource
    samples: NDArray[np.void]
    created_ms: int

    def __post_init__(self) -> None:
        if self.interval_ms <= 0 or self.tick_ms % self.interval_ms:
            raise ValueError(
                f"tick {self.tick_ms} is not a multiple of the interval {self.interval_ms} ms"
            )
        if self.source not in get_args(TickSource):
            raise ValueError(f"source must be one of {get_args(TickSource)}, got {self.source!r}")

    def with_version(self, config_version: str) -> TickRow:
        """The same row under a configuration version."""
        return replace(self, config_version=config_version)


@dataclass(frozen=True, slots=True)
class TickWindow:
    """T consecutive ticks × S products, both rising. Read-only.

    ``present`` [T] is False where no row exists or it is ``missing``; then, and for products
    that a row lacks, ``ok`` [T, S] is False and the numbers are NaN. ``config_version`` [T] is
    empty where no row exists.
    """

    interval_ms: int
    tick_ms: NDArray[np.int64]
    present: NDArray[np.bool_]
    config_version: tuple[str, ...]
    product_ids: NDArray[np.int32]
    ok: NDArray[np.bool_]
    mid: NDArray[np.float64]
    mark: NDArray[np.float64]
    funding_index: NDArray[np.float64]
    volatility: NDArray[np.float64]

    @classmethod
    def from_rows(
        cls,
        interval_ms: int,
        from_ms: int,
        to_ms: int,
        rows: Sequence[TickRow],
        product_ids: Iterable[int] | None = None,
    ) -> TickWindow:
        """Lay rows out on the grid of ticks in [``from_ms``, ``to_ms``], both included.

        ``product_ids`` chooses the columns; by default every product that a row holds.
        """
        _require_ticks(interval_ms, from_ms, to_ms)
        length = (to_ms - from_ms) // interval_ms + 1
        columns = _columns(rows, product_ids)
        numbers = np.full((4, length, len(columns)), np.nan)
        ok = np.zeros((length, len(columns)), dtype=np.bool_)
        present = np.zeros(length, dtype=np.bool_)
        versions = [""] * length
        for row in rows:
            at = (row.tick_ms - from_ms) // interval_ms
            if not 0 <= at < length:
                raise ValueError(f"tick {row.tick_ms} lies outside [{from_ms}, {to_ms}]")
            versions[at] = row.config_version
            present[at] = row.source != "missing"
            if not len(columns) or not len(row.samples):
                continue
            known = np.isin(row.samples["product_id"], columns)
            samples = row.samples[known]
            slots = np.searchsorted(columns, samples["product_id"])
            ok[at, slots] = samples["ok"] == 1
            for layer, name in enumerate(("mid", "mark", "funding_index", "volatility")):
                numbers[layer, at, slots] = samples[name]
        ticks = from_ms + np.arange(length, dtype=np.int64) * interval_ms
        for array in (ticks, present, columns, ok, numbers):
            array.setflags(write=False)
        return cls(interval_ms, ticks, present, tuple(versions), columns, ok, *numbers)

    def __len__(self) -> int:
        return len(self.tick_ms)


class TickInputStore:
    """The ``tick_inputs`` and ``config_versions`` tables, within the caller's transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def insert(self, row: TickRow) -> bool:
        """Add a row unless its tick has one already; True if this call wrote it."""
        statement = insert(tick_inputs).values(
            interval_ms=row.interval_ms,
            tick_ms=row.tick_ms,
            config_version=row.config_version,
            source=row.source,
            payload=pack(row.samples) if len(row.samples) else b"",
            created_ms=row.created_ms,
        )
        try:
            self._conn.execute(statement)
        except IntegrityError as error:
            if getattr(error.orig, "errno", None) != _DUPLICATE_KEY:
                raise
            return False
        return True

    def latest_tick(self, interval_ms: int) -> int | None:
        """Time of the newest row of a series; None if the series is empty."""
        statement = select(func.max(tick_inputs.c.tick_ms)).where(
            tick_inputs.c.interval_ms == interval_ms
        )
        return cast("int | None", self._conn.execute(statement).scalar_one())

    def next_tick(self, interval_ms: int, after_ms: int) -> int | None:
        """Time of the first row after ``after_ms``; None if there is none."""
        statement = select(func.min(tick_inputs.c.tick_ms)).where(
            tick_inputs.c.interval_ms == interval_ms, tick_inputs.c.tick_ms > after_ms
        )
        return cast("int | None", self._conn.execute(statement).scalar_one())

    def oldest_tick(self, interval_ms: int) -> int | None:
        """Time of the oldest row that is still kept."""
        statement = select(func.min(tick_inputs.c.tick_ms)).where(
            tick_inputs.c.interval_ms == interval_ms
        )
        return cast("int | None", self._conn.execute(statement).scalar_one())

    def latest(self, interval_ms: int) -> TickRow | None:
        """The newest row of a series."""
        newest = self.latest_tick(interval_ms)
        if newest is None:
            return None
        return self.rows(interval_ms, newest, newest)[0]

    def rows(self, interval_ms: int, from_ms: int, to_ms: int) -> list[TickRow]:
        """Stored rows with ticks in [``from_ms``, ``to_ms``], both included, in time order."""
        statement = (
            select(tick_inputs)
            .where(
                tick_inputs.c.interval_ms == interval_ms,
                tick_inputs.c.tick_ms.between(from_ms, to_ms),
            )
            .order_by(tick_inputs.c.tick_ms)
        )
        return [
            TickRow(
                interval_ms=row.interval_ms,
                tick_ms=row.tick_ms,
                config_version=row.config_version,
                source=row.source,
                samples=unpack(bytes(row.payload)),
                created_ms=row.created_ms,
            )
            for row in self._conn.execute(statement)
        ]

    def window(
        self,
        interval_ms: int,
        from_ms: int,
        to_ms: int,
        product_ids: Iterable[int] | None = None,
    ) -> TickWindow:
        """Ticks in [``from_ms``, ``to_ms``], both included and multiples of the interval."""
        _require_ticks(interval_ms, from_ms, to_ms)
        rows = self.rows(interval_ms, from_ms, to_ms)
        return TickWindow.from_rows(interval_ms, from_ms, to_ms, rows, product_ids)

    def gaps(self, interval_ms: int, from_ms: int, to_ms: int) -> list[int]:
        """Ticks of [``from_ms``, ``to_ms``] that have no row or a ``missing`` one."""
        statement = select(tick_inputs.c.tick_ms).where(
            tick_inputs.c.interval_ms == interval_ms,
            tick_inputs.c.tick_ms.between(from_ms, to_ms),
            tick_inputs.c.source != "missing",
        )
        known = {row.tick_ms for row in self._conn.execute(statement)}
        return [t for t in range(from_ms, to_ms + 1, interval_ms) if t not in known]

    def save_config(self, content: dict[str, object], created_ms: int) -> str:
        """Store a configuration under its version, which is returned; repeats change nothing."""
        version = config_version(content)
        statement = insert(config_versions).values(
            version=version, content=content, created_ms=created_ms
        )
        try:
            self._conn.execute(statement)
        except IntegrityError as error:
            if getattr(error.orig, "errno", None) != _DUPLICATE_KEY:
                raise
        return version


def config_version(content: dict[str, object]) -> str:
    """The first 16 hex digits of the SHA-256 of a configuration's canonical JSON."""
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:16]


def _columns(rows: Sequence[TickRow], product_ids: Iterable[int] | None) -> NDArray[np.int32]:
    if product_ids is not None:
        return np.array(sorted(set(product_ids)), dtype=np.int32)
    parts = [row.samples["product_id"] for row in rows]
    if not parts:
        return np.zeros(0, dtype=np.int32)
    return np.unique(np.concatenate(parts)).astype(np.int32)


def _require_ticks(interval_ms: int, from_ms: int, to_ms: int) -> None:
    if interval_ms <= 0 or from_ms % interval_ms or to_ms % interval_ms or from_ms > to_ms:
        raise ValueError(
            f"[{from_ms}, {to_ms}] is not a range of ticks of {interval_ms} ms: both ends must "
            "be multiples of the interval, the first not after the last"
        )
