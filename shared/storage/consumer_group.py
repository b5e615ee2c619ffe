"""Reading a Redis stream as one of a group: each entry is handled by one member, at least once.

An entry stays pending until it is acknowledged. A member that dies leaves its entries pending;
once they have been idle for a while, another member claims and handles them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast

import redis

Entry: TypeAlias = tuple[str, dict[str, str]]
"""(id in the stream, fields)"""


class ConsumerGroup:
    """One member of a group on one stream; ``client`` decodes its replies.

    ``claim_after_ms`` is how long an entry of another member must have been idle before it is
    taken over: longer than handling a batch ever takes.
    """

    def __init__(
        self,
        client: redis.Redis,
        stream: str,
        group: str,
        member: str,
        *,
        claim_after_ms: int = 30_000,
    ) -> None:
        self._client = client
        self._stream = stream
        self._group = group
        self._member = member
        self._claim_after_ms = claim_after_ms

    def join(self) -> None:
        """Make the group if it is not there; a new group sees entries added from now on."""
        try:
            self._client.xgroup_create(self._stream, self._group, id="$", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def own_pending(self, count: int = 100) -> list[Entry]:
        """What this member had received and not acknowledged, as after its own crash."""
        reply = self._client.xreadgroup(self._group, self._member, {self._stream: "0"}, count=count)
        return _entries(reply)

    def abandoned(self, count: int = 100) -> Iterator[list[Entry]]:
        """Batches of entries taken over from members that have been silent for too long."""
        start = "0-0"
        while True:
            reply: Any = self._client.xautoclaim(
                self._stream,
                self._group,
                self._member,
                min_idle_time=self._claim_after_ms,
                start_id=start,
                count=count,
            )
            start, claimed = reply[0], reply[1]
            if claimed:
                yield [(entry_id, dict(fields)) for entry_id, fields in claimed]
            if start == "0-0":
                return

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """New entries, at most ``count``; waits up to ``block_ms`` for the first.

        A group that disappeared, as when Redis was emptied, is made again.
        """
        try:
            reply = self._client.xreadgroup(
                self._group, self._member, {self._stream: ">"}, count=count, block=block_ms
            )
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.join()
            return []
        return _entries(reply)

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Tell that these entries are handled and must not come again."""
        if entries:
            self._client.xack(self._stream, self._group, *(entry_id for entry_id, _ in entries))


def _entries(reply: object) -> list[Entry]:
    """The entries of the one stream that was asked for; those trimmed meanwhile have no fields."""
    streams = cast("list[tuple[str, list[tuple[str, dict[str, str] | None]]]]", reply or [])
    return [(entry_id, dict(fields or {})) for _, page in streams for entry_id, fields in page]
