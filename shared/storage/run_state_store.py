"""Records of runs in Redis: ``providence:state:{run_id}`` and the signals beside it.

A cache: whatever is lost here is rebuilt from MariaDB, so nothing waits for a write to be durable.
Records only ever move forward in time, whoever writes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray
from redis import Redis

from shared.ports import RunIds
from shared.providence.codes import Reason
from shared.providence.run_state import (
    LAYOUT,
    RUN_DTYPE,
    Records,
    StateLayoutError,
    new_records,
    unpack,
)
from shared.storage.redis_keys import (
    RUN_SIGNAL_TTL_SECS,
    RUN_STATE_TTL_SECS,
    run_completed,
    run_exit,
    run_state,
)

log = structlog.get_logger(__name__)

# KEYS: one per record. ARGV: all records in one string, the size of one, seconds to live. A record
# begins with its tick (ms, eight bytes, big-endian), read in halves: Lua's numbers are doubles.
WRITE_NEWER: Final = """
local records, size, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local call, sub, unpack = redis.call, string.sub, struct.unpack
local written = 0
for i, key in ipairs(KEYS) do
    local at = (i - 1) * size
    local stored = call('GETRANGE', key, 0, 7)
    local newer = #stored < 8
    if not newer then
        local new_high, new_low = unpack('>I4I4', sub(records, at + 1, at + 8))
        local old_high, old_low = unpack('>I4I4', stored)
        newer = new_high > old_high or (new_high == old_high and new_low > old_low)
    end
    if newer then
        call('SET', key, sub(records, at + 1, at + size), 'EX', ttl)
        written = written + 1
    end
end
return written
"""


class RedisRunStateStore:
    """``shared.ports.RunStateStore`` on a client with raw replies."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._write_newer = client.register_script(WRITE_NEWER)

    def load(self, run_ids: RunIds) -> tuple[Records, NDArray[np.bool_]]:
        """Records in the order asked, and which of them are there and readable."""
        if not len(run_ids):
            return new_records(0), np.zeros(0, dtype=np.bool_)
        blobs = cast("list[bytes | None]", self._client.mget(_keys(run_ids)))
        if None not in blobs:
            joined = bytearray(b"".join(cast("list[bytes]", blobs)))
            if len(joined) == len(blobs) * RUN_DTYPE.itemsize:
                records: Records = np.frombuffer(joined, dtype=RUN_DTYPE)
                sound = (records["layout"] == LAYOUT) & (records["run_id"] == run_ids)
                if sound.all():
                    return records, sound
        return _one_by_one(run_ids, blobs)

    def save(self, records: Records) -> int:
        """Write each record that is newer than the stored one; returns how many were."""
        if not len(records):
            return 0
        return int(
            self._write_newer(
                keys=_keys(records["run_id"]),
                args=[
                    np.ascontiguousarray(records, dtype=RUN_DTYPE).tobytes(),
                    RUN_DTYPE.itemsize,
                    RUN_STATE_TTL_SECS,
                ],
            )
        )

    def discard(self, run_ids: RunIds) -> None:
        """Forget these records."""
        if len(run_ids):
            self._client.delete(*_keys(run_ids))

    def notify_completed(self, records: Records) -> None:
        """Leave a notification for each of these completed runs."""
        self._notify(
            (
                run_completed(run_id),
                {"tick_ms": tick, "reason": Reason(reason).name.lower(), "live_pnl": live_pnl},
            )
            for run_id, tick, reason, live_pnl in zip(
                records["run_id"].tolist(),
                records["tick"].tolist(),
                records["exit_reason"].tolist(),
                records["live_pnl"].tolist(),
                strict=True,
            )
        )

    def notify_exit(self, run_ids: RunIds, reason: str) -> None:
        """Leave a notification for each run that was asked to exit."""
        self._notify((run_exit(run_id), {"reason": reason}) for run_id in run_ids.tolist())

    def _notify(self, signals: Iterable[tuple[str, dict[str, object]]]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for key, content in signals:
                pipe.set(key, orjson.dumps(content), ex=RUN_SIGNAL_TTL_SECS)
            if len(pipe):
                pipe.execute()


def _keys(run_ids: RunIds) -> list[str]:
    return [run_state(run_id) for run_id in run_ids.tolist()]


def _one_by_one(run_ids: RunIds, blobs: list[bytes | None]) -> tuple[Records, NDArray[np.bool_]]:
    """Records that are missing, or that no migration can read, are reported as not there."""
    records = new_records(len(run_ids))
    there = np.zeros(len(run_ids), dtype=np.bool_)
    for row, (run_id, blob) in enumerate(zip(run_ids.tolist(), blobs, strict=True)):
        if blob is None:
            continue
        try:
            record = unpack([blob])[0]
        except StateLayoutError as error:
            log.warning("run_state_unreadable", run_id=run_id, error=str(error))
            continue
        if record["run_id"] == run_id:
            records[row] = record
            there[row] = True
    return records, there
