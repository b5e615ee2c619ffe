"""Which iterations are on the queue: a hash in Redis beside the queue itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from redis import Redis

from shared.ports import SentIteration
from shared.storage.redis_keys import LAST_SCHEDULED_TICK, RUN_STATE_TTL_SECS, SENT_ITERATIONS


class RedisSentIterations:
    """``shared.ports.SentIterations`` on a client with decoded replies."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def read(self) -> dict[int, SentIteration]:
        """The last iteration sent per shard."""
        stored = cast("Mapping[str, str]", self._client.hgetall(SENT_ITERATIONS))
        return {int(shard_id): _parse(text) for shard_id, text in stored.items()}

    def record(self, shard_ids: Sequence[int], sent: SentIteration) -> None:
        """Remember that ``sent`` went out for these shards."""
        if not shard_ids:
            return
        text = f"{sent.tick_ms}:{sent.sent_ms}"
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hset(SENT_ITERATIONS, mapping={str(shard_id): text for shard_id in shard_ids})
            pipe.set(LAST_SCHEDULED_TICK, sent.tick_ms, ex=RUN_STATE_TTL_SECS)
            pipe.execute()

    def forget(self, shard_ids: Sequence[int]) -> None:
        """What went out for these shards has failed: another may be sent at once."""
        if shard_ids:
            self._client.hdel(SENT_ITERATIONS, *(str(shard_id) for shard_id in shard_ids))


def _parse(text: str) -> SentIteration:
    tick, sent = text.split(":")
    return SentIteration(int(tick), int(sent))
