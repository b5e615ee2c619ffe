"""The record of one run: fixed size, versioned, the same bytes in Redis, MariaDB and memory.

A population is a one-dimensional array of ``RUN_DTYPE``. Redis compares the first eight bytes as
text, so ``tick`` is big-endian; ``layout`` and ``run_id`` keep their offsets in every layout, so
that a record too old to be read can still be named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]
"""One-dimensional, C-contiguous array of ``RUN_DTYPE``."""

LAYOUT: Final = 1
_FIELDS: Final[list[tuple[str, str]]] = [
    ("tick", ">i8"),  # ms, the record is stepped up to and including this tick
    ("layout", "u1"),
    ("status", "u1"),  # codes.Status
    ("exit_reason", "u1"),  # codes.Reason, 0 while active
    ("interpretation", "u1"),  # codes.Interpretation
    ("direction", "i1"),  # held: -1, 0, +1
    ("target_direction", "i1"),  # decided at `tick`, executed at the next sample
    ("order", "u1"),  # d
    ("delay", "u1"),  # tau, samples
    ("run_id", "<i8"),
    ("window", "<i4"),  # w, samples
    ("lookback", "<i4"),  # m, samples
    ("spawn_tick", "<i8"),  # ms; first stepped at the next tick
    ("exit_at_tick", "<i8"),  # ms, 0 = none: exit requested with effect from this tick
    ("max_duration_ms", "<i8"),
    ("product_id", "<i4"),
    ("fill_seq", "<i4"),  # number of fills so far = sequence number of the last one
    ("theta", "<f8"),  # threshold in normalised entropy
    ("dead_band", "<f8"),  # epsilon, same unit
    ("kelly_multiplier", "<f8"),
    ("max_drawdown", "<f8"),  # fraction of the equity peak
    ("take_profit", "<f8"),  # units of volatility over the run's life, 0 = off
    ("max_leverage", "<f8"),  # notional / equity
    ("start_balance", "<f8"),  # USD
    ("position", "<f8"),  # signed, base coin
    ("entry_price", "<f8"),  # average, 0 when flat
    ("realised", "<f8"),  # USD, gross of fees and funding
    ("fees", "<f8"),  # USD paid
    ("funding_settled", "<f8"),  # USD received up to the last fill
    ("funding_index", "<f8"),  # at the last fill
    ("funding", "<f8"),  # USD received up to the last mark
    ("unrealised", "<f8"),  # USD at the last mark
    ("equity", "<f8"),  # USD at the last mark
    ("peak_equity", "<f8"),  # highest mark so far
    ("live_pnl", "<f8"),  # equity - start_balance
    ("last_price", "<f8"),  # last good sample, 0 = none yet
    ("last_funding_index", "<f8"),  # with last_price
    ("trades", "<i4"),  # closed trades
    ("wins", "<i4"),
    ("sum_win", "<f8"),  # sum of winning returns (trade PnL / equity at entry)
    ("sum_loss", "<f8"),  # sum of the sizes of losing returns, >= 0
    ("equity_at_entry", "<f8"),  # USD, 0 when flat
    ("trade_net", "<f8"),  # USD so far of the open trade: closed parts, its fees and funding
    ("parent_id", "<i8"),  # 0 = drawn fresh
    ("generation", "<i4"),  # 0 = drawn fresh
    ("height", "<i4"),  # epoch, 0 = none
    ("height_at_tick", "<i8"),  # ms, from when the height counts
]
RUN_DTYPE: Final = np.dtype(_FIELDS)
KERNEL_DTYPE: Final = np.dtype([("tick_be", "<i8"), *_FIELDS[1:]])
"""The same bytes for Numba, which has no big-endian integers: ``tick_be`` is byte-swapped."""

LEDGER_FIELDS: Final = (
    "direction",
    "fill_seq",
    "position",
    "entry_price",
    "realised",
    "fees",
    "funding_settled",
    "funding_index",
    "funding",
    "unrealised",
    "equity",
    "live_pnl",
    "trades",
    "wins",
    "sum_win",
    "sum_loss",
    "equity_at_entry",
    "trade_net",
)
"""What fills, one price and one funding index determine; the peak needs every mark between."""

_BYTES: Final = np.dtype((np.void, RUN_DTYPE.itemsize))
_LAYOUT_OFFSET: Final = 8
_BLANK: Final = bytes(_LAYOUT_OFFSET) + bytes([LAYOUT]) + bytes(RUN_DTYPE.itemsize - 9)
_RUN_ID: Final = slice(16, 24)

Migration = Callable[[bytes], bytes]
MIGRATIONS: Final[dict[int, Migration]] = {}
"""Older layout -> function from its bytes to those of layout + 1; what is not here is refused."""


class StateLayoutError(ValueError):
    """A stored record cannot be read. ``run_id`` is None when even that is unreadable."""

    def __init__(self, message: str, run_id: int | None) -> None:
        super().__init__(message)
        self.run_id = run_id


def new_records(count: int) -> Records:
    """``count`` zeroed records of the current layout: flat, active, without parameters."""
    return np.ndarray(count, RUN_DTYPE, bytearray(_BLANK * count))


def native(records: Records) -> Records:
    """The same bytes as an array of ``KERNEL_DTYPE``; eight times as quick as a view."""
    return np.ndarray(records.shape, KERNEL_DTYPE, records)


def copied(rows: NDArray[np.void]) -> NDArray[np.void]:
    """A copy of any structured array as bytes; a copy of fields is many times slower."""
    return np.ndarray(rows.shape, rows.dtype, bytearray(rows.tobytes()))


def join(parts: Sequence[Records]) -> Records:
    """One array of all records in order (``np.concatenate`` would turn the byte order of tick)."""
    joined = np.empty(sum(len(part) for part in parts), dtype=RUN_DTYPE)
    # as bytes: a copy of fields is ten times slower
    whole, start = np.ndarray(joined.shape, _BYTES, joined), 0
    for part in parts:
        plain = np.ascontiguousarray(part, dtype=RUN_DTYPE)
        whole[start : start + len(part)] = np.ndarray(plain.shape, _BYTES, plain)
        start += len(part)
    return joined


def require_records(records: Records) -> None:
    """Refuse arrays the kernel cannot step in place.

    Raises
    ------
    ValueError
        If ``records`` is not a one-dimensional, contiguous, writable array of ``RUN_DTYPE``.
    """
    flags = records.flags
    if records.dtype != RUN_DTYPE:
        raise ValueError(
            "records are not of RUN_DTYPE; np.concatenate, for one, turns the byte order of tick: "
            "use run_state.join"
        )
    if records.ndim != 1 or not flags.c_contiguous:
        raise ValueError(
            f"records have {records.ndim} dimensions, contiguous: {flags.c_contiguous}; allowed is "
            "a contiguous one-dimensional array of RUN_DTYPE"
        )
    if not flags.writeable:
        raise ValueError("records are read-only; allowed is a writable array (use unpack or copy)")


def pack(records: Records) -> list[bytes]:
    """The bytes of each record, in order; the stored byte order whatever the array's own.

    Raises
    ------
    ValueError
        If the array does not have the fields of ``RUN_DTYPE``.
    """
    if records.dtype.names != RUN_DTYPE.names:
        raise ValueError(f"records have fields {records.dtype.names}; allowed are RUN_DTYPE's")
    blob = np.ascontiguousarray(records, dtype=RUN_DTYPE).tobytes()
    size = RUN_DTYPE.itemsize
    return [blob[start : start + size] for start in range(0, len(blob), size)]


def unpack(blobs: Sequence[bytes]) -> Records:
    """Records from stored bytes, older layouts migrated, as a new writable array.

    Raises
    ------
    StateLayoutError
        If a record is of a layout without a migration, or cut short; it names the run.
    """
    size = RUN_DTYPE.itemsize
    joined = b"".join(blobs)
    if len(joined) == size * len(blobs):
        records: Records = np.frombuffer(bytearray(joined), dtype=RUN_DTYPE)
        if all(len(blob) == size for blob in blobs) and bool((records["layout"] == LAYOUT).all()):
            return records
    migrated = [_migrate(bytes(blob)) for blob in blobs]
    return np.frombuffer(bytearray(b"".join(migrated)), dtype=RUN_DTYPE)


def _migrate(blob: bytes) -> bytes:
    if len(blob) < _RUN_ID.stop:
        raise StateLayoutError(
            f"a run record has {len(blob)} bytes; allowed is {RUN_DTYPE.itemsize}", None
        )
    run_id = int.from_bytes(blob[_RUN_ID], "little", signed=True)
    layout = blob[_LAYOUT_OFFSET]
    while layout != LAYOUT:
        if layout not in MIGRATIONS:
            raise StateLayoutError(
                f"run {run_id}: record layout {layout} cannot be read; allowed is layout {LAYOUT}",
                run_id,
            )
        blob, layout = MIGRATIONS[layout](blob), layout + 1
    if len(blob) != RUN_DTYPE.itemsize:
        raise StateLayoutError(
            f"run {run_id}: record has {len(blob)} bytes; allowed is {RUN_DTYPE.itemsize}", run_id
        )
    return blob


def to_json(record: np.void) -> dict[str, int | float]:
    """One record as a plain dict; Python's shortest float text keeps every bit."""
    return {name: record[name].item() for name in RUN_DTYPE.names or ()}


def from_json(values: Mapping[str, Any]) -> np.void:
    """The record that :func:`to_json` wrote, to the bit (a scalar of ``RUN_DTYPE``).

    Raises
    ------
    StateLayoutError
        If the layout differs, a field is missing or unknown, or a value is not a finite number.
    """
    run_id = values.get("run_id")
    name = run_id if isinstance(run_id, int) else None
    if values.get("layout") != LAYOUT:
        raise StateLayoutError(
            f"run {run_id}: JSON layout {values.get('layout')} cannot be read; "
            f"allowed is layout {LAYOUT}",
            name,
        )
    wanted = set(RUN_DTYPE.names or ())
    if set(values) != wanted:
        wrong = ", ".join(sorted(set(values) ^ wanted))
        raise StateLayoutError(f"run {run_id}: JSON fields missing or unknown: {wrong}", name)
    record = np.zeros(1, dtype=RUN_DTYPE)
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
            raise StateLayoutError(
                f"run {run_id}: field {key} is {value!r}; allowed is a finite number", name
            )
        record[key] = value
    scalar: np.void = record[0]
    return scalar
