"""Whether the replayed runs did what the lived ones did, to the bit, and what it costs if not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.providence import ledger
from shared.providence.aggregate import SUMS_DTYPE, Sums, shard_sums
from shared.providence.binding import Binding
from shared.providence.codes import Status
from shared.providence.rules import Rules
from shared.providence.run_state import Records
from shared.providence.step import Fills
from shared.research.tables import FloatArray
from shared.research.twin.recorded import NEVER, Lives


@dataclass(frozen=True, slots=True)
class JournalCheck:
    """The recorded journal against the replayed one."""

    lived: int
    """Virtual fills recorded."""
    replayed: int
    lived_sha256: str
    replayed_sha256: str
    differing: tuple[int, ...]
    """Runs whose fills differ in some bit, or that ended at another tick; rising."""

    @property
    def equal(self) -> bool:
        """Whether not a bit differs."""
        return self.lived_sha256 == self.replayed_sha256 and not self.differing


def in_order(fills: Fills) -> Fills:
    """By run, then sequence number: the order in which journals are hashed here."""
    ordered: Fills = fills[np.lexsort((fills["fill_seq"], fills["run_id"]))]
    return ordered


def compare(lives: Lives, lived: Fills, replayed: Fills, records: Records) -> JournalCheck:
    """Both journals, and where each run ended; ``records`` are the replayed runs at the end."""
    lived, replayed = in_order(lived), in_order(replayed)
    hashes = [hashlib.sha256(np.ascontiguousarray(x).data).hexdigest() for x in (lived, replayed)]
    differing = set(_other_ends(lives, records))
    if hashes[0] != hashes[1]:
        differing |= _other_fills(lived, replayed)
    return JournalCheck(len(lived), len(replayed), hashes[0], hashes[1], tuple(sorted(differing)))


def _other_ends(lives: Lives, records: Records) -> list[int]:
    ended = np.where(records["status"] == Status.COMPLETED, records["tick"].astype(np.int64), NEVER)
    found: list[int] = records["run_id"][ended != lives.ended_ms].tolist()
    return found


def _other_fills(lived: Fills, replayed: Fills) -> set[int]:
    a, b = _by_run(lived), _by_run(replayed)
    return {run_id for run_id in a.keys() | b.keys() if a.get(run_id) != b.get(run_id)}


def _by_run(fills: Fills) -> dict[int, bytes]:
    starts = np.flatnonzero(np.diff(fills["run_id"], prepend=-1))
    parts = np.split(fills, starts[1:]) if len(starts) else []
    return {int(part["run_id"][0]): part.tobytes() for part in parts}


class LivedSums:
    """Sums of runs rebuilt from their recorded fills, tick by tick.

    ``births`` are the runs concerned, ``fills`` their recorded journal by run and number.
    """

    def __init__(
        self,
        births: Records,
        ended_ms: NDArray[np.int64],
        fills: Fills,
        columns: NDArray[np.int32],
        symbols: int,
    ) -> None:
        self._records = births.copy()
        self._ended_ms = ended_ms
        self._columns = columns
        self._symbols = symbols
        self._fills = [fills[fills["run_id"] == run_id] for run_id in births["run_id"]]
        self._booked = [0] * len(births)

    def at(self, tick_ms: int, mark: FloatArray, index: FloatArray, rules: Rules) -> Sums:
        """[S] at ``tick_ms``, later than the last one; ``mark`` and ``index`` [S] as known then."""
        records = self._records
        born = np.flatnonzero(records["spawn_tick"] < tick_ms)
        for i in born.tolist():
            column = self._columns[i]
            if records["status"][i] != Status.ACTIVE or not np.isfinite(mark[column]):
                continue
            until = min(tick_ms, int(self._ended_ms[i]))
            own = self._fills[i]
            end = int(np.searchsorted(own["tick"], until, side="right"))
            new = own[self._booked[i] : end]
            self._booked[i] = end
            records[i] = ledger.replay(new, records[i], float(mark[column]), float(index[column]))
            records["tick"][i] = until
            if self._ended_ms[i] <= tick_ms:
                records["status"][i] = Status.COMPLETED
        chosen = records[born]
        nowhere = np.zeros(len(born), dtype=np.int32)
        return shard_sums(
            chosen, Binding(nowhere, nowhere, self._columns[born]), self._symbols, rules, tick_ms
        )


def exchange(sums: Sums, off: Sums, on: Sums) -> Sums:
    """``sums`` with ``off`` taken off and ``on`` added, field by field."""
    changed = sums.copy()
    for name in SUMS_DTYPE.names or ():
        changed[name] += on[name] - off[name]
    return changed
