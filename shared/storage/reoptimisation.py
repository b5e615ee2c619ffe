"""The right to search for better parameters: one search at a time, and not again for some days."""

from __future__ import annotations

from redis import Redis

from shared.storage.redis_keys import REOPTIMISATION, REOPTIMISATION_TTL_SECS

DAY_SECS = 86_400


class ReoptimisationClaim:
    """On a client with decoded replies. Should Redis lose it, there is one more proposal."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def take(self) -> bool:
        """Whether a search may begin now; if so, nobody else may until the claim runs out."""
        return bool(
            self._client.set(REOPTIMISATION, "under way", nx=True, ex=REOPTIMISATION_TTL_SECS)
        )

    def renew(self) -> None:
        """The search still goes on."""
        self._client.set(REOPTIMISATION, "under way", ex=REOPTIMISATION_TTL_SECS)

    def done(self, days: float) -> None:
        """The search has ended; the next may begin in so many days (0: at once)."""
        if days <= 0.0:
            self._client.delete(REOPTIMISATION)
        else:
            self._client.set(REOPTIMISATION, "done", ex=max(1, round(days * DAY_SECS)))
